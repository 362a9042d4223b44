"""The table of commands: name → module and one line of help, in the order `--help` shows them.

Only the module of the command that runs is imported; help and completion of names read this table alone.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One command. The module is `nexus_ctl.cli.commands.<module>` and holds it as `command`."""

    help: str
    section: str
    module: str = ""


DECLARE = "Declare"
CHANGE = "Change"
LOOK = "Look"
USE = "Use"
TOOL = "The tool itself"

COMMANDS: dict[str, Row] = {
    "init": Row("Write a commented nexus.yaml to start from.", DECLARE),
    "import": Row("Write manifests for a container that runs already.", DECLARE, "import_"),
    "validate": Row("Check manifests; touches nothing and needs no runtime.", DECLARE),
    "build": Row("Print the final documents, overlays and interpolations done.", DECLARE),
    "explain": Row("Say what a field means and what a change of it does.", DECLARE),
    "schema": Row("Print or write the JSON Schemas for editors.", DECLARE),
    "plan": Row("Show what apply would do, and why.", CHANGE),
    "diff": Row("Show how declared specs differ from applied ones.", CHANGE),
    "apply": Row("Make the declared true, and wait until it is.", CHANGE),
    "delete": Row("Take objects down.", CHANGE),
    "prune": Row("Take down what is no longer declared.", CHANGE),
    "serve": Row("Keep true what was applied, until stopped.", CHANGE),
    "reconcile": Row("Try again now what waits or was given up.", CHANGE),
    "rollback": Row("Go back to an earlier revision of an object.", CHANGE),
    "suspend": Row("Leave an object as it is until resumed.", CHANGE),
    "resume": Row("End a suspension.", CHANGE),
    "get": Row("List objects and their state.", LOOK),
    "describe": Row("Show everything about one object.", LOOK),
    "status": Row("Show gateway, replicas and models, and what is wrong.", LOOK),
    "events": Row("Show what happened.", LOOK),
    "logs": Row("Print the output of replicas.", LOOK),
    "top": Row("Show what replicas use of the machine.", LOOK),
    "history": Row("List the revisions of an object.", LOOK),
    "wait": Row("Wait until an object is in a state.", LOOK),
    "chat": Row("Ask a model through the gateway.", USE),
    "models": Row("Find models, see what fits here, list and remove files.", USE),
    "export": Row("Write what is declared in the words of another tool.", USE),
    "completion": Row("Print the completion script of a shell.", TOOL),
    "version": Row("Print the version.", TOOL),
}
