"""nexus.lock as text: one text for one value, refused with line and column when it is not ours, replaced as a whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_ctl.errors import Diagnostic
from nexus_ctl.manifest import lock as lockfile
from nexus_ctl.manifest.stack import load
from nexus_ctl.resources.lock import Lock, Locked, LockedBuild, LockedFile, asked, contradictions
from nexus_ctl.resources.model import ModelSpec

SHA, OTHER, GIT, COMMIT = "sha256:" + "ab" * 32, "sha256:" + "cd" * 32, "git:" + "12" * 20, "1a2b3c4" + "0" * 33
LOCK = Lock(
    {
        "qwen3": Locked(
            {"huggingFace": {"files": ["*Q4_K_M*"], "repo": "acme/Qwen3-8B-GGUF", "revision": "main"}},
            {"Qwen3-8B-Q4_K_M.gguf": LockedFile(5_027_783_872, SHA), "config.json": LockedFile(22, GIT)},
            COMMIT,
        ),
        "tiny": Locked({"url": "https://models.example/tiny.gguf"}, {"tiny.gguf": LockedFile(7, OTHER)}),
    },
    {"ghcr.io/acme/engine:server": OTHER},
)
TEXT = f"""\
# What the models and images of this stack are, to the byte. Commit it; `nexusctl models lock` writes it.
version: 1
models:
  qwen3:
    source:
      huggingFace:
        files:
        - '*Q4_K_M*'
        repo: acme/Qwen3-8B-GGUF
        revision: main
    commit: {COMMIT}
    files:
      Qwen3-8B-Q4_K_M.gguf:
        size: 5027783872
        digest: {SHA}
      config.json:
        size: 22
        digest: {GIT}
  tiny:
    source:
      url: https://models.example/tiny.gguf
    files:
      tiny.gguf:
        size: 7
        digest: {OTHER}
images:
  ghcr.io/acme/engine:server: {OTHER}
"""


def parsed(text: str) -> tuple[Lock, list[Diagnostic]]:
    faults: list[Diagnostic] = []
    return lockfile.parse(text.encode(), "nexus.lock", "/w/nexus.lock", faults.append).lock, faults


def test_the_text_of_a_lock() -> None:
    assert lockfile.text(LOCK) == TEXT
    assert parsed(TEXT) == (LOCK, [])


hexes = st.text("0123456789abcdef", min_size=64, max_size=64)
digests = hexes.map("sha256:{}".format) | hexes.map(lambda text: f"git:{text[:40]}")
files = st.builds(LockedFile, st.integers(0, 2**62), digests)
letters = st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp", "Cn", "Co"))
names = st.text(letters, min_size=1, max_size=20).filter(
    lambda name: name.strip() == name and "/" not in name and name not in (".", "..")
)
commits = st.just("") | hexes.map(lambda text: text[:40]) | st.text("0123456789e", min_size=40, max_size=40)
sources = st.fixed_dictionaries({"url": names.map("http://h/{}".format)})
steps = st.tuples(st.just("convert"), st.sampled_from(["f32", "bf16"]))
steps |= st.tuples(st.just("quantize"), st.sampled_from(["Q4_K_M", "IQ2_XS"]))
builds = st.builds(
    lambda step, key, tool, size, digest: LockedBuild(*step, key, tool, size, digest and f"sha256:{digest}"),
    steps,
    hexes,
    names,
    st.none() | st.integers(0, 2**62),
    st.just("") | hexes,
)
several = st.lists(builds, max_size=2).map(tuple)
entries = st.builds(Locked, sources, st.dictionaries(names, files, min_size=1, max_size=3), commits, several)
locks = st.builds(
    Lock,
    st.dictionaries(names, entries, max_size=3),
    st.dictionaries(names, hexes.map("sha256:{}".format), max_size=3),
)


@given(locks)
def test_what_is_written_is_read_back_whatever_it_looks_like(lock: Lock) -> None:
    found, faults = parsed(lockfile.text(lock))
    assert faults == []
    assert found == lock
    assert lockfile.text(found) == lockfile.text(lock)


def test_the_order_in_which_it_was_made_means_nothing() -> None:
    backwards = Lock(dict(reversed(LOCK.models.items())), dict(reversed(LOCK.images.items())))
    assert lockfile.text(backwards) == TEXT


@pytest.mark.parametrize(
    ("old", "new", "place", "code"),
    [
        ("version: 1\n", "", "nexus.lock:2:1", "bad-lock"),
        ("version: 1", "version: 3", "nexus.lock:2:10", "lock-version"),
        (f"commit: {COMMIT}", "commit: main", "nexus.lock:11:13", "bad-lock"),
        ("size: 22", "size: many", "nexus.lock:17:15", "bad-lock"),
        (f"digest: {GIT}", "digest: md5:12", "nexus.lock:18:17", "bad-lock"),
        ("config.json:", "../config.json:", "nexus.lock:16:7", "bad-lock"),
        ("config.json:", "/etc/passwd:", "nexus.lock:16:7", "bad-lock"),
        ("        size: 7\n", "", "nexus.lock:23:7", "bad-lock"),
        ("    commit: ", "    comit: ", "nexus.lock:11:5", "bad-lock"),
        (f"engine:server: {OTHER}", "engine:server: latest", "nexus.lock:27:31", "bad-lock"),
        ("  tiny:\n", "<<<<<<< HEAD\n  tiny:\n", "nexus.lock:20:7", "yaml-syntax"),
        ("  tiny:\n", "  qwen3:\n", "nexus.lock:19:3", "duplicate-key"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_where_it_is_wrong(old: str, new: str, place: str, code: str) -> None:
    assert old in TEXT
    _, faults = parsed(TEXT.replace(old, new))
    assert (str(faults[0].location), faults[0].code) == (place, code)
    if code == "bad-lock":
        assert "nexusctl models lock" in faults[0].hint


@pytest.mark.parametrize("text", ["", "# nothing", "- a list", "just text", "version: 1\n---\nversion: 1\n"])
def test_what_is_no_lock_at_all(text: str) -> None:
    found, faults = parsed(text)
    assert found == Lock()
    assert [fault.code for fault in faults] == ["bad-lock"]


def test_it_is_written_whole_and_only_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "nexus.lock"
    assert lockfile.write(str(path), LOCK)
    before = path.stat()
    assert not lockfile.write(str(path), LOCK)
    assert path.stat() == before
    path.chmod(0o640)
    assert lockfile.write(str(path), Lock())
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path], "no draft is left"


MANIFEST = """\
apiVersion: nexus/v1
kind: Model
metadata: {name: qwen3}
spec:
  source:
    huggingFace:
      repo: acme/Qwen3-8B-GGUF
      revision: main
      files: ["*Q4_K_M*"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], list[Diagnostic]]:
    """Load a manifest beside a lock; what is wrong with the lock."""
    monkeypatch.chdir(tmp_path)

    def _load(manifest: str, lock: str = TEXT) -> list[Diagnostic]:
        (tmp_path / "nexus.yaml").write_text(manifest)
        (tmp_path / "nexus.lock").write_text(lock)
        stack = load()
        assert any(one.path == "nexus.lock" for one in stack.inputs)
        return list(stack.lock_faults)

    return _load


@pytest.mark.parametrize(
    ("old", "new", "place", "detail"),
    [
        ("revision: main", "revision: v2", "nexus.yaml:8:17", "nexus.lock:4:3 pins source.huggingFace.revision 'main'"),
        ("      revision: main\n", "", "nexus.yaml:7:7", ""),
        ('["*Q4_K_M*"]', '["*Q8_0*"]', "nexus.yaml:9:7", "pins source.huggingFace.files ['*Q4_K_M*']"),
        ("acme/Qwen3-8B", "acme/Qwen3-4B", "nexus.yaml:7:13", "pins source.huggingFace.repo"),
        (MANIFEST[MANIFEST.index("    hugging") :], "    url: http://h/x\n", "nexus.yaml:5:3", "pins source"),
    ],
)
def test_a_manifest_that_asks_for_something_else_is_told_with_both_places(
    folder: Callable[..., list[Diagnostic]], old: str, new: str, place: str, detail: str
) -> None:
    assert folder(MANIFEST) == []
    faults = folder(MANIFEST.replace(old, new))
    if not detail:  # the default is what was pinned
        assert faults == []
        return
    assert [(one.code, str(one.location)) for one in faults] == [("lock-contradicted", place)]
    assert detail in faults[0].detail
    assert faults[0].hint.endswith("nexusctl models lock qwen3")


def test_a_declared_digest_that_is_not_the_pinned_one(folder: Callable[..., list[Diagnostic]]) -> None:
    manifest = (
        MANIFEST.replace("qwen3", "tiny").partition("  source")[0]
        + "  source: {url: https://models.example/tiny.gguf}\n"
    )
    assert folder(manifest + f"  sha256: {OTHER.removeprefix('sha256:')}\n") == []
    faults = folder(manifest + f"  sha256: {'e' * 64}\n")
    assert [(one.path, one.code) for one in faults] == [("spec.sha256", "lock-contradicted")]


def test_credentials_and_queries_of_an_address_never_stand_in_a_lock() -> None:
    from nexus_ctl.resources.lock import asked
    from nexus_ctl.resources.model import Source

    source = Source(url="https://user:s3cret@models.example/a.gguf?sig=s3cret#s3cret")
    assert asked(source, "/") == {"url": "https://models.example/a.gguf"}


def test_each_environment_has_a_lock_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stack = "apiVersion: nexus/v1\nkind: Stack\nmetadata: {name: s}\n"
    stack += "spec: {environments: {prod: {overlays: [prod.yaml]}}}\n"
    (tmp_path / "nexus.yaml").write_text(f"{stack}---\n{MANIFEST}")

    (tmp_path / "prod.yaml").write_text(MANIFEST.replace("revision: main", "revision: v2"))
    (tmp_path / "nexus.lock").write_text(TEXT)
    assert load().lock == LOCK
    prod = load(environment="prod")
    assert (prod.lock, prod.lock_faults, Path(prod.lock_path).name) == (None, (), "nexus.prod.lock")


BUILT = LockedBuild("quantize", "Q4_K_M", "ef" * 32, "ggml of xllamacpp 1.0", 105, SHA)
YET = LockedBuild("convert", "bf16", "ab" * 32, "nexusctl 0.1.0")
BUILDS = f"""\
    builds:
    - convert: bf16
      key: {"ab" * 32}
      tool: nexusctl 0.1.0
    - quantize: Q4_K_M
      key: {"ef" * 32}
      tool: ggml of xllamacpp 1.0
      size: 105
      digest: {SHA}
"""


def with_builds() -> tuple[Lock, str]:
    models = {**LOCK.models, "tiny": replace(LOCK.models["tiny"], builds=(YET, BUILT))}
    text = TEXT.replace("images:", f"{BUILDS}images:").replace("version: 1", "version: 2")
    return Lock(models, LOCK.images), text


def test_the_text_of_a_lock_with_what_is_built() -> None:
    lock, text = with_builds()
    assert lockfile.text(lock) == text
    assert parsed(text) == (lock, [])
    assert parsed(text.replace("version: 2", "version: 1"))[0] == lock


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("    - convert: bf16", "    - shrink: bf16", "nexus.lock:27:7"),
        ("    - convert: bf16", "    - convert: q8_0", "nexus.lock:27:16"),
        ("quantize: Q4_K_M", "quantize: Q4_K_XXL", "nexus.lock:30:17"),
        ("      key: " + "ef" * 32, "      key: none", "nexus.lock:31:12"),
        ("size: 105", "size: much", "nexus.lock:33:13"),
        (f"      digest: {SHA}\nimages", f"      digest: {GIT}\nimages", "nexus.lock:34:15"),
        (BUILDS, "    builds: none\n", "nexus.lock:26:13"),
        (BUILDS, "    builds: [a word]\n", "nexus.lock:26:14"),
    ],
)
def test_builds_that_are_not_ours_are_refused_where_they_are_wrong(old: str, new: str, place: str) -> None:
    text = with_builds()[1]
    assert old in text
    _, faults = parsed(text.replace(old, new))
    assert (str(faults[0].location), faults[0].code) == (place, "bad-lock")


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"convert": {}, "quantize": {"type": "Q4_K_M"}}, ()),
        ({"convert": {}, "quantize": {"type": "Q5_K_M"}}, (("quantize", "type"),)),
        ({"convert": {"type": "f16"}, "quantize": {"type": "Q5_K_M"}}, (("convert", "type"), ("quantize", "type"))),
        ({"quantize": {"type": "Q4_K_M"}}, (("convert",),)),
        ({}, (("convert",), ("quantize",))),
    ],
)
def test_steps_that_are_not_those_that_were_locked_are_contradictions(
    spec: dict[str, object], fields: tuple[tuple[str, ...], ...]
) -> None:
    source = {"huggingFace": {"repo": "acme/m"}}
    model = ModelSpec.model_validate({"source": source, **spec})
    entry = Locked(asked(model.source, "/"), {"a": LockedFile(1, SHA)}, COMMIT, (YET, BUILT))
    assert contradictions(entry, model) == fields
    held = Lock({"m": entry}).of("m", model)
    assert held is not None, "the source is held whatever is built of it"
    assert held.builds == (() if fields else (YET, BUILT))
    assert contradictions(replace(entry, builds=()), model) == (), "an entry of an older release says nothing of builds"
