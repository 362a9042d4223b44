"""`nexusctl serve`: keep true what was applied last, until it is stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import SPAN, stack_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from controllers.endings import ObjectResult
    from nexus_ctl.clock import Clock
    from nexus_ctl.errors import NexusError
    from nexus_ctl.store.lock import StateLock


@click.command("serve")
@stack_options
@click.option(
    "--resync", type=SPAN, default=30.0, metavar="SPAN", help="Look at everything at least so often. [default: 30s]"
)
@click.pass_obj
def command(invocation: Invocation, *, files: tuple[str, ...], environment: str | None, resync: float) -> None:
    """Keep true what was applied last, until Ctrl-C or SIGTERM.

    Heals replicas that end, by the runtime's events, at growing intervals. It follows what `apply` applies, not the
    manifests. Other commands take turns with it: they wait for the effect in flight, no longer.
    """
    import random

    from controllers.loop import Loop
    from nexus_ctl.cli.inputs import load_stack
    from nexus_ctl.cli.interrupt import Interrupts
    from nexus_ctl.clock import SystemIds
    from nexus_ctl.runtimes.inbox import WatchInbox

    stack = load_stack(files, environment)
    with invocation.workspace(stack, invocation.command) as workspace, workspace.only_server.acquire():
        session, clock, turns = workspace.session, workspace.clock, _Turns(workspace.turns)
        runtimes = {id(one): one for one in (session.world.runtime, session.world.host)}
        watches = [runtime.watch() for runtime in runtimes.values()]
        with Interrupts() as interrupts:
            inbox = WatchInbox(watches, clock, lambda: "stopping" if interrupts.asked else turns.another())
            with inbox:
                click.echo(f"keeping set {stack.name} as applied, on {workspace.note}", err=True)
                Loop(
                    session=session,
                    ids=SystemIds(),
                    inbox=inbox,
                    turn=turns.take,
                    wanted=workspace.turns.wanted,
                    stopped=lambda: interrupts.asked,
                    tell=_teller(clock),
                    report=lambda _: None,
                    chance=random.random,
                    resync_seconds=resync,
                ).run()


class _Turns:
    """Turns at the state lock, and whether somebody else had one since ours."""

    def __init__(self, lock: StateLock) -> None:
        self._lock = lock
        self._seen = lock.taken()

    def take(self) -> AbstractContextManager[object]:
        """The lock, for one turn. Raises LockBusy."""
        from contextlib import contextmanager

        @contextmanager
        def turn() -> Iterator[None]:
            with self._lock.acquire():
                self._seen = self._lock.taken()
                yield

        return turn()

    def another(self) -> str:
        """A word where somebody else took the lock; it is said once."""
        taken, before = self._lock.taken(), self._seen
        self._seen = taken
        return "somebody else had a turn" if taken != before else ""


def _teller(clock: Clock) -> Callable[[ObjectResult | NexusError], None]:
    """One line per object that something was done to on stdout; what went wrong on stderr."""

    def tell(said: ObjectResult | NexusError) -> None:
        from nexus_ctl.clock import stamp
        from nexus_ctl.errors import NexusError
        from nexus_ctl.views.applied import spoken
        from nexus_ctl.views.failure import failure

        if isinstance(said, NexusError):
            click.echo(failure(said), err=True, nl=False)
            return
        why = said.detail.partition("\n")[0]
        click.echo(f"{stamp(clock.now())[:19]}Z  {spoken(said.ref)} {said.ending}{f' ({why})' if why else ''}")

    return tell
