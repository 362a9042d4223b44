"""Deployments: healthy replicas on a runtime."""

from __future__ import annotations

from controllers.base import Controller
from controllers.deployment.assessing import assess
from controllers.deployment.observing import observe, present
from controllers.deployment.planning import applied, forget, plan
from controllers.make import KIND

CONTROLLER = Controller(KIND, present, observe, applied, plan, forget, assess)
