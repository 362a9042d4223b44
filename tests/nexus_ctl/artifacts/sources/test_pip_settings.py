"""Our reading of pip's settings against pip's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nexus_ctl.artifacts.sources.pip_settings import DEFAULT_INDEX, PipSettings, pip_settings
from nexus_ctl.errors import Terminal


def as_pip_sees_it(environ: dict[str, str]) -> dict[str, str]:
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    values: dict[str, str] = {}
    order = {"global": 0, "install": 1, ":env:": 2}
    rows = [line.partition("=") for line in listing.splitlines()]
    for section, name, value in sorted(
        ((*key.rsplit(".", 1), value.strip("'\"")) for key, _, value in rows), key=lambda row: order.get(row[0], -1)
    ):
        if section in order:
            values[name] = value.replace("\\n", "\n")
    return values


CASES = [
    {},
    {"PIP_INDEX_URL": "https://mirror/simple/", "PIP_EXTRA_INDEX_URL": "https://a/simple https://b/simple"},
    {"PIP_CONFIG_FILE": "{own}"},
    {"PIP_CONFIG_FILE": "/dev/null"},
    {"PIP_CONFIG_FILE": "{own}", "PIP_FIND_LINKS": "/elsewhere"},
    {"XDG_CONFIG_HOME": "{xdg}", "XDG_CONFIG_DIRS": "{dirs}"},
    {"XDG_CONFIG_DIRS": "{dirs}", "PIP_CONFIG_FILE": "{own}"},
]


@pytest.mark.parametrize("given", CASES)
def test_the_same_as_pip(tmp_path: Path, given: dict[str, str]) -> None:
    places = {name: tmp_path / name for name in ("home", "own", "xdg", "dirs")}
    (places["home"] / ".config/pip").mkdir(parents=True)
    (places["home"] / ".config/pip/pip.conf").write_text("[global]\nindex-url = https://user/simple\ntimeout = 3\n")
    (places["xdg"] / "pip").mkdir(parents=True)
    (places["xdg"] / "pip/pip.conf").write_text(
        "[global]\nextra-index-url =\n    https://x/simple\n    https://y/simple\n"
    )
    (places["dirs"] / "pip").mkdir(parents=True)
    (places["dirs"] / "pip/pip.conf").write_text("[install]\nfind-links = /links https://links\n")
    places["own"].write_text("[global]\nindex_url = https://own/simple\nfind-links = /a\n[install]\nfind-links = /b\n")
    environ = {"PATH": os.environ["PATH"], "HOME": str(places["home"])}
    environ |= {name: value.format(**places) for name, value in given.items()}
    theirs = as_pip_sees_it(environ)
    assert pip_settings(environ) == PipSettings(
        tuple(theirs.get("find-links", "").split()),
        tuple(
            url.rstrip("/")
            for url in [theirs.get("index-url", DEFAULT_INDEX), *theirs.get("extra-index-url", "").split()]
        ),
    )


def test_no_index_leaves_the_links() -> None:
    settings = pip_settings({"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/a"})
    assert settings == PipSettings(("/a",), ())


def test_a_file_that_cannot_be_parsed_is_named(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("index-url = x\n")
    with pytest.raises(Terminal, match=r"pip\.conf"):
        pip_settings({"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "HOME": str(tmp_path)})
