"""What one command acts with."""

from __future__ import annotations

from dataclasses import dataclass

from controllers.base import Scene
from nexus_ctl.clock import Clock
from nexus_ctl.execution.walk import Workers
from nexus_ctl.execution.world import World
from nexus_ctl.store.store import Store


@dataclass(frozen=True, slots=True)
class Session:
    """One command's way to the world and the store."""

    world: World
    store: Store
    scene: Scene
    workers: Workers
    clock: Clock
    op_id: str
    actor: str
    command: str
