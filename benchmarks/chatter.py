"""An engine that answers as llama.cpp does and computes nothing, for measuring what is around an engine.

Runs in a container as `chatter HOST PORT [LOAD_SECONDS]`: `/health` says 503 for so long, then every POST is answered
with the tokens it asks for (`max_tokens`), one every `GAP_SECONDS`, as a stream of server-sent events or in one piece.
Like llama-server it does not drain: SIGTERM ends it at once. Only the standard library, for it is alone in its image.
"""

import asyncio
import json
import os
import signal
import sys
import time

GAP_SECONDS = 0.02


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ready_at: float) -> None:
    """Requests of one connection, one after the other."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
            body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
            if head.startswith(b"GET"):
                status = "200 OK" if time.monotonic() >= ready_at else "503 Service Unavailable"
                writer.write(whole({"status": "ok"}, status))
            else:
                await chat(json.loads(body), writer)
            await writer.drain()
            if fields.get(b"connection", b"").strip() == b"close":
                return
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def chat(asked: dict[str, object], writer: asyncio.StreamWriter) -> None:
    """As many tokens as are asked for."""
    count = int(str(asked.get("max_tokens", 8)))
    usage = {"prompt_tokens": 1, "completion_tokens": count, "total_tokens": count + 1}
    if not asked.get("stream"):
        await asyncio.sleep(GAP_SECONDS * count)
        message = {"role": "assistant", "content": "word " * count}
        writer.write(whole({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}))
        return
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    for number in range(count):
        await asyncio.sleep(GAP_SECONDS)
        last = "stop" if number == count - 1 else None
        event(writer, json.dumps({"choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": last}]}))
        await writer.drain()
    event(writer, "[DONE]")
    writer.write(b"0\r\n\r\n")


def event(writer: asyncio.StreamWriter, data: str) -> None:
    """One server-sent event as one chunk."""
    text = f"data: {data}\n\n".encode()
    writer.write(b"%x\r\n%b\r\n" % (len(text), text))


def whole(value: object, status: str = "200 OK") -> bytes:
    """A JSON answer in one piece."""
    body = json.dumps(value).encode()
    return f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


async def serve(host: str, port: int, load_seconds: float) -> None:
    """Until it is killed."""
    ready_at = time.monotonic() + load_seconds
    server = await asyncio.start_server(lambda reader, writer: answer(reader, writer, ready_at), host, port)
    await server.serve_forever()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    load = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), load))
