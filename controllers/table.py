"""The table of controllers: one row per kind, in the order in which they are observed."""

from __future__ import annotations

from collections.abc import Mapping

from controllers import deployment, gateway, model, preset, route
from controllers.base import Controller

CONTROLLERS: Mapping[str, Controller] = {
    row.kind: row
    for row in (model.CONTROLLER, deployment.CONTROLLER, preset.CONTROLLER, route.CONTROLLER, gateway.CONTROLLER)
}
