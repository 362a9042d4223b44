"""llama-server's command line: the table of its arguments, and a stand-in that obeys it on the `xllamacpp` package.

`arguments` is what llama-server takes (from `engines/llama_server_args.csv`), `flags` what of it the stand-in can
honour, `command_line` reads words by the first and fills xllamacpp's parameters by the second, and
`python -m nexus_ctl.engines.llama_server` is the stand-in. Only the last one imports xllamacpp.
"""
