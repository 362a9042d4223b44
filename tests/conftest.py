"""What all tests share: Hypothesis profiles, and the fixtures of the private Docker engine and of the small model."""

import os

from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.fixtures.docker_engine",
    "tests.fixtures.smollm2",
    "tests.fixtures.compose",
    "tests.fixtures.libllama",
]

_CALM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("quick", max_examples=25, stateful_step_count=20, **_CALM)
settings.register_profile("ci", max_examples=60, stateful_step_count=30, derandomize=True, **_CALM)
settings.register_profile("nightly", max_examples=2000, stateful_step_count=60, **_CALM)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "quick"))
