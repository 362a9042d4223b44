"""Tools in container images: the order, what is remembered of an image, the run of a job, the tool that was planned."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from nexus_ctl.artifacts.builds import tools
from nexus_ctl.artifacts.builds.image_tool import ImageTools, one_shot
from nexus_ctl.artifacts.builds.tools import Job, Tool, find_tool
from nexus_ctl.artifacts.cache import Cache
from nexus_ctl.artifacts.source import Means
from nexus_ctl.clock import SystemClock
from nexus_ctl.errors import RuntimeUnreachable, Terminal
from nexus_ctl.resources.artifact import Quantization, Request
from nexus_ctl.resources.model import Source
from nexus_ctl.resources.one_shot import HostedImage, OneShot
from tests.fakes.gguf_models import TINY, write


class Engine:
    """Images by reference: their id, and where the program lies in them ("" for nowhere)."""

    def __init__(self, **images: tuple[str, str]) -> None:
        self.images = images
        self.looks = 0
        self.jobs: list[OneShot] = []

    def hosted(self, image: str) -> HostedImage | None:
        found = self.images.get(image)
        return HostedImage(image, f"sha256:{found[0]}", f"sha256:d{found[0]}") if found is not None else None

    def program(self, image_id: str, name: str) -> str:
        self.looks += 1
        return next(program for digest, program in self.images.values() if image_id == f"sha256:{digest}")

    def run(self, job: OneShot, tick: Callable[[], None]) -> str:
        self.jobs.append(job)
        return "it ended with 3"


FULL = ("aaa1111", "/app/llama-quantize")
SERVER = ("bbb2222", "")


def names(there: Iterable[Tool]) -> list[str]:
    return [tool.words for tool in there]


def test_only_images_that_are_here_and_hold_it_are_tools(tmp_path: Path) -> None:
    engine = Engine(full=FULL, server=SERVER)
    found = ImageTools(tmp_path, ("full", "never-pulled", "server"), lambda: engine)
    assert names(found()) == ["llama-quantize of full (daaa111)"]
    assert [tool.name for tool in found()] == ["llama-quantize of the image sha256:daaa1111"]


def test_an_image_is_looked_into_once_whatever_it_is_called(tmp_path: Path) -> None:
    engine = Engine(full=FULL, again=FULL, server=SERVER)
    for _ in range(2):
        assert len(names(ImageTools(tmp_path, ("full", "again", "server"), lambda: engine)())) == 2
    assert engine.looks == 2
    (tmp_path / "aaa1111.json").write_text("no JSON")
    assert len(names(ImageTools(tmp_path, ("full",), lambda: engine)())) == 1
    assert engine.looks == 3


def test_without_images_no_engine_is_opened(tmp_path: Path) -> None:
    def fail() -> None:
        pytest.fail("nothing is to be looked for")

    assert names(ImageTools(tmp_path, (), fail)()) == []
    assert names(ImageTools(tmp_path, ("full",), lambda: None)()) == []


def test_an_engine_that_does_not_answer_has_no_tools(tmp_path: Path) -> None:
    class Silent(Engine):
        def hosted(self, image: str) -> HostedImage | None:
            raise RuntimeUnreachable("no answer")

    assert names(ImageTools(tmp_path, ("full",), Silent)()) == []


def test_the_order_is_host_image_package(tmp_path: Path) -> None:
    program = tmp_path / "llama-quantize"
    program.write_text("#!/bin/sh\necho 'build = 7 (abc)'\n")
    program.chmod(0o755)
    images = ImageTools(tmp_path, ("full",), lambda: Engine(full=FULL))
    assert find_tool({"PATH": str(tmp_path)}, images).name == "llama-quantize build 7 (abc)"
    assert find_tool({}, images).name == "llama-quantize of the image sha256:daaa1111"
    assert find_tool({}).name.startswith("ggml of xllamacpp ")


def test_what_was_planned_builds_or_nothing(tmp_path: Path) -> None:
    images = ImageTools(tmp_path, ("full",), lambda: Engine(full=FULL))
    package = find_tool({})
    assert find_tool({}, images, package.words).words == package.words, "an image that came since changes nothing"
    with pytest.raises(Terminal, match=r"llama-quantize of full \(daaa111\) is not here any more") as caught:
        find_tool({}, planned="llama-quantize of full (daaa111)")
    assert (caught.value.code, "nexusctl plan" in caught.value.hint) == ("source-moved", True)


def test_a_run_sees_its_inputs_and_one_folder() -> None:
    job = Job(
        "IQ2_XS", ("/c/sets/1/m-00001-of-00002.gguf", "/c/sets/1/m-00002-of-00002.gguf"), "/c/i", "/c/p/x.build/m", 3
    )
    shot = one_shot(job, "sha256:1", "/app/llama-quantize", 1 << 30)
    assert shot.argv == (
        *("/app/llama-quantize", "--allow-requantize", "--imatrix", "/in/imatrix"),
        *("/in/m-00001-of-00002.gguf", "/out/m", "IQ2_XS", "3"),
    )
    assert shot.reads == {
        "/in/m-00001-of-00002.gguf": "/c/sets/1/m-00001-of-00002.gguf",
        "/in/m-00002-of-00002.gguf": "/c/sets/1/m-00002-of-00002.gguf",
        "/in/imatrix": "/c/i",
    }
    assert (shot.writes, shot.memory_bytes, shot.cores) == (("/c/p/x.build", "/out"), 1 << 30, 3)
    plain = one_shot(Job("Q8_0", ("/c/blobs/sha256-1",), "", "/c/p/x.build/m", 1), "sha256:1", "/q", 1)
    assert plain.reads == {"/in/model.gguf": "/c/blobs/sha256-1"}
    assert plain.name == shot.name, "the same work has the same name, so that what a kill left is found"


def test_the_image_is_part_of_the_content_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "_package", lambda: None)
    source = write(TINY["llama-gqa"], tmp_path / "tiny.gguf")
    request = Request(Source(path=str(source)), None, (Quantization("Q8_0"),))
    targets = []
    for digest in ("aaa1111", "ccc3333"):
        engine = Engine(full=(digest, "/app/llama-quantize"))
        images = ImageTools(tmp_path / "tools", ("full",), lambda engine=engine: engine)  # type: ignore[misc]
        cache = Cache(tmp_path / "cache", Means(SystemClock(), {}, image_tools=images, reserve_bytes=0))
        assert cache.forecast(request).tool == f"llama-quantize of full (d{digest[:6]})"
        base = cache.find(request.base)
        assert base is not None
        with pytest.raises(Terminal, match="it ended with 3") as caught:
            cache.build(request, request.identity_from([base.identity]), lambda _: None)
        assert caught.value.code == "build-failed"
        targets.append(engine.jobs[0].writes[0])
    assert len(set(targets)) == 2
