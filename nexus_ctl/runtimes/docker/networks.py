"""One private network per stack: made with its first replica, gone with its last.

Called by `runtime.py` around create and remove. Docker lets two networks bear one name, and then starts nothing that is
in either: of twins the older one is used, and the younger goes at once. The rule: a network goes *before* its last
container, which does not run any more, so that an interruption in between leaves something that a list shows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from docker.errors import APIError

from nexus_ctl.runtimes.docker.container import network_labels, network_name

if TYPE_CHECKING:
    from docker import APIClient

StackId = tuple[str, str]
"""The install and the stack whose network it is."""
ONE_AT_A_TIME = threading.Lock()
"""So that the last leaver does not take the network from under the next comer. R12's lock keeps other nexusctl out."""
LEAVING: set[str] = set()
"""Containers that are being removed right now, by id."""


@contextmanager
def network_of(api: APIClient, stack: StackId) -> Iterator[str]:
    """The id of the stack's network, made if missing; it stays for as long as the block lasts. Where the block fails,
    a network that nobody is in goes again."""
    with ONE_AT_A_TIME:
        try:
            yield _ensure(api, stack)
        except Exception:
            _remove_unless_used(api, stack)
            raise


@contextmanager
def leaving(api: APIClient, stack: StackId, container_id: str) -> Iterator[None]:
    """Around the removal of a container: the stack's network goes first if no other replica is left."""
    with ONE_AT_A_TIME:
        LEAVING.add(container_id)
        _remove_unless_used(api, stack)
    try:
        yield
    finally:
        with ONE_AT_A_TIME:
            LEAVING.discard(container_id)


def sweep(api: APIClient, stack: StackId) -> None:
    """Take away the stack's network where it has no container: what is left of a death between the two, or of
    containers that somebody removed by hand."""
    with ONE_AT_A_TIME:
        _remove_unless_used(api, stack)


def _remove_unless_used(api: APIClient, stack: StackId) -> None:
    here = {row["Id"] for row in api.containers(all=True, filters={"label": _label_words(stack)})}
    if here - LEAVING:
        return
    _remove(api, _networks(api, stack))


def _ensure(api: APIClient, stack: StackId) -> str:
    if not _networks(api, stack):
        try:
            api.create_network(
                network_name(*stack), driver="bridge", check_duplicate=True, labels=network_labels(*stack)
            )
        except APIError as error:
            if error.response is None or error.response.status_code != 409:
                raise
    oldest, *twins = _networks(api, stack)
    _remove(api, twins)
    return str(oldest["Id"])


def _remove(api: APIClient, networks: Iterable[Mapping[str, Any]]) -> None:
    for network in networks:
        try:
            api.remove_network(network["Id"])
        except APIError as error:
            if error.response is None or error.response.status_code not in (403, 404):
                raise  # 403: somebody attached a container of their own, or it runs; 404: gone already


def _networks(api: APIClient, stack: StackId) -> list[dict[str, Any]]:
    """The stack's networks, oldest first."""
    found: list[dict[str, Any]] = api.networks(filters={"label": _label_words(stack)})
    return sorted(found, key=lambda network: (network["Created"], network["Id"]))


def _label_words(stack: StackId) -> list[str]:
    return [f"{key}={value}" for key, value in network_labels(*stack).items()]
