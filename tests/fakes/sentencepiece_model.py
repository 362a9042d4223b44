"""Tiny SentencePiece tokenizers, trained here, as the two files that repositories have of them."""

from __future__ import annotations

import io
import json
from functools import cache
from typing import Any

import sentencepiece

SPACE = "\u2581"
LINES = (
    "The quick brown fox jumps over the lazy dog, and the dog does not mind it at all.",
    "Zażółć gęślą jaźń. Größe, naïve café, 1234567890 and 3.14159.",
    "日本語のテキスト と 中文 文本 и немного русского текста.",
    "def main():\n    for number in range(10):\n        print(number * number)\n",
    "a aa aaa aaaa ababab the the there then them 12 123 1999 2026",
)


@cache
def trained(**settings: Any) -> bytes:
    """A `tokenizer.model` of BPE with bytes for what it does not know; `settings` are the trainer's own."""
    usual = {
        "model_type": "bpe",
        "vocab_size": 420,
        "byte_fallback": True,
        "character_coverage": 0.98,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "minloglevel": 2,
        "num_threads": 1,
    }
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 20), model_writer=model, **(usual | settings)
    )
    return model.getvalue()


def tokenizer_json(model: bytes, *, prefix: str) -> bytes:
    """The same as transformers keeps it: merges in the order of scores. `prefix` says by which rule a space is added:
    "prepend" and "metaspace" (both add it), "metaspace-never" and "replace" (both do not)."""
    told = sentencepiece.SentencePieceProcessor(model_proto=model)
    vocabulary = {told.id_to_piece(number): number for number in range(len(told))}
    merges: list[tuple[float, str, str]] = []
    for piece, number in vocabulary.items():
        pairs = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
        known = [pair for pair in pairs if pair[0] in vocabulary and pair[1] in vocabulary]
        if not (told.is_control(number) or told.is_unknown(number) or told.is_byte(number)):
            known.sort(key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
            merges += [(told.get_score(number), left, right) for left, right in known]
    merges.sort(key=lambda merge: -merge[0])
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    metaspace = {"type": "Metaspace", "replacement": SPACE, "split": False}
    rules: dict[str, tuple[Any, Any]] = {
        "prepend": ({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, replace]}, None),
        "metaspace": (None, {**metaspace, "prepend_scheme": "first"}),
        "metaspace-never": (None, {**metaspace, "prepend_scheme": "never"}),
        "replace": (
            replace,
            {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
        ),
    }
    normalizer, cut = rules[prefix]
    content = {
        "added_tokens": [
            {"id": at, "content": vocabulary_at, "special": True} for vocabulary_at, at in list(vocabulary.items())[:3]
        ],
        "normalizer": normalizer,
        "pre_tokenizer": cut,
        "model": {
            "type": "BPE",
            "byte_fallback": True,
            "unk_token": "<unk>",
            "vocab": vocabulary,
            "merges": [[left, right] for _, left, right in merges],
        },
    }
    return json.dumps(content).encode()
