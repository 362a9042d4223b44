"""Models: a verified artifact in the cache, and this stack's pin on it."""

from __future__ import annotations

from controllers.base import Controller
from controllers.model.assessing import assess
from controllers.model.observing import observe, present
from controllers.model.planning import applied, forget, plan
from controllers.model.requests import KIND

CONTROLLER = Controller(KIND, present, observe, applied, plan, forget, assess)
