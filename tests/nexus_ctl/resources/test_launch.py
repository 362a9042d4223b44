"""Model files in a launch specification: one in the target's place, parts of a split one and folders side by side."""

from __future__ import annotations

import pytest

from nexus_ctl.resources.launch import LaunchSpec, Mount, chosen, renamed, with_files

LAUNCH = LaunchSpec(
    ("llama-server", "--model", "/models/big.gguf", "--lora", "/adapters/a.gguf"),
    mounts=(Mount("/models/big.gguf", model="big"), Mount("/adapters/a.gguf", source="/host/a.gguf")),
)
HUB = ("/c/README.md", "/c/q-Q4_K_M-00001-of-00002.gguf", "/c/q-Q4_K_M-00002-of-00002.gguf", "/c/q-Q8_0.gguf")


def test_one_file_takes_the_target() -> None:
    found = with_files(LAUNCH, {"big": ("/cache/sha256-1",)})
    assert found.argv == LAUNCH.argv
    assert found.mounts == (Mount("/models/big.gguf", "/cache/sha256-1", "big"), LAUNCH.mounts[1])


def test_the_parts_of_a_split_model_keep_their_names_in_one_folder() -> None:
    parts = ("/cache/q/m-00001-of-00002.gguf", "/cache/q/m-00002-of-00002.gguf")
    found = with_files(LAUNCH, {"big": parts})
    assert found.argv[2] == "/models/big/m-00001-of-00002.gguf"
    assert [(m.target, m.source) for m in found.mounts if m.model] == [
        ("/models/big/m-00001-of-00002.gguf", parts[0]),
        ("/models/big/m-00002-of-00002.gguf", parts[1]),
    ]


def test_a_split_adapter_is_renamed_within_its_word() -> None:
    scaled = LaunchSpec(
        ("llama-server", "--lora-scaled", "/models/adapter/0-a.gguf:0.5,/models/adapter/1-a.gguf:1"),
        mounts=(Mount("/models/adapter/0-a.gguf", model="a"), Mount("/models/adapter/1-a.gguf", model="b")),
    )
    parts = ("/c/a-00001-of-00002.gguf", "/c/a-00002-of-00002.gguf")
    found = with_files(scaled, {"a": parts, "b": ("/c/b",)})
    assert found.argv[2] == "/models/adapter/0-a/a-00001-of-00002.gguf:0.5,/models/adapter/1-a.gguf:1"


def test_other_files_make_the_target_a_folder() -> None:
    served = LaunchSpec(("vllm", "serve", "/models/q"), mounts=(Mount("/models/q", model="q"),))
    found = with_files(served, {"q": ("/cache/q/config.json", "/cache/q/sub/model.safetensors")})
    assert found.argv == served.argv
    assert [(m.target, m.source) for m in found.mounts] == [
        ("/models/q/config.json", "/cache/q/config.json"),
        ("/models/q/sub/model.safetensors", "/cache/q/sub/model.safetensors"),
    ]


def test_a_model_that_is_not_known_yet_is_left_open() -> None:
    assert with_files(LAUNCH, {}) == LAUNCH


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*Q8_0*", HUB[3:]),
        ("q-Q4_K_M-00002-of-00002.gguf", HUB[1:3]),
        ("*Q4_K_M*", HUB[1:3]),
        ("README.md", HUB[:1]),
    ],
)
def test_a_pattern_chooses_one_file_or_all_parts_of_one(pattern: str, found: tuple[str, ...]) -> None:
    assert chosen(HUB, pattern) == found


@pytest.mark.parametrize(
    ("files", "pattern", "words"),
    [
        (HUB, "", "several files match *.gguf: q-Q4_K_M-00001-of-00002.gguf, q-Q8_0.gguf"),
        (HUB, "*f16*", "no files match *f16*: README.md, q-Q4_K_M-00001-of-00002.gguf, q-Q8_0.gguf"),
    ],
)
def test_where_it_is_not_clear_the_files_are_named(files: tuple[str, ...], pattern: str, words: str) -> None:
    with pytest.raises(ValueError, match="files match") as caught:
        chosen(files, pattern)
    assert str(caught.value) == words


def test_one_gguf_among_other_files_needs_no_pattern() -> None:
    assert chosen(("/c/README.md", "/c/m.gguf")) == ("/c/m.gguf",)


def test_a_single_file_is_meant_whatever_it_is_called() -> None:
    assert chosen(("/blobs/0a1b",), "*Q4_K_M*") == ("/blobs/0a1b",)


def test_a_path_is_renamed_only_as_a_whole() -> None:
    assert renamed("/m/a.gguf:1,/m/a.gguf.bak,/x/m/a.gguf", "/m/a.gguf", "/n") == "/n:1,/m/a.gguf.bak,/x/m/a.gguf"
