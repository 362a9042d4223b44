"""What a field of an engine's parameters becomes on its command line: the mark that the engines' tables carry.

Read by `engines.flags`, which renders the words, and by whoever looks for clashes with raw `args`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flag:
    """The flag of a field.

    `off` says False where a bare absence would not; a list is `joined` by that text. `variable` is the environment
    variable that says it in the flag's stead, where builds that lack the flag shall still start.
    """

    name: str
    off: str = ""
    joined: str = ","
    variable: str = ""
