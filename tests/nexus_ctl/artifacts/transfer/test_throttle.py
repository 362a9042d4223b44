"""The bucket, on a virtual clock: never more than the rate over any span, whoever shares it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nexus_ctl.artifacts.transfer.throttle import BURST_SECONDS, SIP_BYTES, Throttle
from tests.fakes.clock import FakeClock


@given(
    rate=st.integers(1024, 1 << 30),
    steps=st.lists(st.tuples(st.integers(1, 1 << 20), st.floats(0, 5)), min_size=1, max_size=40),
)
def test_over_any_span_no_more_than_the_rate_and_one_bucket(rate: int, steps: list[tuple[int, float]]) -> None:
    clock, throttle, passed = FakeClock(), Throttle(rate), [(0.0, 0)]
    for count, idle in steps:
        throttle.spend(count, clock)
        passed.append((clock.monotonic(), passed[-1][1] + count))
        clock.sleep(idle)
    for at, (since, before) in enumerate(passed):
        for until, after in passed[at + 1 :]:
            assert after - before <= rate * (until - since + BURST_SECONDS) + 1


def test_two_that_share_it_get_half_each() -> None:
    clock, throttle = FakeClock(), Throttle(1 << 20)
    for _ in range(8):  # two threads that read in turns
        throttle.spend(1 << 18, clock)
        throttle.spend(1 << 18, clock)
    assert clock.monotonic() == 4.0


def test_a_low_rate_is_read_in_small_sips() -> None:
    assert Throttle(1024).sip_bytes == SIP_BYTES
    assert Throttle(1 << 20).sip_bytes == 1 << 18
