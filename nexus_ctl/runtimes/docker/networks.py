"""One private network per stack: made with its first replica, gone with its last.

Called by `runtime.py` around create and remove. Docker lets two networks bear one name, so the id is what containers
are given; of twins the older one is used, and both go in the end.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from docker.errors import APIError

from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.runtimes.docker.container import network_labels, network_name

if TYPE_CHECKING:
    from docker import APIClient

ONE_AT_A_TIME = threading.Lock()
"""So that the last leaver does not take the network from under the next comer. R12's lock keeps other nexusctl out."""


@contextmanager
def network_of(api: APIClient, owner: Ownership) -> Iterator[str]:
    """The id of the stack's network, made if missing; it stays for as long as the block lasts."""
    with ONE_AT_A_TIME:
        yield _ensure(api, owner)


def leave(api: APIClient, owner: Ownership) -> None:
    """Remove the stack's network if no replica of the stack is left, running or not."""
    with ONE_AT_A_TIME:
        if api.containers(all=True, filters={"label": _label_words(owner)}):
            return
        for network in _networks(api, owner):
            try:
                api.remove_network(network["Id"])
            except APIError as error:
                if error.response is None or error.response.status_code not in (403, 404):
                    raise  # 403: somebody attached a container of their own; 404: gone already


def _ensure(api: APIClient, owner: Ownership) -> str:
    if not _networks(api, owner):
        try:
            api.create_network(network_name(owner), driver="bridge", check_duplicate=True, labels=network_labels(owner))
        except APIError as error:
            if error.response is None or error.response.status_code != 409:
                raise
    return str(_networks(api, owner)[0]["Id"])


def _networks(api: APIClient, owner: Ownership) -> list[dict[str, Any]]:
    """The stack's networks, oldest first."""
    found: list[dict[str, Any]] = api.networks(filters={"label": _label_words(owner)})
    return sorted(found, key=lambda network: (network["Created"], network["Id"]))


def _label_words(owner: Ownership) -> list[str]:
    return [f"{key}={value}" for key, value in network_labels(owner).items()]
