"""A preset applied to a request body. Called by `exchange`. Pure.

The rules it keeps: what the client sets wins, unless the preset locks that field; `null` is not a value. A locked
field that the preset leaves open goes back to the engine's default. When nothing changes, the very same bytes are
returned; otherwise only the top level is taken apart, and every value that stays keeps its own bytes.
"""

from __future__ import annotations

import msgspec

from api.gateway.openai import NOT_JSON, GatewayError, Operation, fields_of
from nexus_ctl.resources.routing import PresetEntry

SYNONYMS = {
    "max_tokens": ("max_completion_tokens", "n_predict"),
    "repeat_penalty": ("repetition_penalty",),
    "response_format": ("json_schema", "grammar"),
}
"""Other request fields by which engines let a client set the same thing; a lock covers them too."""

_SYSTEM_ROLES = ("system", "developer")
_NULL = b"null"


class _Message(msgspec.Struct):
    role: str = ""


_messages = msgspec.json.Decoder(list[msgspec.Raw])
_message = msgspec.json.Decoder(_Message)


def layered(base: PresetEntry, picked: PresetEntry) -> PresetEntry:
    """One preset for a route that binds `base` where the client picked another: `picked` wins, save what `base` locks.

    Otherwise `model: chat:other` would be a way round the lock of the route.
    """
    params = {name: value for name, value in (base.params | picked.params).items() if name not in base.locked}
    params |= {name: value for name, value in base.params.items() if name in base.locked}
    from_base = "system_prompt" in base.locked or picked.system_prompt is None
    return PresetEntry(
        params=params,
        system_prompt=base.system_prompt if from_base else picked.system_prompt,
        locked=sorted({*base.locked, *picked.locked}),
    )


def applied(preset: PresetEntry, operation: Operation, body: bytes) -> bytes:
    """`body` (a JSON object) with `preset` laid under, and over where locked. Raises GatewayError (400)."""
    fields = fields_of(body)
    before = dict(fields)
    for name in preset.params.keys() | set(preset.locked):
        if name != "system_prompt":
            _apply_field(fields, name, preset)
    if operation.converses:
        _apply_system_prompt(fields, preset)
    return body if fields == before else msgspec.json.encode(fields)


def _apply_field(fields: dict[str, msgspec.Raw], name: str, preset: PresetEntry) -> None:
    spellings = (name, *SYNONYMS.get(name, ()))
    if name not in preset.locked:
        if any(_is_set(fields, spelling) for spelling in spellings):
            return
    else:
        for spelling in spellings:
            fields.pop(spelling, None)
    if name in preset.params:
        fields[name] = msgspec.Raw(msgspec.json.encode(preset.params[name]))


def _apply_system_prompt(fields: dict[str, msgspec.Raw], preset: PresetEntry) -> None:
    locked = "system_prompt" in preset.locked
    if preset.system_prompt is None and not locked:
        return
    try:
        messages = _messages.decode(fields.get("messages", b"[]"))
        of_client = [message for message in messages if _message.decode(message).role in _SYSTEM_ROLES]
    except NOT_JSON as error:
        message = f"messages must be a list of objects with a role: {error}"
        raise GatewayError(400, message, code="invalid_messages", param="messages") from error
    if of_client and not locked:
        return
    if of_client:
        messages = [message for message in messages if _message.decode(message).role not in _SYSTEM_ROLES]
    if preset.system_prompt is not None:
        own = {"role": "system", "content": preset.system_prompt}
        messages.insert(0, msgspec.Raw(msgspec.json.encode(own)))
    fields["messages"] = msgspec.Raw(msgspec.json.encode(messages))


def _is_set(fields: dict[str, msgspec.Raw], name: str) -> bool:
    return name in fields and bytes(fields[name]).strip() != _NULL
