"""Builds the stand-in for NVIDIA's management library and asks questions through it in a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_SOURCE = Path(__file__).with_name("fake_nvml.c")
_ROOT = _SOURCE.parents[3]


def build(directory: Path) -> Path:
    """Compile it into `directory`; the path for `LD_LIBRARY_PATH`."""
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run(["gcc", *flags, "-o", str(directory / "libnvidia-ml.so.1"), str(_SOURCE)], check=True)
    return directory


def python_with(library: Path, state: Path, code: str) -> str:
    """Standard output of `code` in a Python that finds the stand-in, with the GPUs of the file `state`."""
    env = os.environ | {"LD_LIBRARY_PATH": str(library), "FAKE_NVML": str(state)}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
