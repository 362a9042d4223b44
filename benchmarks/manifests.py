"""Manifests of any size for the benchmarks: quarters of Models, Deployments, Presets and Routes that refer to each
other, so that references, launch specifications and the graph are paid for as in a real stack."""

from __future__ import annotations

from pathlib import Path

STACK = """\
apiVersion: nexus/v1
kind: Stack
metadata:
  name: bench
spec:
  runtime:
    driver: process
  modelCache:
    path: cache
"""
FOUR = """\
apiVersion: nexus/v1
kind: Model
metadata:
  name: model-{n}
spec:
  source:
    path: model.gguf
---
apiVersion: nexus/v1
kind: Deployment
metadata:
  name: chat-{n}
spec:
  model: model-{n}
  engine:
    llamaCpp:
      contextSize: 4096
      threads:
        generation: 1
  resources:
    memory: 2Gi
---
apiVersion: nexus/v1
kind: Preset
metadata:
  name: precise-{n}
spec:
  sampling:
    temperature: 0.2
    topP: 0.9
---
apiVersion: nexus/v1
kind: Route
metadata:
  name: chat-{n}
spec:
  preset: precise-{n}
  backends:
    - deployment: chat-{n}
"""


def text(resources: int) -> str:
    """One multi-document file: a Stack and `resources` resources, a multiple of four."""
    return "---\n".join([STACK, *(FOUR.format(n=number) for number in range(resources // 4))])


def write(folder: Path, resources: int) -> Path:
    """`nexus.yaml` in `folder`, and the file that its Models mean."""
    path = folder / "nexus.yaml"
    path.write_text(text(resources))
    (folder / "model.gguf").write_bytes(b"GGUF" + bytes(1020))
    return path
