"""The data plane: one OpenAI-compatible address in front of every ready replica.

A process of its own (`python -m api.gateway`), fed by the routing table alone: no database, no daemon, no framework.
The way of a request::

    server.py    bytes of a client → Request
    app.py       path → own answer, or an Exchange
    exchange.py  ask → target → preset → endpoint → engine; the short list of steps
    upstream.py  Request bytes → engine; its answer, as read, back
    server.py    → bytes of the client

The rule the package keeps: an answer's body is never decoded or changed, and a new table drops no request.
"""
