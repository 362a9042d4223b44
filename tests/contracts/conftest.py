"""Contract suites are imported, not collected: ask for readable assertions all the same."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.contracts.runtime_suite")
