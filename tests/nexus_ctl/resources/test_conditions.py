"""Conditions merge with true transition times and add up to one status word."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_ctl.resources.conditions import Condition, merge, summary

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=1)


def test_a_transition_time_is_kept_while_the_status_stays() -> None:
    old = merge((), [Condition("Ready", "False", "Loading", "10 %")], NOON, 1)
    same = merge(old, [Condition("Ready", "False", "Loading", "90 %")], LATER, 2)
    assert same == (Condition("Ready", "False", "Loading", "90 %", 2, NOON),)
    turned = merge(same, [Condition("Ready", "True", "Serving")], LATER, 2)
    assert turned == (Condition("Ready", "True", "Serving", "", 2, LATER),)


def test_an_omitted_type_is_gone_and_returns_as_new() -> None:
    old = merge((), [Condition("Drifted", "True", "Edited"), Condition("Ready", "True", "Serving")], NOON, 1)
    less = merge(old, [Condition("Ready", "True", "Serving")], LATER, 1)
    assert [condition.type for condition in less] == ["Ready"]
    again = merge(less, [Condition("Drifted", "True", "Edited")], LATER, 1)
    assert again[0].last_transition_time == LATER


@given(
    st.lists(
        st.builds(
            Condition,
            type=st.sampled_from(["Ready", "Stalled", "Drifted", "Placed"]),
            status=st.sampled_from(["True", "False", "Unknown"]),
            reason=st.sampled_from(["A", "B"]),
            message=st.text(),
        )
    )
)
def test_merging_the_same_again_changes_nothing_and_order_means_nothing(assessed: list[Condition]) -> None:
    once = merge((), assessed, NOON, 3)
    assert merge(once, assessed, LATER, 3) == once
    assert merge(once, reversed(once), LATER, 3) == once
    assert [c.type for c in once] == sorted({c.type for c in assessed})
    assert tuple(Condition.from_json(c.to_json()) for c in once) == once


READY = Condition("Ready", "True", "Serving", observed_generation=2)
LOADING = Condition("Ready", "False", "Loading", observed_generation=2)
STALLED = Condition("Stalled", "True", "ImageNotFound", observed_generation=2)
RECONCILING = Condition("Reconciling", "True", "Downloading", observed_generation=2)
DRIFTED = Condition("Drifted", "True", "Edited", observed_generation=2)
SUSPENDED = Condition("Suspended", "True", "Maintenance", observed_generation=2)


@pytest.mark.parametrize(
    ("conditions", "deleting", "expected"),
    [
        ([], False, "Unknown"),
        ([replace(READY, status="Unknown", reason="FirstSight")], False, "Unknown(FirstSight)"),
        ([READY], False, "Current"),
        ([READY, replace(STALLED, status="False")], False, "Current"),
        ([READY, DRIFTED], False, "Current(Drifted)"),
        ([READY, replace(DRIFTED, status="False")], False, "Current"),
        ([READY, RECONCILING], False, "InProgress(Downloading)"),
        ([RECONCILING], False, "InProgress(Downloading)"),
        ([LOADING], False, "InProgress(Loading)"),
        ([replace(READY, observed_generation=1)], False, "InProgress(OutOfDate)"),
        ([replace(READY, observed_generation=1), RECONCILING], False, "InProgress(OutOfDate)"),
        ([LOADING, STALLED], False, "Failed(ImageNotFound)"),
        ([STALLED], False, "Failed(ImageNotFound)"),
        ([LOADING, replace(STALLED, observed_generation=1)], False, "InProgress(Loading)"),
        ([READY, SUSPENDED], False, "Suspended(Maintenance)"),
        ([LOADING, STALLED, SUSPENDED], False, "Suspended(Maintenance)"),
        ([READY], True, "Terminating"),
        ([READY, SUSPENDED, STALLED], True, "Terminating(ImageNotFound)"),
    ],
)
def test_the_status_word(conditions: list[Condition], deleting: bool, expected: str) -> None:
    assert str(summary(conditions, 2, deleting=deleting)) == expected
    assert str(summary(reversed(conditions), 2, deleting=deleting)) == expected
