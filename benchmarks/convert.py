"""Converting beside copying: the child's time for so many bytes, and the memory of its own that it takes for them.

The models have the shape of well-known ones and holes for weights, so that they cost no disk; what is made of them is
written in full, once by the converter's child (widened and narrowed again: bf16 to f16) and once by copying as many
bytes. Memory is what belongs to the child alone; pages of the files that it reads are the system's to take back.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from benchmarks.row import Row
from tests.fakes.checkpoints import CHECKPOINTS, Checkpoint, rows

TURNS = 3
SHAPES = {
    "TinyLlama 1.1B": {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "vocab_size": 32_000}
    | {"num_attention_heads": 32, "num_key_value_heads": 4},
    "a quarter of it": {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 16, "vocab_size": 32_000}
    | {"num_attention_heads": 16, "num_key_value_heads": 4},
}
MEMORY_MIB = 256
"""What a conversion may take of its own, whatever the model's size."""


def run() -> Sequence[Row]:
    """Two rows a shape."""
    return [row for name in SHAPES for row in _rows(name)]


def _rows(name: str) -> list[Row]:
    model = Checkpoint("LlamaForCausalLM", "", SHAPES[name])
    ours, theirs, private = [], [], []
    for _ in range(TURNS):
        with tempfile.TemporaryDirectory(dir=".") as folder:
            files = hollow(model, Path(folder).resolve())
            taken, most = _converted(files, Path(folder, "made.gguf"))
            ours.append(taken)
            private.append(most / 2**20)
            theirs.append(_copied(Path(folder, "made.gguf"), Path(folder, "copy.gguf")))
            size = Path(folder, "made.gguf").stat().st_size / 2**30
    what = f"convert {name} ({size:.1f} GiB) from bf16 to f16"
    return [
        Row(what, statistics.median(ours), "s", "copying as many bytes", statistics.median(theirs)),
        Row(f"memory of its own for {name}", max(private), "MiB", at_most=MEMORY_MIB),
    ]


def hollow(model: Checkpoint, folder: Path) -> list[Path]:
    """The model's files, its weights a hole."""
    table, end = {}, 0
    for name, shape in rows(model.layout, model.full):
        size = 2
        for dim in shape:
            size *= dim
        table[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    head = json.dumps(table).encode()
    weights = folder / "model.safetensors"
    with weights.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.truncate(8 + len(head) + end)
    texts = {
        "config.json": json.dumps(model.full).encode(),
        "tokenizer.json": CHECKPOINTS["llama"].files()["tokenizer.json"],
    }
    for name, content in texts.items():
        (folder / name).write_bytes(content)
    return [weights, *(folder / name for name in texts)]


def _converted(files: Sequence[Path], target: Path) -> tuple[float, int]:
    """Seconds, and the most bytes that were the child's own."""
    named = [f"{path.name}={path}" for path in files]
    start, most = perf_counter(), 0
    with subprocess.Popen(
        [sys.executable, "-m", "nexus_ctl.artifacts.convert.converter", "f16", str(target), *named]
    ) as child:
        while child.poll() is None:
            most = max(most, _private_bytes(child.pid))
            time.sleep(0.01)
    assert not child.returncode
    return perf_counter() - start, most


def _private_bytes(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon")), 0)


def _copied(source: Path, target: Path) -> float:
    start = perf_counter()
    shutil.copyfile(source, target)
    subprocess.run(["sync", str(target)], check=True)
    return perf_counter() - start
