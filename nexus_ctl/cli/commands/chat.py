"""`nexusctl chat`: one question, or a conversation, through the gateway; the answer streams to stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.options import SPAN, stack_options

if TYPE_CHECKING:
    from nexus_ctl.resources.declared import Stack


@click.command("chat")
@click.argument("message", required=False)
@click.option("--route", metavar="NAME", help="The model name to ask. Default: the stack's only route.")
@click.option("--preset", metavar="NAME", help="Ask with this preset: `route:preset`.")
@click.option("--system", metavar="TEXT", help="A system message.")
@click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="Tokens to answer with at most.")
@click.option(
    "--timeout", type=SPAN, default=300.0, metavar="SPAN", help="Give up after so long a silence. [default: 5m]"
)
@stack_options
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    message: str | None,
    route: str | None,
    preset: str | None,
    system: str | None,
    max_tokens: int | None,
    timeout: float,
    files: tuple[str, ...],
    environment: str | None,
) -> None:
    """Ask a model through the gateway.

    Without a MESSAGE the question is read from stdin; on a terminal that becomes a conversation.
    """
    from nexus_ctl.cli.inputs import load_stack
    from nexus_ctl.errors import UsageError

    stack = load_stack(files, environment)
    model = _model(stack, route, preset)
    history: list[dict[str, str]] = [{"role": "system", "content": system}] if system else []
    with invocation.workspace(stack, invocation.command) as workspace:

        def ask(question: str) -> None:
            history.append({"role": "user", "content": question})
            body: dict[str, Any] = {"model": model, "messages": history, "stream": True}
            if max_tokens is not None:
                body["max_tokens"] = max_tokens
            said = ""
            for piece in _answer(workspace.gateway_url, body, timeout):
                said += piece
                click.echo(piece, nl=False)
                sys.stdout.flush()
            click.echo()
            history.append({"role": "assistant", "content": said})

        if message is None and invocation.interactive():
            while True:
                try:
                    ask(click.prompt("", prompt_suffix="> ", err=True))
                except click.Abort:
                    click.echo(err=True)
                    return
        question = message if message is not None else sys.stdin.read()
        if not question.strip():
            raise UsageError("there is no question", hint='nexusctl chat "Name three colours"')
        ask(question)


def _model(stack: Stack, route: str | None, preset: str | None) -> str:
    """The model name to ask for. Raises UsageError where it is not clear which, or the stack has no such thing."""
    from nexus_ctl.errors import UsageError

    routes = {res.spec.model_name or ref.name: res.spec for ref, res in stack.resources.items() if ref.kind == "Route"}
    presets = sorted(ref.name for ref in stack.resources if ref.kind == "Preset")
    names = sorted({*routes, *(alias for spec in routes.values() for alias in spec.aliases)})
    if route is None:
        if len(routes) != 1:
            which = ", ".join(names) or "none"
            raise UsageError("the stack has not exactly one route", hint=f"say which with --route: {which}")
        route = next(iter(routes))
    elif route not in names:
        raise UsageError(f'no route answers to "{route}"', hint=f"one of: {', '.join(names) or 'none'}")
    if preset is None:
        return route
    if preset not in presets:
        raise UsageError(f'there is no preset "{preset}"', hint=f"one of: {', '.join(presets) or 'none'}")
    return f"{route}:{preset}"


def _answer(url: str, body: dict[str, Any], timeout: float) -> Iterator[str]:
    """Pieces of the answer as they come. Raises Retryable when nothing answers, Terminal on an error answer."""
    from http.client import HTTPConnection, HTTPException
    from urllib.parse import urlsplit

    from nexus_ctl.errors import Retryable

    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        if response.status != 200:
            raise _refusal(response.status, response.read())
        for raw in response:
            line = raw.decode(errors="replace").strip()
            if line.startswith("data:") and line != "data: [DONE]":
                yield from _pieces(json.loads(line.removeprefix("data:")))
    except TimeoutError as error:
        raise Retryable(f"{url}: silent for {timeout:g} s", code="gateway-silent") from error
    except (OSError, HTTPException, ValueError) as error:
        summary = "the gateway does not answer"
        raise Retryable(
            f"{url}: {error}", hint="nexusctl status", code="gateway-unreachable", summary=summary
        ) from error
    finally:
        connection.close()


def _pieces(event: dict[str, Any]) -> Iterator[str]:
    if "error" in event:
        raise _refusal(500, json.dumps(event).encode())
    for choice in event.get("choices", ()):
        piece = choice.get("delta", {}).get("content")
        if piece:
            yield piece


def _refusal(status: int, answer: bytes) -> Exception:
    from nexus_ctl.errors import Terminal

    try:
        said = json.loads(answer)["error"]
        text = str(said.get("message", said)) if isinstance(said, dict) else str(said)
    except (ValueError, KeyError, TypeError):
        text = answer.decode(errors="replace")[:300]
    summary = "the gateway answered with an error"
    return Terminal(f"{status}: {text}", hint="nexusctl status", code="refused-answer", summary=summary)
