"""A Hugging Face hub on loopback: search, cards, trees, revisions, digests, redirects to storage, gates.

with FakeHub() as hub:
    commit = hub.commit("org/repo", {"model.gguf": content})      `main` moves there; large files are LFS
    hub.describe("org/repo", downloads=7, cardData={...})          what the hub says of it, in the API's own names
    hub.stored("org/repo", "model.gguf").cut_at = 1000             what storage serves, with its faults
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.fakes.http_origin import HttpOrigin, Served

LFS_BYTES = 10_000
"""Files from this size on are LFS; the real hub decides by type and size."""


class FakeHub(HttpOrigin):
    """Speaks the part of the protocol that downloads need. `gated` repositories want `token`."""

    def __init__(self) -> None:
        super().__init__()
        self._repos: set[str] = set()
        self._heads: dict[str, Mapping[str, bytes]] = {}
        self._cards: dict[str, dict[str, Any]] = {}
        self.page_size = 100
        """Rows of a search that one answer holds; `Link` names the next."""

    def commit(self, repo: str, files: Mapping[str, bytes], revision: str = "main", token: str = "") -> str:
        """Make `files` the content of `revision`; the commit."""
        commit = hashlib.sha1(json.dumps([repo, sorted(map(sha256, files.values()))]).encode()).hexdigest()
        self._repos.add(repo)
        self._heads[repo] = files
        info = {"id": repo, "modelId": repo, "sha": commit, "private": False, "tags": [], "siblings": siblings(files)}
        tree = [entry(name, content) for name, content in sorted(files.items())]
        for name in {revision, commit}:
            self.put(f"/api/models/{repo}/revision/{name}", json.dumps(info).encode(), content_type="application/json")
        self.put(f"/api/models/{repo}/tree/{commit}", json.dumps(tree).encode(), content_type="application/json")
        for name, content in files.items():
            headers = {"X-Repo-Commit": commit}
            oid, faults = git_oid(content), {"bearer": token}
            if len(content) >= LFS_BYTES:
                headers |= {"X-Linked-Etag": f'"{sha256(content)}"', "X-Linked-Size": str(len(content))}
                stored = self.put(f"/storage/{sha256(content)}", content).replace(
                    "127.0.0.1", "localhost"
                )  # another host
                for at in {revision, commit}:
                    path = f"/{repo}/resolve/{at}/{name}"
                    self.put(path, content, etag=f'"{sha256(content)}"', headers=headers, redirect=stored, **faults)
            else:
                for at in {revision, commit}:
                    self.put(f"/{repo}/resolve/{at}/{name}", content, etag=f'"{oid}"', headers=headers, **faults)
        return commit

    def describe(self, repo: str, revision: str = "main", **info: Any) -> None:
        """What the hub says of a repository beside its files: `downloads`, `tags`, `cardData`, `gguf`, ..."""
        file = self.file(f"/api/models/{repo}/revision/{revision}")
        file.content = json.dumps(json.loads(file.content) | info).encode()
        self._cards[repo] = info

    def find(self, path: str) -> Served | None:
        """Searches are answered from what is described; everything else is a file."""
        url = urlsplit(path)
        if url.path != "/api/models":
            return super().find(path)
        override = self._files.get("/api/models")
        return override or self._search(parse_qs(url.query))

    def _search(self, asked: Mapping[str, list[str]]) -> Served:
        def one(name: str) -> str:
            return asked.get(name, [""])[0]

        rows = [{"id": repo, "modelId": repo, **self._cards.get(repo, {})} for repo in sorted(self._repos)]
        rows = [
            row
            for row in rows
            if all(word in row["id"].lower() for word in one("search").lower().split())
            and set(asked.get("filter", [])) <= set(row.get("tags", []))
            and row["id"].startswith(f"{one('author')}/" if one("author") else "")
            and one("pipeline_tag") in ("", row.get("pipeline_tag"))
        ]
        if one("sort"):
            rows.sort(key=lambda row: row.get(one("sort")) or 0, reverse=True)
        start, size = int(one("cursor") or 0), min(self.page_size, int(one("limit") or self.page_size))
        rest = {name: values for name, values in asked.items() if name != "cursor"}
        after = urlencode({**rest, "cursor": start + size}, doseq=True)
        link = {"Link": f'<{self.url}/api/models?{after}>; rel="next"'} if start + size < len(rows) else {}
        page = [
            {name: value for name, value in row.items() if name != "cardData"} for row in rows[start : start + size]
        ]
        return Served(json.dumps(page).encode(), headers=link, content_type="application/json")

    def gate(self, repo: str, revision: str = "main") -> None:
        """Everybody may list it, nobody may read it."""
        file = self.file(f"/api/models/{repo}/revision/{revision}")
        file.content = file.content.replace(b'"private": false', b'"private": false, "gated": "manual"')
        refusal = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}
        self.put(f"/api/models/{repo}/auth-check", status=403, headers=refusal)

    def stored(self, repo: str, name: str) -> Served:
        """What storage serves for a file of the newest commit."""
        return self.file(f"/storage/{sha256(self._heads[repo][name])}")

    @property
    def sent_by_storage(self) -> int:
        return sum(asked.sent for asked in self.log if asked.path.startswith("/storage/"))

    def missing(self, path: str) -> tuple[int, Mapping[str, str]]:
        parts = path.strip("/").split("/")
        repo = "/".join(parts[2:4] if parts[:2] == ["api", "models"] else parts[:2])
        if repo not in self._repos:
            return 401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
        if "revision" in parts or "tree" in parts:
            return 404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"}
        return 404, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}


def siblings(files: Mapping[str, bytes]) -> list[dict[str, object]]:
    """The files as a revision with `blobs=true` lists them; the real hub leaves sizes out without that."""
    return [
        {"rfilename": row["path"], "size": row["size"], "blobId": row["oid"]}
        | ({"lfs": {"sha256": lfs["oid"], "size": lfs["size"], "pointerSize": 130}} if (lfs := row.get("lfs")) else {})
        for row in (entry(name, content) for name, content in sorted(files.items()))
    ]


def entry(name: str, content: bytes) -> dict[str, Any]:
    """A row of a tree listing."""
    row: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": git_oid(content)}
    if len(content) >= LFS_BYTES:
        row |= {"lfs": {"oid": sha256(content), "size": len(content), "pointerSize": 130}}
    return row


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
