"""What vLLM's log lines tell, by release, and what an earlier start says against the next one."""

from __future__ import annotations

import pytest

from nexus_ctl.placement.vllm.report import VllmReport, parse_report, short_of
from nexus_ctl.placement.vllm.settings import GIB

OF_0_8 = """
INFO 04-12 08:21:19 [worker.py:267] model weights take 21.21GiB; non_torch_memory takes 0.20GiB; PyTorch activation \
peak memory takes 0.37GiB; the rest of the memory reserved for KV Cache is 1.57GiB.
"""
OF_0_11 = """
(Worker_TP0 pid=1) INFO 11-06 10:51:20 [gpu_model_runner.py:2653] Model loading took 14.9900 GiB and 2.100 seconds
(Worker_TP0 pid=1) INFO 11-06 10:51:48 [gpu_worker.py:349] Available KV cache memory: 2.30 GiB
(Worker_TP1 pid=2) INFO 11-06 10:51:48 [gpu_worker.py:349] Available KV cache memory: 2.25 GiB
(EngineCore_DP0 pid=3) INFO 11-06 10:51:48 [kv_cache_utils.py:1229] GPU KV cache size: 75,840 tokens
(EngineCore_DP0 pid=3) INFO 11-06 10:51:48 [kv_cache_utils.py:1234] Maximum concurrency for 30,000 tokens per \
request: 2.48x
"""
OF_0_30 = """
INFO 08-01 10:00:00 [model_runner.py:407] Model loading took 14.99 GiB memory and 2.100000 seconds
INFO 08-01 10:00:09 [gpu_worker.py:721] Available KV cache memory: 2.25 GiB
INFO 08-01 10:00:09 [kv_cache_utils.py:2481] GPU KV cache size: 75,840 tokens, Maximum concurrency for 30,000 tokens \
per request: 2.53x
"""


def test_the_parts_of_a_start() -> None:
    log = [
        "INFO gpu_model_runner.py: Model loading took 14.99 GiB and 2.1 seconds",
        "INFO gpu_worker.py: Available KV cache memory: 50.20 GiB",
        "INFO: Graph capturing finished in 5 secs, took 0.36 GiB",
    ]
    assert parse_report(log) == VllmReport(int(14.99 * GIB), int(50.2 * GIB), int(0.36 * GIB))
    assert parse_report(["nothing"]) == VllmReport()


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (OF_0_8, VllmReport(int(21.21 * GIB), int(1.57 * GIB))),
        (OF_0_11, VllmReport(int(14.99 * GIB), int(2.25 * GIB), None, 75_840, 30_000)),
        (OF_0_30, VllmReport(int(14.99 * GIB), int(2.25 * GIB), None, 75_840, 30_000)),
    ],
)
def test_the_lines_of_several_releases(log: str, expected: VllmReport) -> None:
    assert parse_report(log.splitlines()) == expected


def test_an_earlier_start_says_which_context_still_finds_room() -> None:
    told = VllmReport(14 * GIB, 4 * GIB, None, 65_536, 32_768)
    assert short_of(told, 20 * GIB, 20 * GIB, None) == ""
    assert short_of(told, 20 * GIB, 20 * GIB, 65_536) == ""
    assert "maxLength 65536 would fit" in short_of(told, 20 * GIB, 20 * GIB, 65_537)
    assert "32768 tokens of context take 18.00 GiB" in short_of(told, 20 * GIB, 17 * GIB, None)
    assert "maxLength 16384 would fit" in short_of(told, 20 * GIB, 17 * GIB, None)
    assert "no context would fit" in short_of(told, 20 * GIB, 15 * GIB, None)
    assert short_of(VllmReport(14 * GIB, 4 * GIB), 20 * GIB, 1 * GIB, 99) == "", "without the tokens nothing is known"
