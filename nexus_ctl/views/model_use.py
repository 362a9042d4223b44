"""What a stack says of a model: who serves it, how it is used, what people think of it. Values → values and text.

Counters are the running gateway's own and begin when it did: nothing is added up across restarts, and the text says
since when it counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from nexus_ctl.clock import stamp
from nexus_ctl.resources.catalog import Rating, Usage
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.routing import DeploymentCounters, GatewayStatus
from nexus_ctl.views.table import age


def deployments_of(stack: Stack, models: Iterable[str]) -> Mapping[str, DeploymentSpec]:
    """The declared deployments that serve one of these Models, by name, sorted."""
    wanted = set(models)
    return {
        ref.name: resource.spec
        for ref, resource in sorted(stack.resources.items())
        if ref.kind == "Deployment" and resource.spec.model in wanted
    }


def models_from(stack: Stack, repo: str) -> tuple[str, ...]:
    """The declared Models that come from a hub repository, sorted."""
    sources = ((ref.name, res.spec.source.hugging_face) for ref, res in stack.resources.items() if ref.kind == "Model")
    return tuple(sorted(name for name, source in sources if source is not None and source.repo == repo))


def subjects_of(stack: Stack, subject: str) -> frozenset[str]:
    """Every name under which the same model may have been rated: its own, its repository's, its namesakes'."""
    if subject.startswith("hf:"):
        return frozenset({subject, *models_from(stack, subject.removeprefix("hf:"))})
    resource = stack.resources.get(Ref("Model", subject))
    source = resource.spec.source.hugging_face if resource is not None else None
    return frozenset({subject, f"hf:{source.repo}"} if source is not None else {subject})


def usage_of(deployments: Iterable[str], counted: GatewayStatus | None) -> Usage | None:
    """What the gateway counted for these deployments; None where none answers, or one that does not count so."""
    names = tuple(sorted(deployments))
    if counted is None or not counted.since or not names:
        return None
    found = [counted.deployments.get(name, DeploymentCounters()) for name in names]
    last = max(one.last_used for one in found)
    return Usage(
        since=datetime.fromtimestamp(counted.since, UTC),
        requests=sum(one.requests for one in found),
        prompt_tokens=sum(one.prompt_tokens for one in found),
        completion_tokens=sum(one.completion_tokens for one in found),
        last_used=datetime.fromtimestamp(last, UTC) if last else None,
        deployments=names,
    )


def usage_text(usage: Usage, now: datetime) -> str:
    """One line."""
    since = f"since the gateway started {age(usage.since, now)} ago"
    if not usage.requests:
        return f"no request to {', '.join(usage.deployments)} {since}"
    tokens = f"{usage.prompt_tokens} prompt and {usage.completion_tokens} completion tokens"
    last = f"; the last {age(usage.last_used, now)} ago" if usage.last_used else ""
    asked = f"{usage.requests} request{'s' * (usage.requests != 1)}"
    return f"{asked}, {tokens} by {', '.join(usage.deployments)} {since}{last}"


def usage_json(usage: Usage | None) -> dict[str, Any] | None:
    """Keys are stable."""
    if usage is None:
        return None
    return {
        "since": stamp(usage.since),
        "requests": usage.requests,
        "promptTokens": usage.prompt_tokens,
        "completionTokens": usage.completion_tokens,
        "lastUsed": stamp(usage.last_used) if usage.last_used else None,
        "deployments": list(usage.deployments),
    }


def stars(ratings: Sequence[Rating]) -> str:
    """`4.5 (2)`: the mean and how many; "" for none."""
    return f"{sum(one.stars for one in ratings) / len(ratings):.1f} ({len(ratings)})" if ratings else ""


def ratings_text(ratings: Sequence[Rating], now: datetime) -> str:
    """A line each, newest first."""
    return "".join(
        f"  {one.stars} of 5  {one.actor}, {age(one.at, now)} ago" + (f": {one.note}\n" if one.note else "\n")
        for one in ratings
    )


def ratings_json(ratings: Sequence[Rating]) -> list[dict[str, Any]]:
    """Keys are stable."""
    return [
        {"subject": one.subject, "stars": one.stars, "note": one.note, "actor": one.actor, "at": stamp(one.at)}
        for one in ratings
    ]
