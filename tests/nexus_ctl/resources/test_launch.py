"""Model files in a launch specification: one in the target's place, the parts of a split one side by side."""

from __future__ import annotations

from nexus_ctl.resources.launch import LaunchSpec, Mount, with_files

LAUNCH = LaunchSpec(
    ("llama-server", "--model", "/models/big.gguf", "--lora", "/adapters/a.gguf"),
    mounts=(Mount("/models/big.gguf", model="big"), Mount("/adapters/a.gguf", source="/host/a.gguf")),
)


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


def test_a_model_that_is_not_known_yet_is_left_open() -> None:
    assert with_files(LAUNCH, {}) == LAUNCH
