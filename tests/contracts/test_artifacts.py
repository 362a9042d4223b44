"""The contract of the model cache: what `nexus_ctl/artifacts/port.py` says, asked of the real one and of the fake."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from nexus_ctl.artifacts.cache import Cache
from nexus_ctl.artifacts.port import Artifacts
from nexus_ctl.artifacts.source import Means, Patience
from nexus_ctl.errors import IntegrityError, Retryable, Terminal
from nexus_ctl.resources.artifact import Artifact, Pin, Progress, Quantization, Request
from nexus_ctl.resources.lock import Locked, LockedBuild, LockedFile
from nexus_ctl.resources.model import Source
from tests.fakes.artifacts import FakeArtifacts
from tests.fakes.clock import FakeClock
from tests.fakes.gguf_models import TINY, write
from tests.fakes.http_origin import HttpOrigin

CONTENT = b"weights " * 5000
OTHER = b"others! " * 5000


@dataclass
class Case:
    """One adapter and the levers of its world."""

    cache: Artifacts
    put: Callable[[Request, bytes], None]
    """The source of a request now has this content."""
    cut: Callable[[Request, int], None]
    """The next transfer breaks off at this byte, and no attempt of that fetch gets further."""
    mend: Callable[[Request], None]
    break_: Callable[[Request], None]
    """The source is out of reach for one call."""
    corrupt: Callable[[Request], None]
    """The source delivers wrong bytes of the right length."""
    transferred: Callable[[], int]
    base: str
    folder: Path

    def url(self, name: str, sha256: str | None = None) -> Request:
        return Request(Source(url=f"{self.base}/{name}"), sha256)

    def delivered(self, request: Request, content: bytes = CONTENT) -> Artifact:
        self.put(request, content)
        return self.cache.fetch(request, self.cache.resolve(request), ignore)


def ignore(progress: Progress) -> None:
    """Nobody watches."""


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def a_pin(request: Request, model: str = "qwen3", set_name: str = "lab", sha256: str | None = None) -> Pin:
    return Pin("i1", set_name, model, request.key, json.dumps({"sha256": sha256} if sha256 else {}))


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Case]:
    with HttpOrigin() as origin:

        def path(request: Request) -> str:
            assert request.source.url is not None
            return request.source.url.removeprefix(origin.url)

        def put(request: Request, content: bytes) -> None:
            if request.source.path is not None:
                Path(request.source.path).write_bytes(content)
            else:
                origin.put(path(request), content)

        def cut(request: Request, byte: int) -> None:
            origin.file(path(request)).cut_at, origin.file(path(request)).cut_times = byte, 99

        def mend(request: Request) -> None:
            origin.file(path(request)).cut_times = 0

        def break_(request: Request) -> None:
            origin.file(path(request)).busy = patience.failures

        def corrupt(request: Request) -> None:
            origin.file(path(request)).wrong_first_byte = True

        patience = Patience(failures=2, stall_seconds=20)
        cache = Cache(tmp_path / "cache", Means(FakeClock(), {}, patience))
        yield Case(cache, put, cut, mend, break_, corrupt, lambda: origin.sent, origin.url, tmp_path)


@pytest.fixture
def fake(tmp_path: Path) -> Case:
    cache = FakeArtifacts()

    def cut(request: Request, byte: int) -> None:
        cache.cut_next = byte

    def break_(request: Request) -> None:
        cache.fail_next.append(Retryable("out of reach"))

    def corrupt(request: Request) -> None:
        cache.wrong.add(request.key)

    return Case(
        cache, cache.put, cut, lambda _: None, break_, corrupt, lambda: cache.transferred_bytes, "http://hub", tmp_path
    )


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small GGUF that a tool can work on."""
    return write(TINY["llama-mha"], tmp_path_factory.mktemp("model") / "tiny.gguf").read_bytes()


@pytest.fixture(params=["real", "fake"])
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.getfixturevalue(request.param)
    return found


def test_what_is_not_here_is_offered_fetched_and_found(case: Case) -> None:
    request = case.url("a.gguf")
    case.put(request, CONTENT)
    assert case.cache.find(request) is None
    offer = case.cache.resolve(request)
    assert (offer.size_bytes, offer.identity.partition(":")[0]) == (len(CONTENT), "etag")
    told: list[Progress] = []
    artifact = case.cache.fetch(request, offer, told.append)
    assert (artifact.sha256, artifact.size_bytes) == (digest(CONTENT), len(CONTENT))
    assert (artifact.identity, artifact.origin) == (offer.identity, offer.origin)
    assert told[-1] == Progress("download", len(CONTENT), len(CONTENT))
    assert case.cache.find(request) == artifact


def test_fetching_again_transfers_nothing(case: Case) -> None:
    request = case.url("a.gguf")
    artifact = case.delivered(request)
    before = case.transferred()
    assert case.cache.fetch(request, case.cache.resolve(request), ignore) == artifact
    assert case.transferred() == before


def test_a_declared_digest_is_the_identity(case: Case) -> None:
    request = case.url("a.gguf", digest(CONTENT))
    assert case.delivered(request).identity == f"sha256:{digest(CONTENT)}"


def test_content_that_is_not_the_declared_one_never_arrives(case: Case) -> None:
    request = case.url("a.gguf", digest(OTHER))
    with pytest.raises(IntegrityError, match=digest(OTHER)):
        case.delivered(request)
    assert case.cache.find(request) is None


def test_wrong_bytes_of_the_right_length_never_arrive(case: Case) -> None:
    request = case.url("a.gguf", digest(CONTENT))
    case.put(request, CONTENT)
    case.corrupt(request)
    with pytest.raises(IntegrityError):
        case.cache.fetch(request, case.cache.resolve(request), ignore)
    assert case.cache.find(request) is None


def test_the_same_content_from_elsewhere_needs_no_transfer_and_keeps_its_identity(case: Case) -> None:
    first = case.delivered(case.url("a.gguf"))
    before = case.transferred()
    elsewhere = case.url("moved.gguf", digest(CONTENT))
    found = case.cache.find(elsewhere)
    assert found is not None
    assert (found.identity, found.path) == (first.identity, first.path)
    case.put(elsewhere, CONTENT)
    assert case.cache.fetch(elsewhere, case.cache.resolve(elsewhere), ignore) == found
    assert case.transferred() == before


def pinned(case: Case, request: Request, *, ask: bool = False) -> Request:
    commit, files = case.cache.contents(request, ignore, ask=ask)
    return replace(request, locked=Locked({}, files, commit))


def test_what_is_here_is_locked_as_it_is_and_stays_what_it_was(case: Case) -> None:
    request = case.url("a.gguf")
    artifact = case.delivered(request)
    before = case.transferred()
    locked = pinned(case, request)
    assert locked.wanted == digest(CONTENT)
    assert case.cache.find(locked) == artifact
    assert case.cache.fetch(locked, case.cache.resolve(locked), ignore) == artifact
    assert case.transferred() == before


def test_what_is_here_and_not_what_is_locked_is_not_found(case: Case) -> None:
    request = case.url("a.gguf")
    case.delivered(request)
    other = replace(request, locked=Locked({}, {"a.gguf": LockedFile(len(OTHER), f"sha256:{digest(OTHER)}")}))
    assert case.cache.find(other) is None
    with pytest.raises(IntegrityError):
        case.cache.fetch(other, case.cache.resolve(other), ignore)
    assert case.cache.find(request) is not None


def test_asked_anew_the_source_counts(case: Case) -> None:
    request = case.url("a.gguf")
    case.delivered(request)
    case.put(request, OTHER)
    assert pinned(case, request).wanted == digest(CONTENT)
    assert pinned(case, request, ask=True).wanted == digest(OTHER)


def test_verifying_finds_whole_files_whole_and_what_never_came_missing(case: Case) -> None:
    request = case.url("a.gguf")
    assert case.cache.verify(request, ignore) == ()
    case.delivered(request)
    [found] = case.cache.verify(pinned(case, request), ignore)
    assert (found.state, found.size_bytes, found.expected) == ("ok", len(CONTENT), f"sha256:{digest(CONTENT)}")
    other = replace(request, locked=Locked({}, {"a.gguf": LockedFile(5, f"sha256:{digest(OTHER)}")}))
    [found] = case.cache.verify(replace(other, source=case.url("b.gguf").source), ignore)
    assert found.state == "missing"


def test_room_says_what_is_free_and_looks_for_more_only_where_it_is_short(case: Case) -> None:
    room = case.cache.room(1)
    assert room.free_bytes > room.reserve_bytes > 0
    assert room.reclaimable_bytes == 0


def test_an_address_follows_nothing(case: Case) -> None:
    request = case.url("a.gguf")
    case.delivered(request)
    assert case.cache.upstream({"a": (request, None)}, look=True) == {}


def test_no_source_is_terminal(case: Case) -> None:
    with pytest.raises(Terminal) as caught:
        case.cache.resolve(case.url("nowhere"))
    assert caught.value.code == "no-such-source"


def test_out_of_reach_is_retryable(case: Case) -> None:
    request = case.url("a.gguf")
    case.put(request, CONTENT)
    case.break_(request)
    with pytest.raises(Retryable):
        case.cache.resolve(request)
    assert case.cache.resolve(request).size_bytes == len(CONTENT)


def test_an_interrupted_fetch_goes_on_where_it_was(case: Case) -> None:
    request = case.url("a.gguf")
    case.put(request, CONTENT)
    offer = case.cache.resolve(request)
    case.cut(request, 12_345)
    with pytest.raises(Retryable):
        case.cache.fetch(request, offer, ignore)
    assert case.cache.find(request) is None
    assert case.cache.partial_bytes(request) == 12_345
    case.mend(request)
    before = case.transferred()
    assert case.cache.fetch(request, offer, ignore).sha256 == digest(CONTENT)
    assert case.transferred() - before == len(CONTENT) - 12_345
    assert case.cache.partial_bytes(request) == 0


def test_a_source_that_moved_since_the_plan_is_refused(case: Case) -> None:
    request = case.url("a.gguf")
    case.put(request, CONTENT)
    offer = case.cache.resolve(request)
    case.put(request, OTHER)
    with pytest.raises(Terminal) as caught:
        case.cache.fetch(request, offer, ignore)
    assert caught.value.code == "source-moved"
    assert case.cache.find(request) is None


def test_a_moved_source_is_only_seen_on_asking_and_replaces_on_fetching(case: Case) -> None:
    request = case.url("a.gguf")
    first = case.delivered(request)
    case.put(request, OTHER)
    assert case.cache.find(request) == first
    offer = case.cache.resolve(request)
    assert offer.identity != first.identity
    assert case.cache.fetch(request, offer, ignore).sha256 == digest(OTHER)
    found = case.cache.find(request)
    assert found is not None
    assert found.identity == offer.identity


def test_a_path_is_used_in_place_and_its_content_is_its_identity(case: Case) -> None:
    request = Request(Source(path=str(case.folder / "own.gguf")))
    assert case.cache.find(request) is None
    with pytest.raises(Terminal):
        case.cache.resolve(request)
    case.put(request, CONTENT)
    found = case.cache.find(request)
    assert found is not None
    assert (found.path, found.identity) == (str(case.folder / "own.gguf"), f"sha256:{digest(CONTENT)}")
    assert case.cache.fetch(request, case.cache.resolve(request), ignore) == found
    case.put(request, OTHER)
    changed = case.cache.find(request)
    assert changed is not None
    assert changed.identity == f"sha256:{digest(OTHER)}"
    assert case.transferred() == 0


def test_a_path_with_other_content_than_declared_is_refused(case: Case) -> None:
    request = Request(Source(path=str(case.folder / "own.gguf")), digest(OTHER))
    case.put(request, CONTENT)
    assert case.cache.find(request) is None
    with pytest.raises(IntegrityError):
        case.cache.resolve(request)


def test_pins_are_per_stack_sorted_and_replaced(case: Case) -> None:
    request = case.url("a.gguf")
    second, first, foreign = a_pin(request, "b"), a_pin(request, "a"), a_pin(request, "a", "other")
    for pin in (second, first, foreign, second):
        case.cache.pin(pin)
    assert case.cache.pins("i1", "lab") == (first, second)
    assert case.cache.pins("i1", "la") == ()
    changed = Pin("i1", "lab", "a", "another-key", "{}", "delete")
    case.cache.pin(changed)
    assert case.cache.pins("i1", "lab") == (changed, second)


def test_unpinning_keeps_the_bytes_unless_told(case: Case) -> None:
    request = case.url("a.gguf")
    artifact = case.delivered(request)
    pin = a_pin(request)
    case.cache.pin(pin)
    assert case.cache.unpin(pin, delete_bytes=False) == 0
    assert case.cache.pins("i1", "lab") == ()
    assert case.cache.find(request) == artifact
    case.cache.pin(pin)
    assert case.cache.unpin(pin, delete_bytes=True) == len(CONTENT)
    assert case.cache.find(request) is None


@pytest.mark.parametrize("sha256", [None, digest(CONTENT)])
def test_bytes_that_another_pin_holds_stay(case: Case, sha256: str | None) -> None:
    """Also where the other Model declares the digest and never fetched anything itself."""
    request = case.url("a.gguf")
    artifact = case.delivered(request)
    other = case.url("b.gguf", sha256) if sha256 else request
    case.cache.pin(a_pin(request))
    case.cache.pin(a_pin(other, set_name="other", sha256=sha256))
    assert case.cache.unpin(a_pin(request), delete_bytes=True) == 0
    assert case.cache.find(request) == artifact


def test_unpinning_twice_is_done(case: Case) -> None:
    pin = a_pin(case.url("a.gguf"))
    case.cache.pin(pin)
    case.cache.unpin(pin, delete_bytes=True)
    assert case.cache.unpin(pin, delete_bytes=True) == 0


def test_a_path_is_never_deleted(case: Case) -> None:
    request = Request(Source(path=str(case.folder / "own.gguf")))
    case.put(request, CONTENT)
    case.cache.pin(a_pin(request))
    assert case.cache.unpin(a_pin(request), delete_bytes=True) == 0
    assert case.cache.find(request) is not None


def quantized(request: Request, kind: str = "Q8_0") -> Request:
    return replace(request, steps=(Quantization(kind),))


def built(case: Case, request: Request, told: Callable[[Progress], None] = ignore) -> Artifact:
    base = case.cache.find(request.base)
    assert base is not None
    return case.cache.build(request, request.identity_from([base.identity]), told)


def test_what_is_built_is_known_before_and_found_after(case: Case, model: bytes) -> None:
    request = quantized(case.url("a.gguf"))
    case.put(request.base, model)
    assert case.cache.forecast(request).tool
    assert case.cache.find(request) is None
    base = case.delivered(request.base, model)
    told: list[Progress] = []
    made = built(case, request, told.append)
    assert made.identity == request.identity_from([base.identity])
    assert (made.sha256 != base.sha256, base.origin in made.origin) == (True, True)
    assert told[0].phase == "quantize"
    assert case.cache.find(request) == made
    assert case.cache.find(request.base) == base


def test_building_again_builds_nothing(case: Case, model: bytes) -> None:
    request = quantized(case.url("a.gguf"))
    case.delivered(request.base, model)
    made = built(case, request)
    told: list[Progress] = []
    assert built(case, request, told.append) == made
    assert told == []


def test_the_same_from_elsewhere_is_built_once(case: Case, model: bytes) -> None:
    first, second = quantized(case.url("a.gguf")), quantized(case.url("b.gguf"))
    for request in (first, second):
        case.delivered(request.base, model)
    made = built(case, first)
    told: list[Progress] = []
    again = built(case, second, told.append)
    assert (again.sha256, again.path, told) == (made.sha256, made.path, [])
    assert case.cache.find(second) == again


def test_another_input_makes_what_was_built_of_the_last_one_stale(case: Case, model: bytes) -> None:
    own = Request(Source(path=str(case.folder / "own.gguf")))
    request = quantized(own)
    case.put(own, model)
    made = built(case, request)
    assert case.cache.find(request) == made
    case.put(own, model + bytes(32))
    assert case.cache.find(request) is None
    assert built(case, request).identity != made.identity


def test_another_recipe_is_another_artifact(case: Case, model: bytes) -> None:
    request = case.url("a.gguf")
    case.delivered(request, model)
    made = [built(case, quantized(request, kind)) for kind in ("Q8_0", "F16")]
    assert len({(one.sha256, one.identity) for one in made}) == 2


def test_without_its_input_nothing_is_built(case: Case, model: bytes) -> None:
    request = quantized(case.url("a.gguf"))
    case.put(request.base, model)
    with pytest.raises(Retryable):
        case.cache.build(request, request.identity_from(["etag:x"]), ignore)


def test_an_input_that_moved_since_the_plan_is_refused(case: Case, model: bytes) -> None:
    request = quantized(case.url("a.gguf"))
    case.delivered(request.base, model)
    with pytest.raises(Terminal) as caught:
        case.cache.build(request, request.identity_from(["etag:planned"]), ignore)
    assert caught.value.code == "source-moved"
    assert case.cache.find(request) is None


def test_what_is_built_is_kept_and_deleted_like_what_was_fetched(case: Case, model: bytes) -> None:
    request = quantized(case.url("a.gguf"))
    base = case.delivered(request.base, model)
    made = built(case, request)
    pin = a_pin(request)
    case.cache.pin(pin)
    assert case.cache.unpin(pin, delete_bytes=False) == 0
    assert case.cache.find(request) == made
    case.cache.pin(pin)
    assert case.cache.unpin(pin, delete_bytes=True) == made.size_bytes
    assert case.cache.find(request) is None
    assert case.cache.find(request.base) == base


def test_what_is_held_is_compared_with_what_the_source_has_now(case: Case) -> None:
    request = case.url("a.gguf")
    assert case.cache.verify_remote(request) == (), "nothing is held"
    case.delivered(request)
    before = case.transferred()
    assert [one.state for one in case.cache.verify_remote(request)] == ["ok"]
    case.put(request, b"something else of another length")
    assert [one.state for one in case.cache.verify_remote(quantized(request))] == ["changed"]
    case.break_(request)
    [found] = case.cache.verify_remote(request)
    assert (found.state, bool(found.now)) == ("unknown", True)
    assert case.transferred() == before
    own = Request(Source(path=str(case.folder / "own.gguf")))
    case.put(own, CONTENT)
    assert case.cache.verify_remote(own) == ()


def with_build(request: Request, build: LockedBuild, *, strict: bool) -> Request:
    """`request` held to a lock that says `build` of its last step."""
    assert request.locked is not None
    return replace(request, locked=replace(request.locked, builds=(build,), strict=strict))


def test_a_build_is_locked_before_it_is_made_and_after(case: Case, model: bytes) -> None:
    case.put(case.url("a.gguf"), model)
    request = replace(pinned(case, case.url("a.gguf")), steps=(Quantization("Q8_0"),))
    [ahead] = case.cache.locked_builds(request, anew=False)
    assert (ahead.step, ahead.type, ahead.digest, bool(ahead.tool)) == ("quantize", "Q8_0", "", True)
    case.cache.fetch(request.base, case.cache.resolve(request.base), ignore)
    made = built(case, request)
    [after] = case.cache.locked_builds(with_build(request, ahead, strict=False), anew=False)
    assert after == replace(ahead, size_bytes=made.size_bytes, digest=f"sha256:{made.sha256}")
    other = replace(request, steps=(Quantization("F16"),))
    [another] = case.cache.locked_builds(with_build(other, after, strict=False), anew=False)
    assert (another.digest, another.key != after.key) == ("", True)


def test_a_locked_digest_is_kept_until_somebody_wants_what_is_here(case: Case, model: bytes) -> None:
    case.put(case.url("a.gguf"), model)
    request = replace(pinned(case, case.url("a.gguf")), steps=(Quantization("Q8_0"),))
    before = replace(case.cache.locked_builds(request, anew=False)[0], tool="another 1", digest=f"sha256:{'a' * 64}")
    held = with_build(request, before, strict=False)
    assert case.cache.locked_builds(held, anew=True) == (before,), "nothing is here that could take its place"
    case.cache.fetch(request.base, case.cache.resolve(request.base), ignore)
    made = built(case, held)
    assert case.cache.find(held) == made, "without --locked another result is told and not refused"
    assert case.cache.locked_builds(held, anew=False) == (before,)
    assert case.cache.locked_builds(held, anew=True)[0].digest == f"sha256:{made.sha256}"
    [verdict] = case.cache.verify(held, ignore)
    assert (verdict.state, verdict.expected, verdict.found) == ("differs", before.digest, f"sha256:{made.sha256}")


def test_a_strict_lock_refuses_another_result_and_never_finds_it(case: Case, model: bytes) -> None:
    case.put(case.url("a.gguf"), model)
    request = replace(pinned(case, case.url("a.gguf")), steps=(Quantization("Q8_0"),))
    entry = case.cache.locked_builds(request, anew=False)[0]
    case.cache.fetch(request.base, case.cache.resolve(request.base), ignore)
    wrong = with_build(request, replace(entry, tool="another 1", digest=f"sha256:{'a' * 64}"), strict=True)
    for _ in range(2):
        with pytest.raises(IntegrityError, match="which another 1 made") as caught:
            built(case, wrong)
        assert "nexusctl models lock --rebuilt" in caught.value.hint
        assert entry.tool in caught.value.detail
        assert case.cache.find(wrong) is None
    assert case.cache.find(request) is None, "it is nobody's until somebody asks for it without a lock"
    told: list[Progress] = []
    free = built(case, request, told.append)
    assert told == [], "it is not made a second time"
    right = with_build(request, replace(entry, digest=f"sha256:{free.sha256}"), strict=True)
    assert case.cache.find(right) == free, "locking what is here makes nothing anew"
    assert free.identity not in (wrong.identity_from([""]), right.identity_from([""]))


def test_a_strict_lock_of_other_inputs_is_refused_while_planning(case: Case, model: bytes) -> None:
    case.put(case.url("a.gguf"), model)
    request = replace(pinned(case, case.url("a.gguf")), steps=(Quantization("Q8_0"),))
    entry = replace(case.cache.locked_builds(request, anew=False)[0], key="0" * 64, digest=f"sha256:{'a' * 64}")
    with pytest.raises(IntegrityError, match="an input is another one"):
        case.cache.forecast(with_build(request, entry, strict=True))
    assert case.cache.forecast(with_build(request, entry, strict=False)).notes == ()


def test_the_plan_is_told_what_is_pinned_and_by_whom_it_was_made(case: Case, model: bytes) -> None:
    case.put(case.url("a.gguf"), model)
    request = replace(pinned(case, case.url("a.gguf")), steps=(Quantization("Q8_0"),))
    entry = replace(case.cache.locked_builds(request, anew=False)[0], digest=f"sha256:{'a' * 64}")
    assert case.cache.forecast(with_build(request, entry, strict=False)).notes[-1] == "the lock pins aaaaaaa"
    theirs = with_build(request, replace(entry, tool="another 1"), strict=True)
    told = case.cache.forecast(theirs).notes[-1]
    assert told == "the lock pins aaaaaaa, which another 1 made; any other is refused"


def test_the_fake_can_be_copied(fake: Case) -> None:
    request = fake.url("a.gguf")
    fake.delivered(request)
    fake.break_(request)
    before = copy.deepcopy(fake.cache)
    fake.cache.pin(a_pin(request))
    assert before.pins("i1", "lab") == ()
    assert before.find(request) == fake.cache.find(request)


def test_a_single_file_is_no_repository_of_safetensors(case: Case) -> None:
    request = case.url("weights.safetensors")
    case.put(request, CONTENT)
    assert case.cache.checkpoint(request) is None
    case.delivered(request)
    assert case.cache.checkpoint(request) is None
