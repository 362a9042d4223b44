"""What is known of models that may not be here: cards, files, quantizations on offer, opinions, use. Values.

`artifacts.hub.catalog` makes them from the hub's answers and from file headers, `placement.llama_cpp.choice` weighs
them, views show them. The rule: every text in here is `foreign_text` already, every list is bounded, and what is not
known is empty or None, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from nexus_ctl.resources.weights import GgufHeader

SPLIT = re.compile(r"^(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$")
"""How llama.cpp names the parts of one model. Source: llama.cpp, `llama_split_path`."""
_LABEL = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:I?Q\d|TQ\d|MXFP4|NVFP4|BF16|F16|FP16|F32|FP32)(?:_[A-Z0-9]+)*)", re.IGNORECASE
)
"""The name of a quantization within a file name. Source: llama.cpp, `llama_ftype_name`, and how publishers write it."""
_BESIDE = re.compile(r"(^|[-._/])(mmproj|imatrix|vocab|lora|adapter|mtp|draft)([-._]|$)", re.IGNORECASE)
"""GGUF files that are no model of their own."""


@dataclass(frozen=True, slots=True)
class Score:
    """A result that the card claims; nobody has checked it."""

    task: str
    dataset: str
    metric: str
    value: str


@dataclass(frozen=True, slots=True)
class Card:
    """What is said of a model: by its card and the hub, or by the header of its file."""

    title: str = ""
    license: str = ""
    task: str = ""
    library: str = ""
    tags: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    base_models: tuple[str, ...] = ()
    parameters: int | None = None
    architecture: str = ""
    context_tokens: int | None = None
    """The context that the model was trained for."""
    chat_template: str = ""
    scores: tuple[Score, ...] = ()
    gated: bool = False
    private: bool = False
    downloads: int | None = None
    """Of the last 30 days, as the hub counts."""
    likes: int | None = None
    updated: datetime | None = None


@dataclass(frozen=True, slots=True)
class RepoFile:
    """One file at one commit. `sha256` is None for small files, which the hub names by git's digest."""

    name: str
    size_bytes: int
    sha256: str | None = None
    git_oid: str | None = None


@dataclass(frozen=True, slots=True)
class Fresh:
    """When something was last known to be true, and why that is not now; `why` is "" when it was just asked."""

    as_of: datetime
    why: str = ""


@dataclass(frozen=True, slots=True)
class Repository:
    """A hub repository at one commit. `requests` is how often the hub was asked for it."""

    repo: str
    revision: str
    commit: str
    card: Card
    files: tuple[RepoFile, ...]
    fresh: Fresh
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """A row of a search."""

    repo: str
    card: Card
    is_gguf: bool


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What the hub found, in its order."""

    models: tuple[Found, ...]
    fresh: Fresh


@dataclass(frozen=True, slots=True)
class Quantization:
    """One model file on offer, all parts of a split one together. `label` is its name: `Q4_K_M`, else the file's."""

    label: str
    files: tuple[RepoFile, ...]

    @property
    def size_bytes(self) -> int:
        """Of all parts."""
        return sum(file.size_bytes for file in self.files)

    @property
    def digests(self) -> tuple[str, ...]:
        """SHA-256 of the parts; empty when one of them is not known."""
        found = [file.sha256 for file in self.files if file.sha256 is not None]
        return tuple(found) if len(found) == len(self.files) else ()


@dataclass(frozen=True, slots=True)
class Rating:
    """What one person thinks of a model. `subject` is a Model's name, or `hf:owner/name`."""

    subject: str
    actor: str
    stars: int
    note: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Usage:
    """What the gateway counted for a model since it started; `deployments` are those that serve it."""

    since: datetime
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    last_used: datetime | None = None
    deployments: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """All that is known of one model before anything of this machine comes in.

    `name` as a person names it, `origin` where it comes from. `header` is of the quantization `header_of`; None with
    the reason in `no_header`. `taken` is the quantization that a manifest's patterns take. `requests` and `bytes_read`
    are what reading it cost, remembered answers apart.
    """

    name: str
    origin: str
    card: Card
    quantizations: tuple[Quantization, ...] = ()
    header: GgufHeader | None = None
    header_of: str = ""
    no_header: str = ""
    taken: str = ""
    commit: str = ""
    fresh: Fresh | None = None
    here: frozenset[str] = frozenset()
    """Labels of the quantizations that are on this machine."""
    requests: int = 0
    bytes_read: int = 0


def quantizations(files: Iterable[RepoFile]) -> tuple[Quantization, ...]:
    """The GGUF models among the files, smallest first. A split model with parts missing is left out."""
    groups: dict[str, list[RepoFile]] = {}
    for file in sorted(files, key=lambda file: file.name):
        if file.name.endswith(".gguf") and not _BESIDE.search(file.name):
            groups.setdefault(group_of(file.name), []).append(file)
    whole = {stem: tuple(parts) for stem, parts in groups.items() if _is_whole(parts)}
    labels = _labels(whole)
    found = (Quantization(labels[stem], parts) for stem, parts in whole.items())
    return tuple(sorted(found, key=lambda one: (one.size_bytes, one.label)))


def group_of(name: str) -> str:
    """The model that a file belongs to: the name of a split without its number, else the file's own."""
    split = SPLIT.match(name)
    return split["stem"] if split else name


def _is_whole(parts: list[RepoFile]) -> bool:
    split = SPLIT.match(parts[0].name)
    return split is None or len(parts) == int(split["count"])


def _labels(groups: Mapping[str, object]) -> dict[str, str]:
    """Stem → label; the stem itself where the name has none, or where two models would share one."""
    labels = {}
    for stem in groups:
        found = _LABEL.findall(stem.removesuffix(".gguf"))
        labels[stem] = found[-1].upper() if found else stem.removesuffix(".gguf")
    shared = [label for label in labels.values() if list(labels.values()).count(label) > 1]
    return {stem: stem.removesuffix(".gguf") if label in shared else label for stem, label in labels.items()}
