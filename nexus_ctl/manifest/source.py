"""Text → documents: bytes of a manifest file to trees of nodes.

The first step of the way through; `stack` brings the bytes. The rule: what is read here means one thing only.
Repeated keys, tags and merge keys are refused; aliases are followed within a budget. Built on parser events, so that
depth and size are bounded before anything is built and no constructor ever runs.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from nexus_ctl.errors import Diagnostic
from nexus_ctl.manifest.nodes import Entry, Faults, Map, Node, Place, Scalar, Sequence, Source

MAX_FILE_BYTES = 8 * 2**20
MAX_DOCUMENTS = 50_000
MAX_DEPTH = 64
MAX_ALIASED_NODES = 10_000
"""Nodes that all aliases of one file may stand for together."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ufffe\uffff]")


class _TooMuch(Exception):
    """Reading of one file stops here; the fault was handed over."""


def read(data: bytes, name: str, path: str, faults: Faults) -> list[Node]:
    """The documents of a file, empty ones left out. After a syntax error: those before it."""
    bare = Place(Source(name, path), 1, 1)
    if len(data) > MAX_FILE_BYTES:
        faults(bare.fault("file-too-large", f"{len(data)} bytes; at most {MAX_FILE_BYTES} are read"))
        return []
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = error.start - (before.rfind(b"\n") + 1)
        place = Place(
            bare.source, before.count(b"\n") + 1, len(before[-column:].decode("utf-8", "replace")) + 1 if column else 1
        )
        detail = f"byte 0x{data[error.start]:02x} is not part of any UTF-8 character"
        faults(place.fault("not-utf8", detail, hint="save the file as UTF-8"))
        return []
    source = Source(name, path, tuple(re.split("\r\n|\r|\n", text)))
    if bad := _FORBIDDEN.search(text):
        before_text = re.split("\r\n|\r|\n", text[: bad.start()])
        place = Place(source, len(before_text), len(before_text[-1]) + 1)
        faults(
            place.fault(
                "control-character",
                f"U+{ord(bad[0]):04X}",
                hint='write it as an escape in double quotes, for example "\\x07"',
            )
        )
        return []
    return _compose(text, source, faults)


def _compose(text: str, source: Source, faults: Faults) -> list[Node]:
    builder = _Builder(source, faults)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except _TooMuch:
        pass
    except yaml.MarkedYAMLError as error:
        faults(_syntax_fault(error, source))
    except yaml.YAMLError as error:
        faults(Place(source, 1, 1).fault("yaml-syntax", str(error)))
    return builder.documents


def _syntax_fault(error: yaml.MarkedYAMLError, source: Source) -> Diagnostic:
    mark = error.problem_mark or error.context_mark
    if error.context_mark and mark and not "".join(source.lines[mark.line :]).strip():
        mark = error.context_mark  # at the end of the file the beginning of what is unfinished says more
    place = Place(source, mark.line + 1, mark.column + 1) if mark else Place(source, 1, 1)
    line = source.lines[place.line - 1] if place.line <= len(source.lines) else ""
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent:
        return Place(source, place.line, indent.index("\t") + 1).fault("tab", "a tab", hint="indent with two spaces")
    problem = error.problem or "not understood"
    context = f" {error.context}" if error.context else ""
    hint = "put the text in quotes" if "mapping values are not allowed" in problem else ""
    return place.fault("yaml-syntax", problem + context, hint=hint)


class _Frame:
    """A collection that is being read."""

    __slots__ = ("anchor", "entries", "height", "items", "key", "place", "size")

    def __init__(self, place: Place, anchor: str | None, is_map: bool) -> None:
        self.place, self.anchor = place, anchor
        self.entries: dict[str, Entry] | None = {} if is_map else None
        self.items: list[Node] = []
        self.key: tuple[str, Place] | None = None
        self.size, self.height = 1, 1


class _Builder:
    """Parser events in, document nodes out."""

    def __init__(self, source: Source, faults: Faults) -> None:
        self.source, self.faults = source, faults
        self.documents: list[Node] = []
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Node, int, int]] = {}
        self._aliased = 0

    def take(self, event: yaml.Event) -> None:
        """Work in one event. Raises _TooMuch."""
        if isinstance(event, yaml.ScalarEvent):
            place = self._place(event)
            self._refuse_tag(event, place)
            node = Scalar(place, event.value, plain=not event.style)
            self._anchor(event.anchor, node, 1, 0)
            self._add(node, 1, 0)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            place = self._place(event)
            self._refuse_tag(event, place)
            if len(self._stack) >= MAX_DEPTH:
                self._stop(place.fault("too-deep", f"more than {MAX_DEPTH} levels"))
            self._stack.append(_Frame(place, event.anchor, isinstance(event, yaml.MappingStartEvent)))
        elif isinstance(event, yaml.CollectionEndEvent):
            frame = self._stack.pop()
            done: Node = (
                Sequence(frame.place, tuple(frame.items)) if frame.entries is None else Map(frame.place, frame.entries)
            )
            self._anchor(frame.anchor, done, frame.size, frame.height)
            self._add(done, frame.size, frame.height)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._anchors = {}

    def _place(self, event: yaml.NodeEvent) -> Place:
        start, end = event.start_mark, event.end_mark
        assert start is not None and end is not None  # noqa: PT018 - a parser's events always have marks
        span = end.column - start.column if end.line == start.line else 1
        return Place(self.source, start.line + 1, start.column + 1, span)

    def _stop(self, fault: Diagnostic) -> None:
        self.faults(fault)
        raise _TooMuch

    def _refuse_tag(self, event: Any, place: Place) -> None:
        if event.tag is not None:
            self.faults(place.fault("yaml-tag", event.tag, hint="leave the tag out; put text in quotes"))

    def _anchor(self, anchor: str | None, node: Node, size: int, height: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, size, height)

    def _alias(self, event: yaml.AliasEvent) -> None:
        place = self._place(event)
        known = self._anchors.get(str(event.anchor))
        if known is None:
            self.faults(place.fault("unknown-alias", f"no anchor &{event.anchor} ends before this place"))
            self._add(Scalar(place, "", plain=True), 1, 0)
            return
        node, size, height = known
        self._aliased += size
        if self._aliased > MAX_ALIASED_NODES:
            self._stop(place.fault("alias-bomb", f"aliases stand for more than {MAX_ALIASED_NODES} values"))
        if len(self._stack) + height > MAX_DEPTH:
            self._stop(place.fault("too-deep", f"more than {MAX_DEPTH} levels"))
        self._add(node, size, height)

    def _add(self, node: Node, size: int, height: int) -> None:
        if not self._stack:
            if not (isinstance(node, Scalar) and node.is_null):
                self.documents.append(node)
            if len(self.documents) > MAX_DOCUMENTS:
                self._stop(node.place.fault("too-many-documents", f"more than {MAX_DOCUMENTS}"))
            return
        frame = self._stack[-1]
        frame.size += size
        frame.height = max(frame.height, height + 1)
        if frame.entries is None:
            frame.items.append(node)
        elif frame.key is None:
            frame.key = self._key(node)
        else:
            (key, key_place), frame.key = frame.key, None
            first = frame.entries.get(key)
            if first is None:
                frame.entries[key] = Entry(key_place, node)
            else:
                detail = f"{key!r} is first written on line {first.key_place.line}"
                self.faults(key_place.fault("duplicate-key", detail, hint="keep one of the two"))

    def _key(self, node: Node) -> tuple[str, Place]:
        if isinstance(node, Scalar) and not node.is_null:
            if node.plain and node.text == "<<":
                hint = "write the keys out, or use an alias for a whole value, or an environment overlay"
                self.faults(node.place.fault("merge-key", "<<", hint=hint))
            return node.text, node.place
        self.faults(node.place.fault("bad-key", "not a text", hint="put the key in quotes if it is meant as text"))
        return f"\0{node.place.line}:{node.place.column}", node.place
