"""What holds for every Stack: order and spelling mean nothing, what is built loads again, no input breaks loading."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nexus_ctl.errors import Diagnostic, ManifestError
from nexus_ctl.manifest.build import to_yaml
from nexus_ctl.manifest.stack import load
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.field import Spec, field_table
from nexus_ctl.resources.kinds import KINDS
from nexus_ctl.views.diagnostics import render

Documents = list[dict[str, Any]]
IN_TEMP = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=120)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["on", "No", "~", "", "010", "1.10", "22:22", "0o17", "1e5", ".inf", "${env.X}", "$${", "$", "{a: b}", "- x",
     "# no", "a: b", "'", '"', "\t", "\x85", "\u2028", "\ufeff", "\n\n", " x ", "\r\n", "&a", "*a", "!t", "=", "<<",
     "---", "..."]
)  # fmt: skip
names = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
scalars = texts | st.integers(-(2**62), 2**62) | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
anything = st.recursive(
    scalars | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
labels = st.dictionaries(texts.filter(lambda key: not key.startswith("nexusctl/")), texts, max_size=3)


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


presets = optional(
    sampling=optional(temperature=st.floats(0, 5) | st.integers(0, 5), seed=st.integers(0, 2**32 - 1),
                      stop=st.lists(texts, max_size=4)),
    systemPrompt=texts,
    responseFormat=st.dictionaries(texts, anything, max_size=3),
    locked=st.lists(st.sampled_from(["seed", "topK", "stop", "systemPrompt"]), unique=True),
)  # fmt: skip
deployments = st.fixed_dictionaries(
    {"model": st.just("m"), "engine": st.fixed_dictionaries({"llamaCpp": optional(
        contextSize=st.integers(256, 2**20), parallel=st.integers(1, 256),
        args=optional(grammar=texts, special=st.just(True), tags=texts),
        gpu=optional(layers=st.sampled_from(["auto", "all", 0, 12]), tensorSplit=st.just([1.5, 1])),
    )})},
    optional={
        "replicas": st.integers(0, 64),
        "env": st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,5}", fullmatch=True),
                               st.fixed_dictionaries({"value": texts}), max_size=3),
        "resources": optional(memory=st.sampled_from(["4Gi", "4096Mi", 5, "1.5G"]), cpu=st.floats(0.1, 64)),
        "probe": optional(interval=st.sampled_from(["250ms", 0.25, "1m30s", 90]), timeout=st.integers(1, 100)),
    },
)  # fmt: skip
MODEL = {"source": {"url": "https://example.org/m.gguf"}}


@st.composite
def stacks(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Documents of a valid stack, as plain values."""

    def one(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        head: dict[str, Any] = {"name": name} | draw(optional(labels=labels, annotations=labels))
        return {"apiVersion": "nexus/v1", "kind": kind, "metadata": head, "spec": spec}

    chosen = draw(st.lists(names, unique=True, min_size=1, max_size=3))
    found = [one("Stack", draw(names), {}), one("Model", "m", MODEL)]
    for name in chosen:
        found.append(one("Deployment", name, draw(deployments)))
        found.append(one("Preset", name, draw(presets)))
        backends = [{"deployment": other} for other in draw(st.lists(st.sampled_from(chosen), unique=True, min_size=1))]
        found.append(one("Route", name, {"backends": backends, "aliases": [f"{name}/1", f"{name}/2"]}))
    return found


def written(documents: list[dict[str, Any]]) -> str:
    """As YAML of the most defensive kind: every text in double quotes."""
    text: str = yaml.dump_all(documents, Dumper=Quoting, sort_keys=False, allow_unicode=False)
    return text


class Quoting(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


Quoting.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text.replace("${", "$${"), style='"')
)


def loaded(text: str) -> Stack:
    return load(["-"], stdin=io.StringIO(text), environ={})


def shuffled(value: Any, rng: random.Random) -> Any:
    """The same value with its keys, and the lists whose order means nothing, in another order."""
    if isinstance(value, dict):
        keys = list(value)
        rng.shuffle(keys)
        return {key: shuffled(value[key], rng) for key in keys} | {
            key: rng.sample(value[key], len(value[key])) for key in ("backends", "aliases", "locked") if key in value
        }
    return value


@IN_TEMP
@given(stacks())
def test_what_is_built_loads_again_to_an_equal_stack(documents: list[dict[str, Any]]) -> None:
    stack = loaded(written(documents))
    again = loaded(to_yaml(stack))
    assert again == stack
    assert to_yaml(again) == to_yaml(stack)


@IN_TEMP
@given(stacks(), st.randoms(use_true_random=False))
def test_the_order_of_documents_keys_and_sets_means_nothing(documents: Documents, rng: random.Random) -> None:
    moved = [shuffled(document, rng) for document in rng.sample(documents, len(documents))]
    stack, other = loaded(written(documents)), loaded(written(moved))
    assert other == stack
    assert to_yaml(other) == to_yaml(stack)
    assert [r.spec_hash for r in other.resources.values()] == [r.spec_hash for r in stack.resources.values()]


@settings(IN_TEMP, max_examples=25)
@given(stacks(), st.data())
def test_how_documents_are_spread_over_files_means_nothing(
    tmp_path_factory: pytest.TempPathFactory, documents: list[dict[str, Any]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("spread")
    files: dict[int, list[dict[str, Any]]] = {}
    for document in documents:
        files.setdefault(data.draw(st.integers(0, 3)), []).append(document)
    for at, part in files.items():
        (folder / f"{at}.yaml").write_text(written(part), encoding="utf-8")
    assert load([str(folder)], environ={}) == loaded(written(documents))


GPU = {"resources": {"gpus": {"count": 1}}}
INSIDE = {
    "spec.source.huggingFace.": {"source": {"huggingFace": {"repo": "owner/name"}}},
    "spec.convert.": {"source": {"huggingFace": {"repo": "owner/name"}}, "convert": {}},
    "spec.engine.llamaCpp.draft.": {"model": "m", "engine": {"llamaCpp": {"draft": {"model": "m"}}}},
    "spec.engine.llamaCpp.projector.": {"model": "m", "engine": {"llamaCpp": {"projector": {"model": "m"}}}},
    "spec.engine.vllm.draft.": {"model": "m", "engine": {"vllm": {"draft": {"model": "m"}}}} | GPU,
    "spec.engine.vllm.": {"model": "m", "engine": {"vllm": {}}} | GPU,
    "spec.engine.custom.": {"model": "m", "engine": {"custom": {"command": ["serve", "{port}"]}}},
    "spec.resources.gpus.": {"model": "m", "engine": {"llamaCpp": {}}} | GPU,
}
"""Groups that may only be given with more than their defaults: the least spec that has them."""


@pytest.mark.parametrize(
    ("kind", "path"),
    [(kind.name, row.path) for kind in KINDS.values() for row in field_table(kind.spec)
     if row.written_default is not None and not set("[{") & set(row.path) and kind.name != "Stack"],
)  # fmt: skip
def test_writing_a_default_out_is_the_same_as_leaving_it_out(kind: str, path: str) -> None:
    required: dict[str, dict[str, Any]] = {
        "Model": MODEL,
        "Deployment": {"model": "m", "engine": {"llamaCpp": {}}},
        "Preset": {},
        "Route": {"backends": [{"deployment": "d"}]},
    }
    required[kind] = next((least for group, least in INSIDE.items() if path.startswith(group)), required[kind])
    base = [{"apiVersion": "nexus/v1", "kind": k, "metadata": {"name": n}, "spec": required[k]}
            for k, n in (("Model", "m"), ("Deployment", "d"), ("Preset", "p"), ("Route", "r"))]  # fmt: skip
    row = next(row for row in field_table(KINDS[kind].spec) if row.path == path)
    explicit = yaml.safe_load(yaml.safe_dump(base))
    spec = next(document for document in explicit if document["kind"] == kind)["spec"]
    *parents, leaf = path.split(".")[1:]
    for parent in parents:
        spec = spec.setdefault(parent, {})
    spec[leaf] = row.written_default
    stack, plain = loaded(written(explicit)), loaded(written(base))
    assert stack == plain
    assert [r.spec_hash for r in stack.resources.values()] == [r.spec_hash for r in plain.resources.values()]


def test_the_stacks_defaults_written_out_are_the_same_too() -> None:
    spec: dict[str, Any] = {}
    for row in field_table(KINDS["Stack"].spec):
        if row.written_default not in (None, [], {}):
            parent, leaf = row.path.split(".")[1:]
            spec.setdefault(parent, {})[leaf] = row.written_default
    document = {"apiVersion": "nexus/v1", "kind": "Stack", "metadata": {"name": "s"}}
    assert loaded(written([document | {"spec": spec}])) == loaded(written([document]))


def test_equal_quantities_are_equal_however_written() -> None:
    def one(memory: Any, interval: Any) -> Stack:
        spec = {"model": "m", "engine": {"llamaCpp": {}}} | {
            "resources": {"memory": memory},
            "probe": {"interval": interval},
        }
        head = {"apiVersion": "nexus/v1", "metadata": {"name": "m"}}
        return loaded(written([head | {"kind": "Model", "spec": MODEL}, head | {"kind": "Deployment", "spec": spec}]))

    assert one("4Gi", "90s") == one("4096Mi", "1m30s") == one(2**32, 90)
    assert one("4Gi", "90s") != one("4G", "90s")


HEAD = {"apiVersion": "nexus/v1", "metadata": {"name": "m", "annotations": {"nexusctl/wave": "1"}}}
VALID = written(
    [
        HEAD | {"kind": "Stack", "spec": {"include": []}},
        HEAD | {"kind": "Model", "spec": MODEL},
        HEAD | {"kind": "Deployment", "spec": {"model": "m", "engine": {"llamaCpp": {"args": {"a": 1}}}}},
        HEAD | {"kind": "Route", "spec": {"backends": [{"deployment": "m"}], "aliases": ["x"]}},
    ]
).replace('"', "")
FRAGMENTS = [
    "[", "]", "{", "}", ":", "- ", "&a ", "*a", "!t ", "? ", "<<: ", "'", '"', "|", ">", "\t", "\n", "  ", "---\n", "é",
    "null", "010", "${env.A}", "${", "\x00", "on", "-1", "1e999", "nexusctl/depends-on: Route/r", "%YAML 1.1\n", "spec",
    "\ufeff", "\u2028",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    text = VALID
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 12))
        text = text[:at] + draw(st.sampled_from(FRAGMENTS) | st.just("")) + text[at + cut :]
    return text.encode("utf-8", "surrogatepass")


def survives(data: bytes) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")
    faults: tuple[Diagnostic, ...] = ()
    try:
        stack = load(["-"], stdin=stdin, environ={"A": "x"})
    except ManifestError as error:
        faults = error.diagnostics
    if faults:
        assert all(one.location.line >= 1 and one.location.column >= 1 for one in faults)
        assert render(faults).replace("\n", "").isprintable()
    else:
        assert loaded(to_yaml(stack)) == stack


@settings(IN_TEMP, max_examples=400)
@given(mutated())
def test_a_mutated_manifest_loads_or_is_refused_with_a_diagnostic(data: bytes) -> None:
    survives(data)


@settings(IN_TEMP, max_examples=300)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_load_or_are_refused_with_a_diagnostic(data: bytes) -> None:
    survives(data)


def test_every_reference_leads_to_a_declared_kind() -> None:
    def kinds(spec: type[Spec]) -> set[str]:
        return {row.mark.ref_kind for row in field_table(spec)} - {""}

    assert set().union(*(kinds(kind.spec) for kind in KINDS.values())) <= KINDS.keys()
    assert Ref("Model", "m") < Ref("Model", "n")
