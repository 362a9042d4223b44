"""What the gateway knows of the OpenAI API: operations, the fields it reads from a request, the error envelope.

Called by `app` and `exchange`. Pure. The rule it keeps: every error the gateway makes itself has OpenAI's form, so
that any SDK raises its own exception for it, and bears a mark: `error.source` is `gateway`, and so is the header
`x-nexus-error-source`. Errors of an engine pass unchanged, with that header set to `engine`.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

SOURCE_HEADER = b"x-nexus-error-source"
JSON = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class Operation:
    """One path that engines answer. `samples`: presets apply. `converses`: it has `messages`, so a system prompt."""

    path: bytes
    samples: bool = False
    converses: bool = False


OPERATIONS = {
    operation.path: operation
    for operation in (
        Operation(b"/v1/chat/completions", samples=True, converses=True),
        Operation(b"/v1/completions", samples=True),
        Operation(b"/v1/embeddings"),
        Operation(b"/v1/rerank"),
    )
}


class GatewayError(Exception):
    """The gateway's own answer to a request that it cannot pass on. `param` and `code` as OpenAI uses them."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.headers = (JSON, (SOURCE_HEADER, b"gateway"), *headers)

    def body(self) -> bytes:
        """The OpenAI error envelope as JSON."""
        error = {
            "message": self.message,
            "type": "server_error" if self.status >= 500 else "invalid_request_error",
            "param": self.param,
            "code": self.code,
            "source": "gateway",
        }
        return msgspec.json.encode({"error": error})


NOT_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding a client's bytes may raise; the last one for nesting without end."""


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Ask(msgspec.Struct):
    model: str | None = None


_ask = msgspec.json.Decoder(_Ask)


def model_of(body: bytes) -> str:
    """The public name that a request body asks for; all else in it is skipped. Raises GatewayError (400)."""
    try:
        model = _ask.decode(body).model
    except msgspec.ValidationError as error:
        raise GatewayError(400, f"the request body is not usable: {error}", code="invalid_body") from error
    except NOT_JSON as error:
        raise GatewayError(400, f"the request body is not JSON: {error}", code="invalid_json") from error
    if not model:
        raise GatewayError(400, "you must provide a model parameter", code="missing_model", param="model")
    return model


def fields_of(body: bytes) -> dict[str, msgspec.Raw]:
    """The top level of a request body, each value in its own bytes. Raises GatewayError (400)."""
    try:
        return _fields.decode(body)
    except NOT_JSON as error:
        raise GatewayError(400, f"the request body is not JSON: {error}", code="invalid_json") from error


def with_model(body: bytes, model: str) -> bytes:
    """`body` with another `model`; all else at the top level keeps its bytes and order. Raises GatewayError (400)."""
    return msgspec.json.encode(fields_of(body) | {"model": model})
