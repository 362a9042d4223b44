"""The Docker runtime: each replica is one container on the engine of this machine.

    container.py     Replica → what the engine is asked to create            pure
    details.py       what is remembered of it, shortly
    observation.py   what the engine tells → ObservedReplica                 pure
    adoption.py      a foreign container → a manifest that would make it     pure
    candidate.py     the same container, as what can be taken over            pure
    left_out.py      what such a manifest does not say, and why              pure
    importing.py     reads the container and its image for both
    errors.py        every foreign error → ours
    address.py       which engine, and whether it is on this machine
    ssh.py           the way to one behind ssh
    connection.py    the client to it
    secrets.py       secret values, in memory, for as long as a container runs
    images.py        what images there are; pull
    offers.py        what a registry offers: the digest, and what a pull would take
    registry.py      the registry's own word on an image's layers
    forgotten.py     processes of containers that the engine no longer knows
    events.py        the engine's events as hints where to look
    runtime.py       the port

Only these modules import the Docker SDK, and nothing that `--help` or `validate` loads imports them.
"""
