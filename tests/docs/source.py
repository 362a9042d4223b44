"""What the source says of itself: the stable words that it hands to a call, read from its syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from tests.docs.pages import ROOT


def words_given(name: str, *folders: str, keyword: str = "", position: int = 0) -> set[str]:
    """Every text that calls of `name` in these folders are given: as `keyword`, or else as argument number `position`.

    A variable stands for the texts that its module assigns to it. An empty `name` means any call.
    """
    found: set[str] = set()
    for tree in _modules(folders):
        assigned = _assigned(tree)
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            given = _keyword(call, keyword) if keyword else dict(enumerate(call.args)).get(position)
            if given is not None and name in ("", _called(call)):
                found |= _texts(given, assigned)
    return found - {""}


def _modules(folders: tuple[str, ...]) -> Iterator[ast.Module]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield ast.parse(path.read_text(encoding="utf-8"))


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((given.value for given in call.keywords if given.arg == name), None)


def _assigned(tree: ast.Module) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, set()).update(_texts(node.value, {}))
    return found


def _texts(value: ast.expr, assigned: Mapping[str, set[str]]) -> set[str]:
    """The texts that an expression may come to; none for what only running it would tell."""
    if isinstance(value, ast.IfExp):
        return _texts(value.body, assigned) | _texts(value.orelse, assigned)
    if isinstance(value, ast.Name):
        return assigned.get(value.id, set())
    return {value.value} if isinstance(value, ast.Constant) and isinstance(value.value, str) else set()
