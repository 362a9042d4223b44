"""Real wheels, and a simple index that serves them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping

from tests.fakes.http_origin import HttpOrigin

JSON_API = "application/vnd.pypi.simple.v1+json"


def a_wheel(name: str, version: str, members: Mapping[str, bytes]) -> bytes:
    """A valid pure wheel with these files; the same bytes each time."""
    info = f"{name}-{version}.dist-info"
    files = {
        **members,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{path},sha256={_digest(content)},{len(content)}" for path, content in files.items()]
    files[f"{info}/RECORD"] = ("\n".join([*rows, f"{info}/RECORD,,"]) + "\n").encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for path, content in files.items():
            bundle.writestr(zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def publish(origin: HttpOrigin, project: str, wheels: Mapping[str, bytes], *, html: bool = False) -> str:
    """Serve the files as project of a simple index (PEP 691, or PEP 503 with `html`); the index's address."""
    for filename, content in wheels.items():
        origin.put(f"/files/{filename}", content)
    if html:
        links = (f'<a href="../../files/{name}#sha256={_hex(data)}">{name}</a>' for name, data in wheels.items())
        page, kind = "<!DOCTYPE html><html><body>" + "\n".join(links) + "</body></html>", "text/html"
    else:
        files = [
            {"filename": name, "url": f"../../files/{name}", "hashes": {"sha256": _hex(data)}, "size": len(data)}
            for name, data in wheels.items()
        ]
        page, kind = json.dumps({"meta": {"api-version": "1.1"}, "name": project, "files": files}), JSON_API
    origin.put(f"/simple/{project}/", page.encode(), content_type=kind)
    return origin.url + "/simple"


def _hex(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
