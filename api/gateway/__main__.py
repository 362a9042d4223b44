"""`python -m api.gateway`: the gateway process, from its command line to its exit code.

Started by a runtime as a managed replica, or by hand. SIGTERM and SIGINT: accept no more, finish what is open within
`--drain-seconds`, exit 0; a second one ends it at once. SIGHUP: look at the table now.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from api.gateway.app import App
from api.gateway.request import Limits
from api.gateway.server import ClientConnection
from api.gateway.watch import LOOK_SECONDS, Watch

_SWEEP_SECONDS = 0.5
_log = logging.getLogger("api.gateway")


def main(arguments: list[str] | None = None) -> int:
    """Run until told to stop; 0 after an orderly stop, 1 when the address cannot be listened on, 2 on wrong usage."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr, level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s"
    )
    _allow_open_files()
    host, port = options.listen
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            runner.run(serve(options.table, host, port, options.drain_seconds))
        except OSError as error:
            sys.stderr.write(f"cannot listen on {_shown(host, port)}: {_reason(error)}\n")
            return 1
    return 0


def _allow_open_files() -> None:
    """Raise the soft limit to the hard one: a stream holds two descriptors, and 1024 is the usual soft limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def serve(table: Path, host: str, port: int, drain_seconds: float) -> None:
    """Serve `table` until SIGTERM or SIGINT, then drain. Raises OSError when the address cannot be listened on."""
    loop = asyncio.get_running_loop()
    app = App(lambda loaded: Watch(table, loaded), Limits())
    app.watch.look()
    listener = await loop.create_server(lambda: ClientConnection(app.server), host, port, backlog=1024)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop_or_die, stop)
    loop.add_signal_handler(signal.SIGHUP, app.watch.read)
    _log.info("listening on http://%s", _shown(*listener.sockets[0].getsockname()[:2]))
    gc.freeze()  # what is loaded now stays; the collector need not look at it again
    tasks = [
        loop.create_task(_every(LOOK_SECONDS, app.watch.look)),
        loop.create_task(_every(_SWEEP_SECONDS, lambda: app.sweep(loop.time()))),
    ]
    await stop.wait()
    listener.close()
    app.server.drain()
    deadline = loop.time() + drain_seconds
    while app.server.connections and loop.time() < deadline:
        await asyncio.sleep(0.02)
    for task in tasks:
        task.cancel()
    app.pool.close()
    _log.info("stopped; %d connections cut", len(app.server.connections))
    app.server.abort()


async def _every(seconds: float, act: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        act()


def _stop_or_die(stop: asyncio.Event) -> None:
    if stop.is_set():
        os._exit(1)
    _log.info("stopping: finishing what is open")
    stop.set()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m api.gateway", description="OpenAI-compatible gateway of nexusctl.")
    parser.add_argument("--table", type=Path, required=True, metavar="FILE", help="routing table; watched")
    parser.add_argument("--listen", type=_address, default=("127.0.0.1", 8600), metavar="HOST:PORT")
    parser.add_argument("--drain-seconds", type=float, default=30.0, help="how long open requests may take at the end")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    return parser


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"not HOST:PORT: {text!r}")
    return host.strip("[]"), int(port)


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)


if __name__ == "__main__":
    sys.exit(main())
