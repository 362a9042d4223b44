"""What a registry offers, asked of itself: the read-only part of the distribution API.

Called by `offers.py` where a pull is planned; the pull itself is the engine's. The rules: manifests and the image's
configuration are read, never a layer; every answer is bounded in bytes and time, and is what its digest says; the login
goes to the registry and to the token service that it names, never on by a redirect. Raises Unanswered and nothing
else: the engine may know mirrors and proxies that we do not.
Sources: opencontainers/distribution-spec (spec.md), distribution/distribution (docs/spec/auth/token.md).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import urlencode, urlsplit

from nexus_ctl import __version__
from nexus_ctl.resources.image import Credentials

INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
HOSTS = {"docker.io": "registry-1.docker.io"}
"""Where a registry answers that is called by another name."""
MOST_BYTES = 4 << 20
"""Of one answer: the limit that registries themselves set for a manifest."""
PIECE_BYTES = 1 << 16
SECONDS = 5.0
"""For the connection and each piece of an answer."""
ALL_SECONDS = 20.0
"""For everything that is asked about one image."""


class Unanswered(Exception):
    """Why it is not known, in words; `refused` where asking again is useless."""

    def __init__(self, words: str, *, refused: bool = False) -> None:
        super().__init__(words)
        self.refused = refused


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer as it is offered. `diff_id` is the digest of what it unpacks to, by which engines know what they have."""

    download_bytes: int
    diff_id: str
    packed: bool


@dataclass(frozen=True, slots=True)
class Platform:
    """For what the engine runs images."""

    os: str
    architecture: str
    variant: str = ""

    def fits(self, offered: Mapping[str, Any]) -> bool:
        """Whether an entry of an index is for it; of variants only a different one that is named is not."""
        same = (offered.get("os"), offered.get("architecture")) == (self.os, self.architecture)
        return same and (not self.variant or offered.get("variant", self.variant) == self.variant)


class Repository:
    """One image's repository at its registry, for as long as its size is asked."""

    def __init__(self, registry: str, name: str, login: Credentials | None, *, insecure: bool) -> None:
        """`insecure`: as an engine would, take any certificate, and plain HTTP where there is none."""
        self._host = HOSTS.get(registry, registry)
        self._name = f"library/{name}" if registry == "docker.io" and "/" not in name else name
        self._login = login
        self._insecure = insecure
        self._base = f"https://{self._host}"
        self._authorization = ""
        self._deadline = time.monotonic() + ALL_SECONDS
        self._opener = _opener(self._host, insecure=insecure)

    def digest(self, reference: str) -> str:
        """The digest behind a tag, or a digest itself where it is there. Raises Unanswered."""
        accept = {"Accept": ", ".join((*INDEXES, *MANIFESTS))}
        return _digest(self._read(f"/v2/{self._name}/manifests/{reference}", accept))

    def layers(self, digest: str, platform: Platform) -> tuple[Layer, ...]:
        """The layers of the image behind a digest, lowest first. Raises Unanswered."""
        try:
            manifest = self._document(f"manifests/{digest}", digest)
            if "manifests" in manifest:
                chosen = self._chosen(manifest, platform)
                manifest = self._document(f"manifests/{chosen}", chosen)
            config = manifest["config"]["digest"]
            diff_ids = self._document(f"blobs/{config}", config)["rootfs"]["diff_ids"]
            return tuple(
                Layer(int(layer["size"]), str(diff_id), not str(layer.get("mediaType", "")).endswith("tar"))
                for layer, diff_id in zip(manifest["layers"], diff_ids, strict=True)
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._odd() from error

    def _chosen(self, index: Mapping[str, Any], platform: Platform) -> str:
        fitting = [str(one["digest"]) for one in index["manifests"] if platform.fits(one.get("platform") or {})]
        if not fitting:
            raise Unanswered(f"the image has nothing for {platform.os}/{platform.architecture}", refused=True)
        return fitting[0]

    def _odd(self) -> Unanswered:
        return Unanswered(f"{self._host} answers in a form that is not known here")

    def _document(self, path: str, digest: str) -> dict[str, Any]:
        accept = ", ".join((*INDEXES, *MANIFESTS))
        body = self._read(f"/v2/{self._name}/{path}", {"Accept": accept} if path.startswith("manifests/") else {})
        if _digest(body) != digest:
            raise Unanswered(f"{self._host} answers with something else than {digest}")
        found: dict[str, Any] = json.loads(body)
        return found

    def _read(self, path: str, headers: Mapping[str, str]) -> bytes:
        try:
            return self._answer(self._base + path, headers, self._authorization)
        except urllib.error.HTTPError as error:
            with error:
                challenge = error.headers.get("WWW-Authenticate", "")
                if error.code != 401 or self._authorization or not challenge:
                    raise Unanswered(f"{self._host} answers {error.code}", refused=error.code < 500) from error
            self._authorization = self._authorize(challenge)
            return self._read(path, headers)
        except (OSError, HTTPException) as error:
            if self._insecure and self._base.startswith("https:"):
                self._base = f"http://{self._host}"
                return self._read(path, headers)
            raise Unanswered(f"{self._host} is not reachable from here: {_words(error)}") from error

    def _authorize(self, challenge: str) -> str:
        """The header by which the registry lets us read."""
        scheme, _, rest = challenge.partition(" ")
        basic = _basic(self._login)
        if scheme.lower() == "basic" and basic:
            return basic
        given = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        realm = urlsplit(given.get("realm", ""))
        if scheme.lower() != "bearer" or not (realm.scheme == "https" or (realm.scheme == "http" and self._insecure)):
            raise Unanswered(f"{self._host} wants a login", refused=True)
        asked = {"service": given.get("service", ""), "scope": given.get("scope", f"repository:{self._name}:pull")}
        try:
            body = self._answer(f"{realm.geturl()}?{urlencode(asked)}", {}, basic)
        except urllib.error.HTTPError as error:
            with error:
                words = f"{realm.hostname} refuses the login: {error.code}"
                raise Unanswered(words, refused=error.code < 500) from error
        except (OSError, HTTPException) as error:
            raise Unanswered(f"{realm.hostname} is not reachable from here: {_words(error)}") from error
        told = json.loads(body)
        return f"Bearer {told.get('token') or told['access_token']}"

    def _answer(self, url: str, headers: Mapping[str, str], authorization: str) -> bytes:
        request = urllib.request.Request(url, headers={"User-Agent": f"nexusctl/{__version__}", **headers})
        if authorization:
            request.add_unredirected_header("Authorization", authorization)
        body = bytearray()
        with self._opener.open(request, timeout=SECONDS) as answer:
            while piece := answer.read1(PIECE_BYTES):
                body += piece
                if len(body) > MOST_BYTES:
                    raise Unanswered(f"{self._host} answers with more than {MOST_BYTES >> 20} MiB")
                if time.monotonic() > self._deadline:
                    raise Unanswered(f"{self._host} is not done after {ALL_SECONDS:g} s")
        return bytes(body)


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _opener(host: str, *, insecure: bool) -> urllib.request.OpenerDirector:
    trust = ssl.create_default_context()
    if insecure:
        trust.check_hostname = False
        trust.verify_mode = ssl.CERT_NONE
    local = host.startswith(("127.", "localhost", "[::1]"))
    direct = [urllib.request.ProxyHandler({})] if local else []  # as the engine: never by a proxy to this machine
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=trust), *direct)


def _basic(login: Credentials | None) -> str:
    if login is None:
        return ""
    return "Basic " + base64.b64encode(f"{login.username}:{login.password}".encode()).decode()


def _words(error: Exception) -> str:
    return str(error.reason if isinstance(error, urllib.error.URLError) else error) or type(error).__name__
