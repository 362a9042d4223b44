"""A model as a hub's repository holds it: its configuration, and the tensor table of its safetensors files.

Read by `artifacts` before anything is downloaded, spoken of by `placement`. Only facts about tensors, never content.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nexus_ctl.resources.weights import SafetensorsHeader


@dataclass(frozen=True)
class Checkpoint:
    """`config` is `config.json` as it stands; `weights` all files that an engine loads, taken together.

    `requests` and `bytes_read` are what reading it cost over the network; nothing where it was here or remembered.
    """

    config: Mapping[str, Any]
    weights: SafetensorsHeader
    requests: int = 0
    bytes_read: int = 0
