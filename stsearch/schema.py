"""YAML files against pydantic models: all faults at once, each with its path in the file."""

from __future__ import annotations

import datetime
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from stsearch.errors import MOST_FAULTS, SHOWN, SpecError, brief, did_you_mean, quoted
from stsearch.texts import YAML_BYTES, read_text
from stsearch.yamls import load

ModelT = TypeVar("ModelT", bound="Strict")


class Strict(BaseModel):
    """Base of all specs: no coercion, no unknown keys, frozen."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    MEANT: ClassVar[Mapping[str, str]] = {}
    """keys of a like spec, and what stands for them in this one"""


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; ``UserError`` or ``SpecError`` for anything else."""
    return parse_yaml(read_text(path, limit=YAML_BYTES), str(path))


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    """The mapping in ``text``; ``SpecError`` names line and column of a syntax fault."""
    try:
        data = load(text)
    except ValueError as error:
        raise SpecError(source, [str(error)]) from None
    if not isinstance(data, dict):
        given = "nothing" if data is None else type(data).__name__
        raise SpecError(source, [f"expected a mapping of keys to values; given {given}"])
    return data


def check(model: type[ModelT], data: object, path: str = "") -> tuple[ModelT | None, list[str]]:
    """``model`` from ``data`` and no faults, or ``None`` and all of them, ``path`` before each."""
    try:
        return model.model_validate(data), []
    except ValidationError as error:
        return None, [f"{path}{fault}" for fault in _faults(model, error)]


def validate(model: type[ModelT], data: Mapping[str, Any], source: str) -> ModelT:
    """``model`` from ``data``; ``SpecError`` with every fault."""
    valid, faults = check(model, data)
    if valid is None:
        raise SpecError(source, faults)
    return valid


def _faults(model: type[BaseModel], error: ValidationError) -> list[str]:
    """One line per path; the branches of a union (``int | list[int]``) become one line."""
    by_path: dict[str, list[_Fault]] = {}
    for detail in error.errors(include_url=False):
        path = _path(detail["loc"])
        told = path in by_path or len(by_path) < MOST_FAULTS  # to look for similar names takes its time
        by_path.setdefault(path, []).append(_fault(model, detail) if told else _Fault("is wrong"))
    lines = []
    for path, faults in by_path.items():
        rules = list(dict.fromkeys(fault.rule for fault in faults))
        text = rules[0] + "".join(f" or {rule.removeprefix('should be ')}" for rule in rules[1:])
        hints = "".join(dict.fromkeys(fault.hint for fault in faults))
        lines.append(f"{path}: {text}{faults[0].given}{hints}")
    return lines


def _path(loc: tuple[int | str, ...]) -> str:
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part and "[" not in part and part not in _UNION_BRANCHES:
            text += f".{part}" if text else part
    return (text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}...") or "(file)"


_UNION_BRANCHES = {"str", "int", "float", "bool", "none", "constrained-int", "constrained-float", "constrained-str"}


class _Fault(NamedTuple):
    rule: str
    """what is allowed"""
    given: str = ""
    """``; given ...``"""
    hint: str = ""
    """`` Did you mean ...``"""


def _fault(model: type[BaseModel], detail: ErrorDetails) -> _Fault:
    given = detail.get("input")
    said = f"; given {brief(given)}"
    if detail["type"] == "extra_forbidden":
        *above, key = detail["loc"]
        here = _model_at(model, tuple(above))
        allowed, meant = list(here.model_fields), getattr(here, "MEANT", {}).get(key)
        hint = f" Did you mean {meant!r}?" if meant else did_you_mean(str(key), allowed)
        return _Fault(f"unknown key {brief(key)}.{hint} Allowed: {quoted(allowed)}.")
    if detail["type"] == "missing":
        return _Fault("is missing")
    if detail["type"] == "literal_error":
        expected = str(detail["ctx"]["expected"]).replace("'", "")
        hint = did_you_mean(str(given), expected.replace(" or ", ", ").split(", "))
        return _Fault(f"should be {expected}", said, f".{hint}" if hint else _quoting("string_type", given))
    if detail["type"] == "value_error":
        return _Fault(str(detail["ctx"]["error"]))
    return _Fault(detail["msg"].removeprefix("Input "), said, _quoting(detail["type"], given))


def _quoting(rule: str, given: object) -> str:
    """How to write a text that YAML takes for something else, such as a class called ``no``."""
    if rule != "string_type" or not isinstance(given, bool | int | float | datetime.date | None):
        return ""
    if isinstance(given, bool):
        word, why = ("'yes'" if given else "'no'"), "YAML takes yes, no, on, off, true and false for truth values"
    elif given is None:
        word, why = "'null'", "YAML takes null, ~ and an empty place for nothing"
    else:
        word, why = f"'{brief(given) if isinstance(given, int | float) else given}'", "YAML takes it for no text"
    return f". {why}: put a text in quotes, as {word}"


def _model_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel]:
    """The model whose keys stand at ``loc``."""
    for part in loc:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is not None:
            inner = next(_models(field.annotation), None)
            model = inner if inner is not None else model
    return model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            yield annotation
    elif get_origin(annotation) is not None:
        for argument in get_args(annotation):
            yield from _models(argument)
