"""A file server on loopback that speaks HTTP/1.1 as well, or as badly, as a test asks.

with HttpOrigin() as origin:
    url = origin.put("/model.gguf", content, cut_at=1000)     faults are attributes of the file; `origin.log` says
    origin.file("/model.gguf").busy = 2                       what was asked and how many body bytes were sent
"""

from __future__ import annotations

import hashlib
import re
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PIECE_BYTES = 1 << 18


@dataclass
class Served:
    """A file and its faults. Counters (`busy`, `cut_times`) run down with each use; the rest stays."""

    content: bytes
    etag: str | None = ""
    """"" is one made from the content; None is none at all."""
    last_modified: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    ranges: bool = True
    status: int = 0
    """Answer so, whatever is asked; 0 is the honest answer."""
    busy: int = 0
    """Answer 503 so many times first."""
    retry_after: str = ""
    cut_at: int | None = None
    """Close the connection when this byte of the file is due."""
    cut_times: int = 1
    wrong_first_byte: bool = False
    other_range: bool = False
    """Answer a range with the whole file, yet call it the range's answer."""
    says_length: bool = True
    redirect: str = ""
    bearer: str = ""
    """401 without, 403 with another token than this."""
    gate: threading.Event | None = None
    """Half of the body is sent, then nothing until it is set."""
    content_type: str = "application/octet-stream"


@dataclass(frozen=True)
class Asked:
    """One request as it was seen."""

    path: str
    range: str
    authorization: str
    status: int
    sent: int
    """Body bytes."""
    headers: Mapping[str, str]


class HttpOrigin:
    """The server; a context manager. `log` holds every request that was answered."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._files: dict[str, Served] = {}
        self.log: list[Asked] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.origin = self
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._base = "http://127.0.0.1" if tls is None else "https://localhost"

    def __enter__(self) -> HttpOrigin:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            if file.gate is not None:
                file.gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"{self._base}:{self._server.server_address[1]}"

    def put(self, path: str, content: bytes = b"", **faults: Any) -> str:
        """Serve `content` at `path`; its address."""
        self._files[path] = Served(content, **faults)
        return self.url + path

    def file(self, path: str) -> Served:
        return self._files[path]

    def find(self, path: str) -> Served | None:
        """With its query, or else without."""
        return self._files.get(path) or self._files.get(path.partition("?")[0])

    def missing(self, path: str) -> tuple[int, Mapping[str, str]]:
        """Status and headers of the answer for what is not served."""
        return 404, {}

    @property
    def sent(self) -> int:
        """Body bytes of all answers that were no error, one-byte probes apart."""
        return sum(asked.sent for asked in self.log if asked.status < 300 and asked.range != "bytes=0-0")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True
    origin: HttpOrigin


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Silence."""

    def do_GET(self) -> None:
        file = self.server.origin.find(self.path)
        if file is None:
            return self._refuse(*self.server.origin.missing(self.path))
        if file.bearer and self.headers.get("Authorization") != f"Bearer {file.bearer}":
            return self._refuse(403 if self.headers.get("Authorization") else 401)
        if file.redirect:
            return self._refuse(302, {**file.headers, "Location": file.redirect})
        if file.status:
            wait = {"Retry-After": file.retry_after} if file.retry_after else {}
            return self._refuse(file.status, {**file.headers, **wait})
        if file.busy:
            file.busy -= 1
            return self._refuse(503, {"Retry-After": file.retry_after} if file.retry_after else {})
        return self._serve(file)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _serve(self, file: Served) -> None:
        content = file.content
        etag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"' if file.etag == "" else file.etag
        if etag is not None and self.headers.get("If-None-Match") == etag:
            return self._refuse(304, {"ETag": etag})
        start, status = 0, 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        end = len(content)
        if asked and file.ranges and self.headers.get("If-Range", etag) in (etag, file.last_modified):
            start, status = int(asked[1]), 206
            if start >= len(content):
                return self._refuse(416, {"Content-Range": f"bytes */{len(content)}"})
            end = min(int(asked[2]) + 1, end) if asked[2] else end
        start = 0 if file.other_range and start else start
        self.send_response(status)
        for name, value in {"Content-Type": file.content_type, **file.headers}.items():
            self.send_header(name, value)
        if etag is not None:
            self.send_header("ETag", etag)
        if file.last_modified:
            self.send_header("Last-Modified", file.last_modified)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        if file.says_length:
            self.send_header("Content-Length", str(end - start))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        return self._body(file, start, end, status)

    def _body(self, file: Served, start: int, end: int, status: int) -> None:
        """End the headers and send the body. What goes in one piece is noted first, so that whoever has the answer
        finds it in the log."""
        if self.command == "HEAD":
            self._note(status, 0)
            return self.end_headers()
        body = memoryview(file.content)[start:end]
        if file.wrong_first_byte and start == 0 and body:
            body = memoryview(bytes([body[0] ^ 0xFF]) + body[1:])
        if file.cut_at is not None and start <= file.cut_at < end and file.cut_times and end - start > 1:
            file.cut_times -= 1
            body = body[: file.cut_at - start]
            self.close_connection = True
        half = len(body) // 2 if file.gate is not None and len(body) > 1 else 0
        sent = 0
        whole = not half and len(body) <= PIECE_BYTES
        if whole:
            self._note(status, len(body))
        self.end_headers()
        try:
            if half:
                self.wfile.write(body[:half])
                self.wfile.flush()
                sent = half
                assert file.gate is not None
                file.gate.wait()
            for position in range(half, len(body), PIECE_BYTES):
                sent += self.wfile.write(body[position : position + (PIECE_BYTES)])
        except OSError:
            self.close_connection = True  # the client went away
        return None if whole else self._note(status, sent)

    def _refuse(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        self._note(status, 0)
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _note(self, status: int, sent: int) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.path, headers.get("range", ""), headers.get("authorization", ""), status, sent, headers)
        self.server.origin.log.append(asked)
