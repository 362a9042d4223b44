"""Where pip would look for packages: its configuration files and variables, read the way pip reads them.

Read here rather than asked of `pip config`, because that costs half a second and pip need not be installed. A test
holds the two against each other. Source: pip.pypa.io, "Configuration" (precedence: global, user, site, PIP_CONFIG_FILE,
then `PIP_*` variables; `[install]` over `[global]`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from configparser import Error, RawConfigParser
from dataclasses import dataclass
from pathlib import Path

from nexus_ctl.errors import Terminal

DEFAULT_INDEX = "https://pypi.org/simple"


@dataclass(frozen=True, slots=True)
class PipSettings:
    """`links` are folders or pages that list files, `indexes` simple indexes; both in pip's order, links first."""

    links: tuple[str, ...]
    indexes: tuple[str, ...]


def pip_settings(environ: Mapping[str, str]) -> PipSettings:
    """pip's settings for this interpreter and environment. Raises Terminal on a file that cannot be parsed."""
    values: dict[str, str] = {}
    for file in _files(environ):
        values |= _read(file)
    values |= {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith("PIP_") and value
    }
    links = tuple(values.get("find-links", "").split())
    if values.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        return PipSettings(links, ())
    indexes = [values.get("index-url", DEFAULT_INDEX), *values.get("extra-index-url", "").split()]
    return PipSettings(links, tuple(url.rstrip("/") for url in indexes))


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    chosen = environ.get("PIP_CONFIG_FILE", "")
    if chosen == os.devnull:
        return
    home = Path(environ.get("HOME", "~")).expanduser()
    if sys.platform == "darwin":
        yield Path("/Library/Application Support/pip/pip.conf")
    else:
        for folder in reversed(environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep)):
            yield Path(folder, "pip/pip.conf")
    yield Path("/etc/pip.conf")
    if not (chosen and os.path.exists(chosen)):  # a chosen file takes the place of the user's
        yield home / ".pip/pip.conf"
        application_support = home / "Library/Application Support/pip"
        if sys.platform == "darwin" and application_support.is_dir():
            yield application_support / "pip.conf"
        else:
            yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config", "pip/pip.conf")
    yield Path(sys.prefix, "pip.conf")
    if chosen:
        yield Path(chosen)


def _read(file: Path) -> dict[str, str]:
    parser = RawConfigParser()
    try:
        parser.read(file, encoding="utf-8")
    except (Error, UnicodeDecodeError) as error:
        raise Terminal(f"{file}: {error}", hint="mend pip's configuration file") from error
    sections = (section for section in ("global", "install") if parser.has_section(section))
    return {name.replace("_", "-"): value for section in sections for name, value in parser.items(section)}
