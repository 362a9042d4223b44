"""Speed and time left, from what a transfer tells."""

from __future__ import annotations

import pytest

from nexus_ctl.artifacts.transfer.progress import HALF_LIFE_SECONDS, Rate
from nexus_ctl.resources.artifact import Progress


def told(*moments: tuple[float, int], total: int | None = 1000, phase: str = "download") -> Rate:
    rate = Rate()
    for at_seconds, done in moments:
        rate = rate.after(Progress(phase, done, total), at_seconds)
    return rate


def test_steady() -> None:
    rate = told((10, 0), (11, 100), (12, 200), (13, 300))
    assert rate.bytes_per_second == pytest.approx(100)
    assert rate.remaining_seconds == pytest.approx(7)


def test_a_change_counts_half_after_the_half_life() -> None:
    rate = told((0, 0), (1, 100), (1 + HALF_LIFE_SECONDS, 100))
    assert rate.bytes_per_second == pytest.approx(50)


def test_nothing_is_known_at_first_or_without_a_length_or_when_nothing_moves() -> None:
    assert told((0, 0)).bytes_per_second is None
    assert told((0, 0)).remaining_seconds is None
    assert told((0, 0), (1, 100), total=None).remaining_seconds is None
    assert told((0, 0), (1, 0)).remaining_seconds is None


def test_what_was_there_already_is_no_speed() -> None:
    assert told((0, 900), (1, 910)).bytes_per_second == pytest.approx(10)


def test_news_within_one_moment_is_counted_with_the_next() -> None:
    assert told((0, 0), (0, 50), (1, 100)).bytes_per_second == pytest.approx(100)


def test_a_new_phase_or_a_step_back_starts_afresh() -> None:
    download = told((0, 0), (1, 900))
    assert download.after(Progress("verify", 0, 1000), 2).bytes_per_second is None
    assert download.after(Progress("download", 0, 1000), 2).bytes_per_second is None


def test_it_never_says_less_than_nothing() -> None:
    assert told((0, 0), (1, 2000)).remaining_seconds == 0
