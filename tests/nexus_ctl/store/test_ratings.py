"""One opinion per person and model; the newest counts; sets do not see each other's."""

from __future__ import annotations

from nexus_ctl.resources.catalog import Rating
from nexus_ctl.store.store import Store
from tests.fakes.clock import FakeClock


def test_the_newest_opinion_of_a_person_counts(store: Store, clock: FakeClock) -> None:
    store.ratings.rate("prod", "qwen3", "ann", 2, "slow")
    clock.sleep(60)
    kept = store.ratings.rate("prod", "qwen3", "ann", 4, "fast with 8 threads;\nstill wordy \0")
    clock.sleep(60)
    other = store.ratings.rate("prod", "qwen3", "ben", 5, "")
    store.ratings.rate("test", "qwen3", "ann", 1, "another set")
    stored = Rating("qwen3", "ann", 4, "fast with 8 threads;\nstill wordy \ufffd", kept.at)
    assert store.ratings.all("prod") == (other, stored)
    assert store.ratings.all("nobody") == ()
