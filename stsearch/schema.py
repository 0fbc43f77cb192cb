"""YAML files against pydantic models: all faults at once, each with its path in the file."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from stsearch.errors import SpecError, UserError, did_you_mean, quoted

ModelT = TypeVar("ModelT", bound="Strict")


class Strict(BaseModel):
    """Base of all specs: no coercion, no unknown keys, frozen."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    MEANT: ClassVar[Mapping[str, str]] = {}
    """keys of a like spec, and what stands for them in this one"""


class _Loader(yaml.SafeLoader):
    """``SafeLoader`` that refuses a key given twice instead of dropping the first."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, str | int | float | bool):
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


# YAML 1.1 takes 1e-4 for a word, 1.2 and everybody else for a number
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+0123456789"))
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; ``UserError`` or ``SpecError`` for anything else."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {str(path)!r}: {error}") from None
    return parse_yaml(text, str(path))


def parse_value(text: str) -> Any:
    """Any one value; raises ``yaml.YAMLError``, or ``ValueError`` for a date that is none."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    """The mapping in ``text``; ``SpecError`` names line and column of a syntax fault."""
    try:
        data = parse_value(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise SpecError(source, [f"{where}{error.problem}"]) from None
    except yaml.YAMLError as error:
        raise SpecError(source, [str(error).replace("\n", " ")]) from None
    except ValueError as error:  # a date that is none
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
        by_path.setdefault(_path(detail["loc"]), []).append(_fault(model, detail))
    lines = []
    for path, faults in by_path.items():
        rules = list(dict.fromkeys(fault.rule for fault in faults))
        text = rules[0] + "".join(f" or {rule.removeprefix('should be ')}" for rule in rules[1:])
        lines.append(f"{path}: {text}{faults[0].given}{''.join(fault.hint for fault in faults)}")
    return lines


def _path(loc: tuple[int | str, ...]) -> str:
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part and "[" not in part and part not in _UNION_BRANCHES:
            text += f".{part}" if text else part
    return text or "(file)"


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
    said = f"; given {given!r}"
    if detail["type"] == "extra_forbidden":
        *above, key = detail["loc"]
        here = _model_at(model, tuple(above))
        allowed, meant = list(here.model_fields), getattr(here, "MEANT", {}).get(key)
        hint = f" Did you mean {meant!r}?" if meant else did_you_mean(str(key), allowed)
        return _Fault(f"unknown key {key!r}.{hint} Allowed: {quoted(allowed)}.")
    if detail["type"] == "missing":
        return _Fault("is missing")
    if detail["type"] == "literal_error":
        expected = str(detail["ctx"]["expected"]).replace("'", "")
        hint = did_you_mean(str(given), expected.replace(" or ", ", ").split(", "))
        return _Fault(f"should be {expected}", said, f".{hint}" if hint else "")
    if detail["type"] == "value_error":
        return _Fault(str(detail["ctx"]["error"]))
    return _Fault(detail["msg"].removeprefix("Input "), said)


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
