"""The table of controllers: one row per kind, in the order in which they are observed."""

from __future__ import annotations

from collections.abc import Mapping

from controllers import deployment, gateway, image, model, preset, route
from controllers.base import Controller

CONTROLLERS: Mapping[str, Controller] = {
    module.CONTROLLER.kind: module.CONTROLLER for module in (model, image, deployment, preset, route, gateway)
}
