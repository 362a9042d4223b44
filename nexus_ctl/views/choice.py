"""What fits this machine, and why → tables, sentences, JSON. The arithmetic is `placement.llama_cpp.choice`'s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nexus_ctl.placement.llama_cpp.choice import RUNS, Fit, Recommendation, Short, Weighing
from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.catalog import Quantization, RepoFile
from nexus_ctl.resources.device import Device
from nexus_ctl.resources.memory import HOST
from nexus_ctl.views.table import table

HEADERS = ("QUANTIZATION", "SIZE", "BITS", "FIT", "NEEDS", "WHY")
WORDS: Mapping[Fit, str] = {
    Fit.WHOLE: "fits",
    Fit.PARTLY: "partly",
    Fit.ON_HOST: "in RAM",
    Fit.NOT_NOW: "not now",
    Fit.TOO_LARGE: "too large",
}


def machine_text(host: Device, gpus: Sequence[Device], reason: str) -> str:
    """What it is weighed against: `host 61.4 of 62.7 GiB free; gpu0 23.1 of 24.0 GiB free`."""
    parts = [
        f"{one.short_name} {human_bytes(one.free_bytes)} of {human_bytes(one.total_bytes)} free"
        for one in gpus
        if not one.lost
    ]
    parts.append(f"{HOST} {human_bytes(host.free_bytes)} of {human_bytes(host.total_bytes)} free")
    return "; ".join(parts) + (f" (no GPU: {reason})" if reason and not gpus else "")


def names_of(gpus: Sequence[Device]) -> dict[str, str]:
    """Device id → what people call it."""
    return {HOST: HOST} | {one.id: one.short_name for one in gpus}


def text(found: Recommendation, names: Mapping[str, str]) -> str:
    """One row per quantization, the best one marked, and the choice in words."""
    rows = [row(one, names, best=one is found.best) for one in found.weighed]
    return table(HEADERS, rows) + "\n" + sentence(found, names)


def row(one: Weighing, names: Mapping[str, str], *, best: bool) -> tuple[str, ...]:
    """The cells under `HEADERS`."""
    bits = f"{one.bits_per_weight:.1f}" if one.bits_per_weight else ""
    label = f"{one.label} *" if best else one.label
    return label, human_bytes(one.file_bytes), bits, WORDS[one.fit], human_bytes(one.claim_bytes), why(one, names)


def why(one: Weighing, names: Mapping[str, str]) -> str:
    """Where it would run, or what is missing."""
    where = " + ".join(f"{names.get(place, place)} {human_bytes(size)}" for place, size in one.claims.items())
    if one.fit is Fit.WHOLE:
        return where
    missing = _missing(one.short, names) if one.short is not None else ""
    if one.fit in RUNS:
        return f"{one.how}: {where}; whole: {missing}"
    return missing


def _missing(short: Short, names: Mapping[str, str]) -> str:
    needed, there = human_bytes(short.needed_bytes), human_bytes(short.open_bytes)
    return (
        f"{names.get(short.room, short.room)} lacks {human_bytes(short.missing_bytes)} ({needed} needed, {there} there)"
    )


def sentence(found: Recommendation, names: Mapping[str, str]) -> str:
    """The choice in words, a line or two."""
    if found.best is None:
        least = found.weighed[0] if found.weighed else None
        return f"none fits; the smallest, {least.label}: {why(least, names)}\n" if least else "nothing is on offer\n"
    best = found.best
    bits = f"{best.bits_per_weight:.1f} bits a weight, " if best.bits_per_weight else ""
    first = f"best here: {best.label} ({bits}{WORDS[best.fit]}: {why(best, names)})\n"
    better = found.next_better
    return first + (f"next better: {better.label}, {WORDS[better.fit]}: {why(better, names)}\n" if better else "")


def best_files(found: Recommendation, offered: Sequence[Quantization]) -> tuple[RepoFile, ...]:
    """The files of the best one; none when nothing fits."""
    chosen = (one.files for one in offered if found.best is not None and one.label == found.best.label)
    return next(chosen, ())


def to_json(found: Recommendation) -> dict[str, Any]:
    """Keys are stable; places are device ids."""
    return {
        "best": found.best.label if found.best else None,
        "nextBetter": found.next_better.label if found.next_better else None,
        "quantizations": [{**fit_json(one), "estimate": one.estimate.to_json()} for one in found.weighed],
    }


def fit_json(one: Weighing) -> dict[str, Any]:
    """One quantization and this machine. Keys are stable."""
    short = one.short
    return {
        "label": one.label,
        "fileBytes": one.file_bytes,
        "bitsPerWeight": round(one.bits_per_weight, 2),
        "fit": str(one.fit),
        "how": one.how,
        "claimsBytes": dict(one.claims),
        "missing": None
        if short is None
        else {
            "place": short.room,
            "neededBytes": short.needed_bytes,
            "openBytes": short.open_bytes,
            "missingBytes": short.missing_bytes,
        },
    }


def machine_json(host: Device, gpus: Sequence[Device], reason: str) -> dict[str, Any]:
    """What it was weighed against."""
    return {
        "places": [
            {"id": one.id, "name": one.name, "totalBytes": one.total_bytes, "freeBytes": one.free_bytes}
            for one in (*(gpu for gpu in gpus if not gpu.lost), host)
        ],
        "noGpu": reason or None,
    }
