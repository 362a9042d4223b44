"""Two locks: what moved, what it downloads, what it replaces; and how it reads."""

from __future__ import annotations

from nexus_ctl.planning.lock_diff import moves
from nexus_ctl.resources.lock import Lock, Locked, LockedBuild, LockedFile
from nexus_ctl.views.lock import moved_json, moved_text
from tests.builders import a_deployment, a_model, a_stack

STACK = a_stack(
    a_model("qwen3"), a_model("other"), a_deployment("chat", model="qwen3"), a_deployment("aside", model="other")
)
A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
GIB = 1 << 30


def lock(commit: str, files: dict[str, tuple[int, str]], images: dict[str, str] | None = None) -> Lock:
    entry = Locked({"huggingFace": {}}, {name: LockedFile(*file) for name, file in files.items()}, commit)
    return Lock({"qwen3": entry}, images or {})


def test_a_model_that_moved() -> None:
    old = lock("1a2b3c4" + "0" * 33, {"q.gguf": (4 * GIB, A), "config.json": (10, B)})
    new = lock("5d6e7f8" + "0" * 33, {"q.gguf": (5 * GIB, C), "config.json": (10, B), "x.json": (3, B)})
    found = moves(old, new, STACK, frozenset())
    assert (
        moved_text(found)
        == """\
~ Model/qwen3  1a2b3c4 -> 5d6e7f8
    ~ q.gguf  4.0 GiB -> 5.0 GiB
    + x.json  3 B
    download 5.0 GiB
    replaces Deployment/chat
1 differ; 5.0 GiB to download, 1 to replace.
"""
    )
    assert moves(old, new, STACK, frozenset({C}))[0].download_bytes == 0, "it is here already"
    [row] = moved_json(found)
    assert (row["ref"], row["change"], row["downloadBytes"], row["replaces"]) == (
        "Model/qwen3",
        "moved",
        5 * GIB,
        ["Deployment/chat"],
    )


def test_a_commit_with_the_same_bytes_replaces_nothing() -> None:
    old, new = (lock(digit * 40, {"q.gguf": (4, A)}) for digit in "12")
    [move] = moves(old, new, STACK, frozenset())
    assert (move.files, move.download_bytes, move.replaces) == ((), 0, ())
    assert "the same files" in moved_text([move])


def test_what_came_and_what_went() -> None:
    full, empty = lock("", {"q.gguf": (4, A)}, {"engine:1": B}), Lock()
    assert [(str(one.ref), one.verb, one.replaces) for one in moves(empty, full, STACK, frozenset())] == [
        ("Model/qwen3", "added", ()),
        ("Image/engine:1", "added", ()),
    ]
    assert [one.verb for one in moves(full, empty, STACK, frozenset())] == ["removed", "removed"]
    assert moves(full, full, STACK, frozenset()) == ()
    assert moved_text([]) == "The locks say the same.\n"


def test_an_image_that_moved_replaces_those_that_run_it() -> None:
    from nexus_ctl.engines import table as engines

    image = engines.launch(a_deployment().spec).image
    [move] = moves(Lock(images={image: A}), Lock(images={image: B}), STACK, frozenset())
    assert [str(ref) for ref in move.replaces] == ["Deployment/aside", "Deployment/chat"]


def test_what_is_built_moves_by_its_result_else_by_its_inputs() -> None:
    def built(*builds: LockedBuild) -> Lock:
        return Lock({"qwen3": Locked({"url": "http://h/m"}, {"m": LockedFile(4, A)}, "", builds)})

    ahead = LockedBuild("quantize", "Q4_K_M", "1" * 64, "a tool 1", 2 * GIB)
    done = LockedBuild("quantize", "Q4_K_M", "1" * 64, "a tool 1", 2 * GIB, B)
    other = LockedBuild("quantize", "Q4_K_M", "1" * 64, "a tool 2", 2 * GIB, C)
    elsewhere = LockedBuild("quantize", "Q5_K_M", "2" * 64, "a tool 1", 3 * GIB)
    [move] = moves(built(done), built(other), STACK, frozenset())
    assert (move.download_bytes, [str(ref) for ref in move.replaces]) == (0, ["Deployment/chat"])
    assert moved_json([move])[0]["builds"] == [
        {
            "step": "quantize Q4_K_M",
            "before": {"step": "quantize", "type": "Q4_K_M", "key": "1" * 64, "tool": "a tool 1"}
            | {"sizeBytes": 2 * GIB, "digest": B},
            "after": {"step": "quantize", "type": "Q4_K_M", "key": "1" * 64, "tool": "a tool 2"}
            | {"sizeBytes": 2 * GIB, "digest": C},
        }
    ]
    [move] = moves(built(ahead), built(elsewhere), STACK, frozenset())
    text = moved_text([move])
    assert "    ~ quantize Q5_K_M  not built yet, 2.0 GiB -> 3.0 GiB, by a tool 1, of other inputs" in text
    assert "replaces Deployment/chat" in text
    [move] = moves(built(ahead), built(done), STACK, frozenset())
    assert move.replaces == (), "that it was built at last moves nothing"
    [move] = moves(built(), built(done), STACK, frozenset())
    assert "    + quantize Q4_K_M  bbbbbbb, 2.0 GiB, by a tool 1" in moved_text([move])
