"""What engines say they work on: every form of answer, and what is none."""

from __future__ import annotations

import pytest

from nexus_ctl.resources.busy import BusySignal

SLOTS = BusySignal("/slots", flag="is_processing")
LLAMA = BusySignal("/metrics", gauges=("llamacpp:requests_processing", "llamacpp:requests_deferred"))
VLLM = BusySignal("/metrics", gauges=("vllm:num_requests_running", "vllm:num_requests_waiting"))


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ('[{"id": 0, "is_processing": false}, {"id": 1, "is_processing": false}]', 0),
        ('[{"id": 0, "is_processing": true}, {"id": 1, "is_processing": false}]', 1),
        ('[{"is_processing": true}, {"is_processing": true}]', 2),
        ("[]", 0),
        ('[{"id": 0, "state": 1}]', None),
        ('[{"is_processing": true}, 7]', None),
        ('{"error": {"code": 501}}', None),
        ("ok", None),
        ("[" * 100_000, None),
    ],
)
def test_slots(body: str, count: int | None) -> None:
    assert SLOTS.count(body) == count


@pytest.mark.parametrize(
    ("signal", "body", "count"),
    [
        (LLAMA, "# TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing 2\n", 2),
        (LLAMA, "llamacpp:requests_processing 1\nllamacpp:requests_deferred 3\n", 4),
        (LLAMA, "llamacpp:requests_processing 0\nllamacpp:requests_deferred 0\n", 0),
        (LLAMA, "llamacpp:requests_processing_total 9\n", None),
        (LLAMA, "# HELP llamacpp:requests_processing 5\n", None),
        (VLLM, 'vllm:num_requests_running{engine="0",model_name="a b} 7"} 1.0\n', 1),
        (VLLM, 'vllm:num_requests_running{engine="0"} 1.0\nvllm:num_requests_running{engine="1"} 2.0\n', 3),
        (VLLM, 'vllm:num_requests_running{engine="0"} 0.0\nvllm:num_requests_waiting{engine="0"} 4.0 1790000000\n', 4),
        (VLLM, 'vllm:num_requests_running{engine="0"} NaN\n', None),
        (VLLM, 'vllm:num_requests_running{engine="0"} +Inf\n', None),
        (VLLM, "", None),
    ],
)
def test_metrics(signal: BusySignal, body: str, count: int | None) -> None:
    assert signal.count(body) == count
