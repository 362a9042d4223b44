"""The schemas: fresh in the repository, valid draft-07, and of one mind with the loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from nexus_ctl.errors import ManifestError
from nexus_ctl.manifest.json_schema import schemas, text_of, write_schemas
from nexus_ctl.manifest.stack import load
from nexus_ctl.resources.field import field_table
from nexus_ctl.resources.kinds import KINDS

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted([*(ROOT / "examples").rglob("*.yaml"), ROOT / "nexus.yaml"])
CORPUS = sorted((ROOT / "tests" / "data" / "broken").glob("*.yaml"))


def test_the_repository_holds_the_schemas_of_today() -> None:
    assert {path.name for path in (ROOT / "schemas").glob("*.json")} == schemas().keys()
    for name, schema in schemas().items():
        assert (ROOT / "schemas" / name).read_text(encoding="utf-8") == text_of(schema), f"{name}: run make docs"


def test_they_are_written_where_asked(tmp_path: Path) -> None:
    assert write_schemas(tmp_path / "new") == sorted(schemas())
    assert (tmp_path / "new" / "nexus.json").read_text(encoding="utf-8") == text_of(schemas()["nexus.json"])


@pytest.mark.parametrize("name", sorted(schemas()))
def test_each_is_a_draft_07_schema(name: str) -> None:
    jsonschema.Draft7Validator.check_schema(schemas()[name])


def named_schema(path: Path) -> str:
    modeline = path.read_text(encoding="utf-8").split("\n")[0]
    target = modeline.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / target).resolve().parent == ROOT / "schemas"
    # The language server reads the modeline of each document by itself.
    assert path.read_text(encoding="utf-8").count(f"---\n{modeline}\n") == path.read_text(encoding="utf-8").count(
        "---\n"
    )
    return Path(target).name


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_example_names_a_schema_and_keeps_it(path: Path) -> None:
    validator = jsonschema.Draft7Validator(schemas()[named_schema(path)])
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        validator.validate(document)
        if named_schema(path) == "nexus.json":
            jsonschema.Draft7Validator(schemas()[f"{document['kind'].lower()}.json"]).validate(document)


BASES = [path for path in EXAMPLES if "overlays" not in path.parts]


@pytest.mark.parametrize("path", BASES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_example_loads(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    stack = load([str(path)], environ={})
    assert stack.resources
    assert stack.warnings == ()


def test_every_kind_has_an_example() -> None:
    assert {kind.lower() for kind in KINDS} <= {path.parent.name for path in EXAMPLES}


def test_the_environment_of_the_examples_applies() -> None:
    path = str(ROOT / "examples" / "environments")
    base, prod = load([path], environ={}), load([path], environment="prod", environ={})
    assert {str(ref) for ref in base.resources if base.resources[ref] != prod.resources[ref]} == {
        "Deployment/chat", "Preset/precise", "Route/chat",
    }  # fmt: skip


SEEN_BY_A_SCHEMA = {
    "unknown-field", "missing-field", "unknown-kind", "unknown-version", "invalid-choice", "reserved-label",
    "unknown-annotation",
}  # fmt: skip


def documents_of(path: Path) -> list[Any]:
    try:
        return list(yaml.safe_load_all(path.read_bytes()))
    except (yaml.YAMLError, UnicodeDecodeError):
        return []


@pytest.mark.parametrize("path", [path for path in CORPUS if documents_of(path)], ids=lambda path: path.stem)
def test_what_a_schema_can_see_it_refuses_as_the_loader_does(path: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ManifestError) as caught:
        load([str(path)], environ={})
    validator = jsonschema.Draft7Validator(schemas()["nexus.json"])
    refused = not all(validator.is_valid(document) for document in documents_of(path))
    assert refused or not {one.code for one in caught.value.diagnostics} & SEEN_BY_A_SCHEMA


def test_every_field_says_what_it_is_its_default_and_what_a_change_does() -> None:
    def at(schema: dict[str, Any], path: str) -> dict[str, Any]:
        for part in path.replace("[]", ".[]").replace("{}", ".{}").split(".")[1:]:
            options = [one for one in schema.get("anyOf", [schema]) if one.get("type") in ("object", "array")]
            schema = options[0]
            if part == "[]":
                schema = schema["items"]
            elif part == "{}":
                (schema,) = schema["patternProperties"].values() if "patternProperties" in schema else [
                    schema["additionalProperties"]
                ]  # fmt: skip
            else:
                schema = schema["properties"][part]
        return schema

    for kind in KINDS.values():
        spec = schemas()[f"{kind.name.lower()}.json"]["properties"]["spec"]
        for row in field_table(kind.spec):
            field = at(spec, row.path)
            assert field["description"] == row.doc
            assert field["markdownDescription"].startswith(f"{row.doc}\n\n")
            assert field.get("default") == row.written_default
            assert row.doc, row.path
