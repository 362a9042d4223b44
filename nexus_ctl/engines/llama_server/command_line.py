"""The stand-in's command line: words → (argument, word) pairs → xllamacpp's parameters.

Speaks as llama-server does when a word is wrong. The rule: whatever cannot be honoured is an error, never ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nexus_ctl.engines.llama_server.arguments import TRUE_WORDS, Argument, Kind, arguments, by_spelling
from nexus_ctl.engines.llama_server.flags import Setting, setting_of


class WrongWord(ValueError):
    """The command line cannot be honoured; says which flag and why."""


Given = tuple[Argument, Setting, bool | str]
"""One argument as given: True or False for a flag or switch, else the word after it."""


def from_environment(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The words that the arguments' environment variables stand for; to be read before those of the command line."""
    found: list[str] = []
    for argument in arguments():
        value = environ.get(argument.env) if argument.env.startswith("LLAMA_") and not argument.gone else None
        if value is None:
            continue
        if argument.words:
            found += [argument.name, value]
        elif value.lower() in TRUE_WORDS:
            found.append(argument.name)
        elif argument.off_name:
            found.append(argument.off_name)
    return tuple(found)


def read(words: Sequence[str]) -> tuple[Given, ...]:
    """The arguments in the order given. Raises WrongWord."""
    return tuple(_read(iter(words)))


def _read(words: Iterator[str]) -> Iterator[Given]:
    for flag in words:
        argument = by_spelling().get(flag)
        if argument is None:
            raise WrongWord(f"invalid argument: {flag}")
        if argument.gone:
            raise WrongWord(f"{flag} was removed: {argument.gone}")
        setting = setting_of(argument)
        if setting is None:
            raise WrongWord(f"{flag}: this build of llama.cpp (xllamacpp) cannot honour it")
        if argument.kind in (Kind.FLAG, Kind.SWITCH):
            yield argument, setting, flag in argument.names
            continue
        word = next(words, None)
        if word is None:
            raise WrongWord(f"expected value for argument {flag}")
        if argument.allowed and any(part.strip() not in argument.allowed for part in word.split(",")):
            raise WrongWord(f"{flag}: {word!r} is none of {', '.join(argument.allowed)}")
        yield argument, setting, word


def fill(params: Any, given: Sequence[Given], x: Any) -> None:
    """Sets the parameters (a `CommonParams` of the module `x`). Raises WrongWord where a word does not fit."""
    for argument, setting, word in given:
        for path in setting.attributes:
            owner, name = _owner(params, path)
            try:
                setattr(owner, name, _value(setting, word, getattr(owner, name), x))
            except (ValueError, KeyError, OverflowError, OSError, TypeError) as error:
                raise WrongWord(f"{argument.name} {word}: {error}") from error
        if setting.marks:
            mark = x.common_params_sampling_config[f"COMMON_PARAMS_SAMPLING_CONFIG_{setting.marks}"]
            params.sampling.user_sampling_config |= int(mark)


def _value(setting: Setting, word: bool | str, so_far: Any, x: Any) -> Any:
    if setting.read is None:
        return setting.value if word else not setting.value
    return setting.read("" if isinstance(word, bool) else word, so_far, x)


def _owner(params: Any, path: str) -> tuple[Any, str]:
    """The object that holds the last name of a dotted path."""
    *way, name = path.split(".")
    for step in way:
        params = getattr(params, step)
    return params, name
