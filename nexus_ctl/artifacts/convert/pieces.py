"""What a SentencePiece tokenizer knows: its pieces with their scores and kinds, out of either of the files that say it.

Called by `tokenizer`. A `tokenizer.model` is read without SentencePiece's own library: what is planned on comes from
anywhere, and three of the file's messages are enough. A `tokenizer.json` that was made of such a file keeps the order
of merges instead of scores; the scores come back from it, where that order says the same. The rule kept: llama.cpp
joins the pair of pieces whose whole has the best score, so what another rule decides is refused. Source: SentencePiece,
src/sentencepiece_model.proto; llama.cpp, src/llama-vocab.cpp (llm_tokenizer_spm).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from struct import unpack
from typing import Any

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""What a piece is; SentencePiece and GGUF number it alike."""
SPACE = "\u2581"
"""What stands for a space within pieces."""
_BPE = 2
_KINDS = {1: "unigram", 3: "word", 4: "char"}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
Field = int | bytes
"""A number, or what has a length, or the four or eight bytes of a fixed width."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """By number. `prefix`: a text is given a space before it. `special` are those the file itself names: bos, eos, …"""

    texts: Sequence[str]
    scores: Sequence[float]
    kinds: Sequence[int]
    prefix: bool
    special: Mapping[str, int]


def of_model(content: bytes) -> Pieces:
    """The pieces of a `tokenizer.model`. Raises ValueError for a broken file, and for rules that GGUF cannot tell."""
    if not content.startswith(b"\n"):
        raise ValueError("tokenizer.model: it is no SentencePiece model; leave it out of the source's files")
    texts, scores, kinds = [], [], []
    trainer: dict[int, Field] = {}
    normalizer: dict[int, Field] = {}
    for number, value in _fields(content):
        if number == 1:
            piece = dict(_fields(_bytes(value)))
            texts.append(_bytes(piece.get(1, b"")).decode())
            scores.append(_fraction(piece[2]) if 2 in piece else 0.0)
            kinds.append(_number(piece.get(3, NORMAL)))
        elif number in (2, 3):
            (trainer if number == 2 else normalizer).update(_fields(_bytes(value)))
    _check(trainer, normalizer, kinds)
    special = {name: _signed(trainer.get(at, usual)) for name, (at, usual) in _SPECIAL.items()}
    return Pieces(texts, scores, kinds, bool(normalizer.get(3, 1)), {k: v for k, v in special.items() if v >= 0})


_SPECIAL = {"unknown": (40, 0), "bos": (41, 1), "eos": (42, 2), "padding": (43, (1 << 64) - 1)}
"""Fields of the trainer's settings that name a piece, and what they are when left out (-1: there is none)."""


def _check(trainer: Mapping[int, Field], normalizer: Mapping[int, Field], kinds: Sequence[int]) -> None:
    kind = trainer.get(3, 1)
    wrong = {
        f"its pieces are chosen as {_KINDS.get(_number(kind), kind)}, not as BPE": kind != _BPE,
        "it rewrites characters before": bool(normalizer.get(2) or normalizer.get(6)),
        "it drops repeated spaces": bool(normalizer.get(4, 1)),
        "it leaves spaces as they are": not normalizer.get(5, 1),
        "it puts spaces behind words": bool(trainer.get(24, 0)),
        "it has no piece for every byte": kinds.count(BYTE) != 256,
    }
    if found := [why for why, is_so in wrong.items() if is_so]:
        raise ValueError(f"tokenizer.model: {'; '.join(found)}, which llama.cpp does not do")


def of_merges(model: Mapping[str, Any], rules: Mapping[str, Any], rows: int) -> Pieces:
    """The pieces of a `tokenizer.json` with byte fallback: `model` is its model, `rules` the whole of it; `rows` is how
    many there can be.

    Raises ValueError where the order of its merges is not an order of pieces, or where it cuts or changes a text.
    """
    vocabulary: Mapping[str, int] = model["vocab"]
    if missing := [name for name in (f"<0x{byte:02X}>" for byte in range(256)) if name not in vocabulary]:
        raise ValueError(f"tokenizer.json: model.vocab has no {missing[0]}, so not every byte has a token")
    odd = [
        key for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges") if model.get(key)
    ]
    if odd:
        raise ValueError(f"tokenizer.json: model.{odd[0]} is set, which GGUF has no word for")
    added = {one["content"]: one for one in rules.get("added_tokens", [])}
    scores = _scores(
        vocabulary, [tuple(one.split(" ")) if isinstance(one, str) else tuple(one) for one in model["merges"]], added
    )
    texts = {number: text for text, number in vocabulary.items()}
    count = max(texts) + 1
    if min(texts) < 0 or count > rows:
        raise ValueError(f"tokenizer.json: model.vocab goes up to {count - 1}, the model has {rows} rows")
    unknown = vocabulary.get(model.get("unk_token") or "", -1)
    kinds = [BYTE if texts.get(at, "").startswith("<0x") and len(texts[at]) == 6 else NORMAL for at in range(count)]
    if unknown >= 0:
        kinds[unknown] = UNKNOWN
    return Pieces(
        [texts.get(at, f"[PAD{at}]") for at in range(count)],
        [scores.get(texts.get(at, ""), 0.0) for at in range(count)],
        [kind if at in texts else UNUSED for at, kind in enumerate(kinds)],
        _prefix(rules.get("normalizer") or {}, rules.get("pre_tokenizer") or {}),
        {"unknown": unknown} if unknown >= 0 else {},
    )


def _scores(
    vocabulary: Mapping[str, int], merges: Sequence[tuple[str, ...]], added: Mapping[str, Any]
) -> Mapping[str, float]:
    """Of each piece that a merge makes: the sooner the better."""
    first: dict[str, int] = {}
    last = ("", -1)
    for rank, pair in enumerate(merges):
        whole = "".join(pair)
        if whole not in first:
            first[whole] = rank
        elif last[0] != whole:
            raise ValueError(
                f"tokenizer.json: model.merges make {whole!r} at two places of their order, a score has one"
            )
        last = (whole, rank)
    known = set(merges)
    for piece in vocabulary:
        if piece in added:
            continue
        for at in range(1, len(piece)):
            pair = (piece[:at], piece[at:])
            if pair[0] in vocabulary and pair[1] in vocabulary and pair not in known:
                raise ValueError(
                    f"tokenizer.json: model.merges do not join {pair[0]!r} and {pair[1]!r}; llama.cpp would"
                )
    return {whole: float(-rank) for whole, rank in first.items()}


def _prefix(normalizer: Mapping[str, Any], cut: Mapping[str, Any]) -> bool:
    """Whether a text is given a space before it. Raises ValueError for any other change of it."""
    steps = list(
        normalizer["normalizers"] if normalizer.get("type") == "Sequence" else [normalizer] if normalizer else []
    )
    replaced = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    prefix = steps[:1] == [{"type": "Prepend", "prepend": SPACE}]
    if steps[prefix:] == [replaced] and cut.get("type", "Split") == "Split" and cut.get("pattern", _BLANK) == _BLANK:
        return prefix  # a cut at spaces, where no space is left
    match cut:
        case {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": False} if not steps:
            return bool(scheme != "never")
    raise ValueError(f"tokenizer.json: normalizer {normalizer} with pre_tokenizer {cut} is not known here"[:300])


_BLANK = {"String": " "}


def _fields(content: bytes) -> Iterator[tuple[int, Field]]:
    """(number, value) of every field of a message. Raises ValueError where the message is not one."""
    at, end = 0, len(content)
    while at < end:
        tag, at = _varint(content, at)
        match tag & 7:
            case 0:
                value, at = _varint(content, at)
                yield tag >> 3, value
                continue
            case 1 | 5 as width:
                length = 8 if width == _FIXED64 else 4
            case 2:
                length, at = _varint(content, at)
            case other:
                raise ValueError(f"tokenizer.model: a field of the kind {other}")
        if at + length > end:
            raise ValueError("tokenizer.model ends inside a field")
        yield tag >> 3, content[at : at + length]
        at += length


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """The number that begins there, and where the next thing does."""
    value = shift = 0
    while at < len(content) and shift < 64:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("tokenizer.model ends inside a number")


def _fraction(value: Field) -> float:
    content = _bytes(value)
    if len(content) != 4:
        raise ValueError("tokenizer.model has no fraction where a score belongs")
    score: float = unpack("<f", content)[0]
    return score


def _number(value: Field) -> int:
    if isinstance(value, bytes):
        raise ValueError("tokenizer.model has a text where a number belongs")
    return value


def _signed(value: Field) -> int:
    number = _number(value)
    return number - (1 << 64) if number >> 63 else number


def _bytes(value: Field) -> bytes:
    if isinstance(value, int):
        raise ValueError("tokenizer.model has a number where a text belongs")
    return value
