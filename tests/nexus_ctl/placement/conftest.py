"""Headers of the synthetic models, written and read once."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.resources.weights import GgufHeader
from tests.fakes.gguf_models import REALISTIC, TINY, write


@pytest.fixture(scope="session")
def headers(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, GgufHeader]:
    """Every tiny model and two of real size, by name."""
    shapes = TINY | {name: REALISTIC[name] for name in ("Llama-3.1-8B", "Qwen3-30B-A3B")}
    directory = tmp_path_factory.mktemp("headers")
    return {name: read_file(write(shape, directory / "model.gguf")).header for name, shape in shapes.items()}
