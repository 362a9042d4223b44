"""The routing table as a file that the gateway watches: the adapter of `routing/port.py`.

Execution edits through it, controllers observe through it. The rule it keeps: a reader sees a whole table or the
whole one before it, whatever is killed when. Writers take turns on a lock file; a write is a new file, flushed to
disk, then renamed over the old one. A file that somebody else damaged is put aside under a name, never overwritten.

Each stack has a file of its own. At first the stacks of one folder shared one: the first to write takes that over and
leaves a link in its place, by which a gateway that was started then goes on following it.
"""

from __future__ import annotations

import fcntl
import http.client
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from nexus_ctl.clock import Clock
from nexus_ctl.errors import Conflict, MachineError
from nexus_ctl.resources.routing import FORMAT, STATUS_PATH, GatewayStatus, Table, decode, encode, fingerprint

_ANSWER_SECONDS = 2.0
_POLL_SECONDS = 0.02


class RoutingFile:
    """`Routing` over the file at `path`, read by the gateway at `gateway_url` (`http://host:port`).

    `shared` is where the one table of all stacks lay. Raises MachineError where the directory cannot be used, Conflict
    on a table of a newer nexusctl.
    """

    def __init__(self, path: Path, gateway_url: str, shared: Path | None = None) -> None:
        self._path = path
        self._shared = shared if shared != path else None
        self._gateway = urlsplit(gateway_url)

    def read(self) -> Table:
        """The present table; an empty one when there is none. A damaged file is put aside and read as empty."""
        try:
            return self._decoded()
        except msgspec.MsgspecError:
            with self._locked():
                self._take_over()
                return self._whole()

    def has_shared(self) -> bool:
        """Whether the table that stacks once shared is this one's, or could be: nobody took it over yet."""
        if self._shared is None or self._shared.is_symlink():
            return self._shared is None or self._shared.resolve() == self._path.resolve()
        return self._shared.is_file() and (not self._path.exists() or self._same())

    def change(self, edit: Callable[[Table], Table]) -> Table:
        """Write `edit(present table)` with the next revision, durably; returns what is there now. Equal: no write."""
        with self._locked():
            self._take_over()
            present = self._whole()
            wanted = msgspec.structs.replace(edit(present), revision=present.revision)
            if wanted == present:
                return present
            written = msgspec.structs.replace(wanted, revision=present.revision + 1)
            self._write(encode(written))
            return written

    def in_flight(self, replica: str) -> int | None:
        """Requests that the running gateway has open on a replica; None when no gateway answers.

        Never below 1 while the gateway has not loaded the present table, or is too busy to tell: until then it may
        still send requests to a replica that the table no longer has, so nothing may count as idle.
        """
        try:
            status = self._status()
        except TimeoutError:
            return 1
        if status is None:
            return None
        open_requests = status.in_flight.get(replica, 0)
        # The file is read after the gateway was asked: equal means that it routed by the table of this moment.
        return open_requests if status.fingerprint == fingerprint(self._bytes()) else max(1, open_requests)

    def counted(self) -> GatewayStatus | None:
        """What the running gateway tells of itself; None when none answers, or not in time."""
        try:
            return self._status()
        except TimeoutError:
            return None

    def wait_loaded(self, clock: Clock, timeout_seconds: float) -> bool:
        """Whether the running gateway loaded the present table before the time-out."""
        deadline = clock.monotonic() + timeout_seconds
        while True:
            try:
                status = self._status()
            except TimeoutError:
                status = None
            if status is not None and status.fingerprint == fingerprint(self._bytes()):
                return True
            if clock.monotonic() >= deadline:
                return False
            clock.sleep(_POLL_SECONDS)

    def _status(self) -> GatewayStatus | None:
        """What the gateway tells of itself; None when nothing, or something else, answers. Raises TimeoutError."""
        connection = http.client.HTTPConnection(
            self._gateway.hostname or "", self._gateway.port, timeout=_ANSWER_SECONDS
        )
        try:
            connection.request("GET", STATUS_PATH)
            return msgspec.json.decode(connection.getresponse().read(), type=GatewayStatus)
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException, msgspec.MsgspecError):
            return None
        finally:
            connection.close()

    def _bytes(self) -> bytes:
        """The file's; before the first write those of the shared one, unless it is another stack's."""
        places = [self._path]
        if self._shared is not None and not self._shared.is_symlink():
            places += [self._shared, self._path]  # once more: it may have been taken over in between
        for place in places:
            try:
                return place.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise MachineError(f"cannot read the routing table: {error}") from error
        return b""

    def _same(self) -> bool:
        assert self._shared is not None
        return self._shared.read_bytes() == self._path.read_bytes()

    def _take_over(self) -> None:
        """Make the shared table this stack's, if nobody has. Only under the lock; killed halfway, the next ends it."""
        if self._shared is None or self._shared.is_symlink() or not self._shared.is_file():
            return
        try:
            if not self._path.exists():
                self._write(self._shared.read_bytes())
            if self._same():
                link = self._shared.with_name(f"{self._shared.name}.link")
                link.unlink(missing_ok=True)
                link.symlink_to(self._path.relative_to(self._shared.parent))
                link.replace(self._shared)
        except OSError as error:
            raise MachineError(f"cannot take over the routing table: {error}") from error

    def _decoded(self) -> Table:
        data = self._bytes()
        table = decode(data) if data else Table()
        if table.format > FORMAT:
            raise Conflict(
                f"{self._path} has format {table.format}; this nexusctl knows {FORMAT}",
                hint="use the newer nexusctl that wrote it",
            )
        return table

    def _whole(self) -> Table:
        """The table, after putting a damaged file aside as `NAME.bad-<n>`. Only under the lock."""
        try:
            return self._decoded()
        except msgspec.MsgspecError:
            aside = next(p for n in count(1) if not (p := self._path.with_name(f"{self._path.name}.bad-{n}")).exists())
            self._path.rename(aside)
            return Table()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Turns between writers, also of one process: every entry opens the lock file anew."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            locked = self._shared or self._path  # all stacks of a folder take turns at what they once shared
            lock = os.open(locked.with_name(f"{locked.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise MachineError(f"cannot lock the routing table: {error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, data: bytes) -> None:
        """Replace the file. The temporary name is fixed, so a killed writer leaves at most one, for the next to use."""
        temporary = self._path.with_name(f"{self._path.name}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise MachineError(f"cannot write the routing table: {error}") from error
