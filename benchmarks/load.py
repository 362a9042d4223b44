"""Steady load on the gateway, and what became of each request: answered whole, cut, or failed.

Open loop: request n is sent at its time whether or not earlier ones are answered, as many clients would. Every other
one is a stream; a stream is whole when its `[DONE]` came. Each request has a connection of its own.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

PATIENCE_SECONDS = 60.0
QUESTION = {"model": "chat", "messages": [{"role": "user", "content": "Name three colours."}], "seed": 7}


class End(StrEnum):
    """How a request ended."""

    WHOLE = "whole"
    CUT = "cut"
    """It began to be answered, and the answer never ended as it should."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Request:
    """One request: when it was sent and its answer ended (monotonic seconds), and how."""

    sent: float
    ended: float
    end: End
    stream: bool
    status: int

    @property
    def milliseconds(self) -> float:
        """From being sent to the end of the answer."""
        return (self.ended - self.sent) * 1000


async def ask(host: str, port: int, *, stream: bool, tokens: int) -> Request:
    """One request on a fresh connection."""
    sent = time.monotonic()
    answer = bytearray()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                body = json.dumps({**QUESTION, "max_tokens": tokens, "stream": stream}).encode()
                writer.write(
                    f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n"
                    f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
                    + body
                )
                while piece := await reader.read(65536):
                    answer += piece
            finally:
                writer.close()
    except (OSError, TimeoutError):
        pass  # what came until then says how it ended
    status = int(answer[9:12]) if answer[9:12].isdigit() else 0
    return Request(sent, time.monotonic(), _end(bytes(answer), status, stream), stream, status)


def _end(answer: bytes, status: int, stream: bool) -> End:
    if status != 200:
        return End.FAILED
    head, _, body = answer.partition(b"\r\n\r\n")
    if stream:
        return End.WHOLE if b"data: [DONE]" in body and body.endswith(b"0\r\n\r\n") else End.CUT
    lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return End.WHOLE if lengths == [len(body)] or body.endswith(b"0\r\n\r\n") else End.CUT


async def steady(
    host: str, port: int, *, per_second: float, at_least: int, until: asyncio.Event, tokens: int
) -> list[Request]:
    """At least so many requests, and until the event is set; all of them, in the order in which they were sent."""
    begun, sent = time.monotonic(), 0
    tasks: list[asyncio.Task[Request]] = []
    while sent < at_least or not until.is_set():
        tasks.append(asyncio.create_task(ask(host, port, stream=sent % 2 == 0, tokens=tokens)))
        sent += 1
        await asyncio.sleep(max(0.0, begun + sent / per_second - time.monotonic()))
    return list(await asyncio.gather(*tasks))


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share lies; NaN of too few."""
    return statistics.quantiles(values, n=1000)[round(share * 1000) - 1] if len(values) > 1 else float("nan")
