"""Who is measured: how each gateway is started in front of the same engine.

The table of `__main__`. nginx comes from the system, the others from the package index, each in an environment of its
own under the cache directory (they pin what we use in other versions).
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from nexus_ctl.resources.routing import BackendEntry, RouteEntry, Table, encode

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nexusctl-bench"

_NGINX = """
worker_processes 1; daemon off; pid {work}/nginx.pid; error_log {work}/nginx.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; client_body_temp_path {work}/body; proxy_temp_path {work}/proxy;
  fastcgi_temp_path {work}/f; uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;
  upstream engine {{ server 127.0.0.1:{engine}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 64m; client_body_buffer_size 1m;
    location / {{
      proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""

_LITELLM = """
model_list:
- model_name: chat
  litellm_params: {{model: openai/chat, api_base: "http://127.0.0.1:{engine}/v1", api_key: none}}
litellm_settings: {{telemetry: false}}
general_settings: {{dangerously_permit_weak_or_unset_master_key: true}}
"""


class Contender(NamedTuple):
    """A gateway to measure. `command(work directory, engine's port, own port)` gives the command that starts it."""

    name: str
    command: Callable[[Path, int, int], list[str]]
    optional: bool = False
    slow: bool = False
    """Measured with few connections and streams: it would not finish otherwise."""


def _nginx(work: Path, engine: int, port: int) -> list[str]:
    config = work / "nginx.conf"
    config.write_text(_NGINX.format(work=work, engine=engine, port=port))
    return ["nginx", "-c", str(config), "-e", str(work / "nginx.log")]


def _ours(work: Path, engine: int, port: int) -> list[str]:
    table = Table(
        revision=1,
        endpoints={"chat": {"chat-0": f"http://127.0.0.1:{engine}"}},
        routes={"chat": RouteEntry(["chat"], [BackendEntry("chat")])},
    )
    path = work / "table.json"
    path.write_bytes(encode(table))
    return [sys.executable, "-m", "api.gateway", "--table", str(path), "--listen", f"127.0.0.1:{port}"]


def _vllm_router(work: Path, engine: int, port: int) -> list[str]:
    program = _installed("vllm-router", "vllm-router")
    worker = f"http://127.0.0.1:{engine}"
    return [program, "--host", "127.0.0.1", "--port", str(port), "--worker-urls", worker, "--policy", "round_robin",
            "--prometheus-port", str(port + 1), "--log-level", "error"]  # fmt: skip


def _litellm(work: Path, engine: int, port: int) -> list[str]:
    program = _installed("litellm", "litellm[proxy]")
    config = work / "litellm.yaml"
    config.write_text(_LITELLM.format(engine=engine))
    return [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]


def _installed(program: str, requirement: str) -> str:
    """Path of a program from the package index, installed on first use."""
    place = CACHE / program
    path = place / "bin" / program
    if not path.exists():
        venv.create(place, with_pip=True, clear=True)
        subprocess.run([place / "bin" / "pip", "install", "-q", requirement], check=True)
    return str(path)


CONTENDERS = (
    Contender("nginx", _nginx),
    Contender("nexusctl", _ours),
    Contender("vllm-router", _vllm_router, optional=True),
    Contender("litellm", _litellm, optional=True, slow=True),
)
