"""SentencePiece tokenizers: what the engine makes of a text is what SentencePiece's own library does; or refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from nexus_ctl.artifacts.convert.converted import converted
from nexus_ctl.artifacts.convert.pieces import of_model
from nexus_ctl.errors import Terminal
from tests.fakes.checkpoints import CHECKPOINTS
from tests.fakes.converted import gguf_of
from tests.fakes.engine_answers import Answers, Question, ask
from tests.fakes.sentencepiece_model import tokenizer_json, trained
from tests.nexus_ctl.artifacts.convert.test_converted import in_memory

LLAMA: dict[str, Any] = {}
GEMMA: dict[str, Any] = {
    "add_dummy_prefix": False,
    "split_digits": True,
    "pad_id": 0,
    "eos_id": 1,
    "bos_id": 2,
    "unk_id": 3,
    "user_defined_symbols": "\u2581\u2581,\u2581\u2581\u2581\u2581,\n\n,<start_of_turn>",
}
TEXTS = (
    *("", " ", "  ", "hello", " hello", "hello world", " two  spaces   three ", "trailing "),
    *("\n", "\t\n x", "line\r\nline", "a\n\nb", "    indented", "The quick brown fox."),
    *(
        "Zażółć gęślą jaźń",
        "日本語のテキスト",
        "немного русского",
        "مرحبا",
        "🙂👍🏽",
        "e\u0301 é",
        "\ufb01 ﬁ",
        "\u00a0x\u2003y",
    ),
    *("<s>", "</s> <unk>", "<0x0A>", "[INST] hi [/INST]", "\u2581", "x\u2581\u2581y", "\ufeffbom", "\x7f\x01"),
    *("1234567890", "3.14159", "aaaaaaaaa", "abababab", "thethethere", "print(number*number)"),
)


def repository(tokenizer: Mapping[str, bytes], count: int, model: str = "llama") -> dict[str, bytes]:
    """A tiny model with this tokenizer of so many tokens, its embedding some rows longer."""
    usual = CHECKPOINTS[model]
    changed = {"vocab_size": count + 12, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    files = replace(usual, config={**usual.config, **changed}).files()
    del files["tokenizer.json"]
    return files | dict(tokenizer)


def asked(files: Mapping[str, bytes], folder: Path, **more: Any) -> Answers:
    [answers] = ask([Question(gguf_of(files, folder, "f16"), **{"texts": TEXTS, **more})])
    return answers


@pytest.mark.parametrize(
    "settings", [LLAMA, GEMMA, LLAMA | {"split_by_unicode_script": False}], ids=["llama", "gemma", "free"]
)
def test_a_model_file_cuts_as_its_own_library(settings: dict[str, Any], tmp_path: Path) -> None:
    model = trained(**settings)
    own = sentencepiece.SentencePieceProcessor(model_proto=model)
    marks = ["<s>hi</s>", "x"]
    found = asked(repository({"tokenizer.model": model}, len(own)), tmp_path / "made", marked=marks)
    odd = {"x\u2581\u2581y"} if settings is GEMMA else set()  # a run of marks is no run of spaces to llama.cpp
    cut = {text: tokens for text, tokens in zip(TEXTS, found.texts, strict=True) if text not in odd}
    assert cut == {text: own.encode(text) for text in TEXTS if text not in odd}
    begin, end = own.bos_id(), own.eos_id()
    assert found.marked == [[begin, begin, *own.encode("hi"), end], [begin, *own.encode("x")]]


@pytest.mark.parametrize("prefix", ["prepend", "metaspace", "metaspace-never", "replace"])
def test_merges_give_the_scores_back(prefix: str, tmp_path: Path) -> None:
    model = trained(add_dummy_prefix=prefix in ("prepend", "metaspace"))
    own = sentencepiece.SentencePieceProcessor(model_proto=model)
    files = repository({"tokenizer.json": tokenizer_json(model, prefix=prefix)}, len(own))
    found = asked(files, tmp_path / "made")
    assert dict(zip(TEXTS, found.texts, strict=True)) == {text: own.encode(text) for text in TEXTS}


def test_what_was_added_later_is_known_and_the_rest_is_unused(tmp_path: Path) -> None:
    model = trained()
    count = len(sentencepiece.SentencePieceProcessor(model_proto=model))
    settings = {
        "bos_token": "<s>",
        "eos_token": {"content": "<|end|>"},
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(count): {"content": "<|end|>", "special": True},
            str(count + 1): {"content": "\u2581\u2581tab", "special": False},
            str(count + 40): {"content": "<image>", "special": True},
        },
        "chat_template": [{"name": "default", "template": "{{ messages }}"}, {"name": "tool", "template": "x"}],
    }
    files = repository({"tokenizer.model": model, "tokenizer_config.json": json.dumps(settings).encode()}, count)
    found = asked(files, tmp_path / "made", marked=["the<|end|>", "the  tabs"])
    own = sentencepiece.SentencePieceProcessor(model_proto=model)
    the, s = (own.encode(f"\n{text}")[2:] for text in ("the", "s"))  # without the space before, and the line's end
    assert found.marked == [[*the, count], [*the, count + 1, *s]]
    header = converted(in_memory(files), "f16").header
    told = {key.removeprefix("tokenizer.ggml."): value for key, value in header.metadata.items()}
    assert (told["bos_token_id"], told["eos_token_id"], told["unknown_token_id"]) == (1, count, 0)
    assert told["token_type"][-11:] == (4, *[5] * 10)
    assert told["tokenizer.chat_template"] == "{{ messages }}"


@pytest.mark.parametrize(
    ("model", "beside", "takes"), [("phi3", True, True), ("phi3", False, False), ("llama", True, False)]
)
def test_special_tokens_of_phi_take_the_spaces_after_them(
    model: str, beside: bool, takes: bool, tmp_path: Path
) -> None:
    own = sentencepiece.SentencePieceProcessor(model_proto=trained())
    added = {"<|end|>": len(own), "<|endoftext|>": len(own) + 1}
    decoder = {
        str(number): {"content": text, "special": True, "rstrip": text == "<|end|>"}
        for text, number in added.items()
        if beside or text == "<|end|>"
    }
    settings = {"added_tokens_decoder": decoder, "add_bos_token": False}
    files = {"tokenizer.model": trained(), "tokenizer_config.json": json.dumps(settings).encode()}
    found = asked(repository(files, len(own), model), tmp_path / "made", marked=["the<|end|>   fox"])
    after = "fox" if takes else "   fox"
    assert found.marked == [[*own.encode("the"), len(own), *own.encode(after)]]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"model_type": "unigram", "vocab_size": 350}, "chosen as unigram, not as BPE"),
        ({"normalization_rule_name": "nmt_nfkc"}, "rewrites characters"),
        ({"remove_extra_whitespaces": True}, "drops repeated spaces"),
        ({"byte_fallback": False, "character_coverage": 1.0}, "no piece for every byte"),
        ({"treat_whitespace_as_suffix": True}, "spaces behind words"),
    ],
)
def test_a_model_file_of_other_rules_is_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(Terminal, match=told) as caught:
        converted(in_memory(repository({"tokenizer.model": trained(**settings)}, 420)), "f16")
    assert (caught.value.code, "tokenizer.model" in str(caught.value)) == ("conversion-impossible", True)


def _model_changed(**values: Any) -> bytes:
    told = json.loads(tokenizer_json(trained(), prefix="prepend"))
    return json.dumps({**told, "model": {**told["model"], **values}}).encode()


def _fewer_merges(taken: int) -> bytes:
    told = json.loads(tokenizer_json(trained(), prefix="prepend"))
    merges = told["model"]["merges"]
    return _model_changed(merges=merges[:taken] + merges[taken + 1 :])


def test_merges_that_scores_cannot_tell_are_refused() -> None:
    told = json.loads(tokenizer_json(trained(), prefix="prepend"))
    several = [["t", "he"], ["x", "y"], ["th", "e"]]
    odd = {
        r"model\.merges do not join": _fewer_merges(3),
        r"model\.merges make 'the' at two places": _model_changed(merges=several),
        r"model\.vocab goes up to 1000000000000000": _model_changed(vocab={**told["model"]["vocab"], "far": 10**15}),
        r"model\.dropout is set": _model_changed(dropout=0.1),
        r"model\.vocab has no <0x00>": _model_changed(vocab={"a": 0}),
        "normalizer .* is not known": json.dumps({**told, "normalizer": {"type": "NFC"}}).encode(),
    }
    for why, content in odd.items():
        with pytest.raises(Terminal, match=why) as caught:
            converted(in_memory(repository({"tokenizer.json": content}, 420)), "f16")
        assert "tokenizer.json" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"IQ== 0\nIg== 1\n", b"\n", b"\n\x02\x12\x00", b"\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\n\x05\n"],
)
def test_a_file_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"tokenizer\.model"):
        of_model(content)


@given(st.integers(0, 8_000), st.binary(min_size=1, max_size=4))
def test_a_bent_file_is_read_or_refused(at: int, put: bytes) -> None:
    model = trained()
    with suppress(ValueError):
        of_model(model[:at] + put + model[at + len(put) :])
