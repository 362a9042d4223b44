"""The GGUF that the product makes of a repository's files, in this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nexus_ctl.artifacts.convert.converter import main as convert


def gguf_of(files: Mapping[str, bytes], folder: Path, kind: str = "f32", base: Path | None = None) -> Path:
    """Lay the files into `folder`, which is made, and convert them there; `base` is what an adapter changes."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    model = [f"={base}"] if base is not None else []
    convert(kind, str(folder / "made.gguf"), *(f"{name}={folder / name}" for name in files), *model)
    return folder / "made.gguf"
