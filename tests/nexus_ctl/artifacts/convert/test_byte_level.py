"""Byte-level BPE: by every rule that is known, the engine cuts a text as transformers' own library does."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from nexus_ctl.artifacts.convert.byte_level import CUTS
from nexus_ctl.artifacts.convert.converted import converted
from nexus_ctl.errors import Terminal
from tests.fakes.sentencepiece_model import LINES
from tests.nexus_ctl.artifacts.convert.test_converted import in_memory
from tests.nexus_ctl.artifacts.convert.test_pieces import TEXTS, asked, repository

VOCABULARY = 1_000
COMPOSED_LATER = "e\u0301"
"""llama.cpp's rules of cased words know no marks of their own, so that it cuts letters with them otherwise."""
MORE = (
    "a xylophone",
    "I'll say IT'S o'clock, WE'VE 12345 of 'em",
    "camelCaseWord HTTPServer XMLHttp",
    "a/b//c\n\n\n  d",
    "x=y+1;\r\n\r\n\tz",
)


def _step(name: str) -> Any:
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=name == "ByteLevel+regex")
    named = {"ByteLevel": byte_level, "ByteLevel+regex": byte_level, "Digits": pre_tokenizers.Digits(True)}
    return named.get(name) or pre_tokenizers.Split(tokenizers.Regex(name), "isolated")


@cache
def trained(steps: tuple[str, ...], *, whole: bool) -> tokenizers.Tokenizer:
    """A tokenizer that cuts so. Its merges were learned on texts that nothing cut, so that every wrong cut shows; one
    that takes words whole knows a word that no merge makes."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = _step("ByteLevel")
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator((*LINES, *TEXTS, *MORE) * 5, trainer)
    told = json.loads(made.to_str())
    told["model"]["ignore_merges"] = whole
    told["model"]["vocab"].setdefault("Ġxylophone", VOCABULARY)
    made = tokenizers.Tokenizer.from_str(json.dumps(told))
    made.pre_tokenizer = pre_tokenizers.Sequence([_step(name) for name in steps])
    return made


@pytest.mark.parametrize(("steps", "whole"), CUTS, ids=CUTS.values())
def test_the_engine_cuts_as_the_library(steps: tuple[str, ...], whole: bool, tmp_path: Path) -> None:
    own = trained(steps, whole=whole)
    texts = (*TEXTS, *MORE)
    files = repository({"tokenizer.json": own.to_str().encode()}, VOCABULARY + 1)
    found = asked(files, tmp_path / "made", texts=texts, marked=["hi<|end|>"])
    odd = {text for text in texts if COMPOSED_LATER in text and CUTS[steps, whole] in ("tekken", "gpt-4o")}
    cut = {text: tokens for text, tokens in zip(texts, found.texts, strict=True) if text not in odd}
    assert cut == {text: own.encode(text).ids for text in texts if text not in odd}
    assert found.marked == [own.encode("hi<|end|>").ids], "nothing is put before or after it"


def test_a_cut_told_the_other_way_round_is_the_same() -> None:
    (steps, whole) = next(rule for rule, name in CUTS.items() if name == "qwen2")
    told = json.loads(trained(steps, whole=whole).to_str())
    told["pre_tokenizer"]["pretokenizers"][0] |= {"behavior": "Removed", "invert": True}
    own = tokenizers.Tokenizer.from_str(json.dumps(told))
    texts = (*TEXTS, *MORE)
    assert [own.encode(text).ids for text in texts] == [trained(steps, whole=whole).encode(text).ids for text in texts]
    files = repository({"tokenizer.json": own.to_str().encode()}, VOCABULARY + 1)
    assert converted(in_memory(files), "f16").header.metadata["tokenizer.ggml.pre"] == "qwen2"


def test_what_the_template_puts_around_a_text_is_told(tmp_path: Path) -> None:
    (steps, whole), *_ = CUTS
    own = json.loads(trained(steps, whole=whole).to_str())
    around = [{"SpecialToken": {"id": "<|end|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    own["post_processor"] = {"type": "TemplateProcessing", "single": around, "pair": around, "special_tokens": {}}
    files = repository({"tokenizer.json": json.dumps(own).encode()}, VOCABULARY + 1)
    files["tokenizer_config.json"] = b'{"bos_token": "<|end|>"}'
    found = asked(files, tmp_path / "made", marked=["hi"])
    assert found.marked == [[0, *trained(steps, whole=whole).encode("hi").ids]]


def test_a_text_that_is_changed_before_is_refused() -> None:
    (steps, whole), *_ = CUTS
    own = json.loads(trained(steps, whole=whole).to_str())
    files = repository(
        {"tokenizer.json": json.dumps({**own, "normalizer": {"type": "Lowercase"}}).encode()}, VOCABULARY
    )
    with pytest.raises(Terminal, match=r"tokenizer\.json: normalizer is .*Lowercase"):
        converted(in_memory(files), "f16")
