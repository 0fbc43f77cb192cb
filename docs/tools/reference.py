"""Pages of the reference that are made from the code when the site is built, so that they cannot go stale.

Keys and defaults are those of the pydantic models, their meaning is the docstring below each key; options are those of
the click commands; metrics are the rows of the table of metrics.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import stsearch.cli
from stsearch.cli import main
from stsearch.data.sources import DATASETS
from stsearch.evaluate.evaluators import EVALUATORS
from stsearch.evaluate.halving import HalvingRecipe
from stsearch.evaluate.recipe import OF_OPTIMIZERS, TrainRecipe
from stsearch.evaluate.whole import WholeRecipe
from stsearch.search.engines import RayEngine, SlurmEngine
from stsearch.search.metrics import METRICS
from stsearch.search.spec import StudySpec
from stsearch.space.search_space import SpaceSpec

_WORDS = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`", Any: "a section, see below"}
_FITTED: dict[str, type[BaseModel]] = {"epochs": TrainRecipe, "rungs": HalvingRecipe}
"""Keys that may be left out or ``auto``: the data decide (``search/fitting.py``)."""
Row = tuple[str, str, str, str]
"""key, what it may be, default, meaning"""


def pages() -> dict[str, str]:
    """Path below ``docs/`` to Markdown."""
    return {
        "reference/yaml.md": yaml_page(),
        "reference/metrics.md": metrics_page(),
        "reference/commands.md": commands_page(),
        "reference/python.md": python_page(),
    }


def table(heads: tuple[str, ...], rows: Iterator[tuple[str, ...]] | list[tuple[str, ...]] | list[Row]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The string below each key of a model, its parents' too."""
    found: dict[str, str] = {}
    for part in reversed(model.__mro__):
        if not issubclass(part, BaseModel) or part is BaseModel:
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(part))).body
        assert isinstance(body, ast.ClassDef)
        for one, after in zip(body.body, body.body[1:], strict=False):
            if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and isinstance(after, ast.Expr):
                found[one.target.id] = " ".join(ast.literal_eval(after.value).split())
    return {key: text.replace("``", "`") for key, text in found.items()}


def allowed(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """What a key may be, in words: ``whole number, 1 or more``."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return allowed(inside[0], tuple(annotation.__metadata__) + metadata)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inside)
    if origin in (Union, types.UnionType):
        return " or ".join(allowed(one, metadata) for one in inside if one is not type(None))
    if origin is list:
        return f"list of {allowed(inside[0])}"
    if origin is dict:
        return f"mapping of {allowed(inside[0])} to {allowed(inside[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"a section, see [{_title(annotation)}](#{_anchor(annotation)})"
    return _WORDS[annotation] + _limits(metadata)


def _limits(metadata: tuple[Any, ...]) -> str:
    """``, 1 to 1,000`` of the limits that pydantic checks."""
    said: dict[str, float] = {}
    for one in metadata:
        for inner in (one, *getattr(one, "metadata", ())):
            said |= {name: getattr(inner, name) for name in ("ge", "gt", "le", "lt") if hasattr(inner, name)}
    low = f"{said['ge']:,}" if "ge" in said else f"above {said['gt']:,}" if "gt" in said else ""
    high = f"{said['le']:,}" if "le" in said else f"below {said['lt']:,}" if "lt" in said else ""
    if low and high:
        return f", {low} to {high}"
    return f", {low} or more" if "ge" in said else f", {low or high}" if low or high else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its defaults"
    if value is None or value is PydanticUndefined:
        return "none"
    return f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    """A value as one writes it in YAML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_yaml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def rows(model: type[BaseModel]) -> list[Row]:
    """A row for each key of a model."""
    meant = docstrings(model)
    return [_row(model, key, field, meant.get(key, "")) for key, field in model.model_fields.items()]


def _row(model: type[BaseModel], key: str, field: FieldInfo, meaning: str) -> Row:
    """A section means what its own docstring says; lengths that the data decide have no number as default."""
    inner = next(_models(field.annotation), None)
    may_be, default = allowed(field.annotation, tuple(field.metadata)), _default(field)
    if _FITTED.get(key) is model:
        may_be, default = f"{may_be} or `auto`", "`auto`"
    if key == "name" and get_origin(field.annotation) is Literal:
        meaning = meaning or "which one it is"
    return f"`{key}`", may_be, default, meaning or (_about(inner) if inner else "")


def sections(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Models of the sections within a model, each once, from outside to inside."""
    found: list[type[BaseModel]] = []
    for field in model.model_fields.values():
        for one in _models(field.annotation):
            found += [inner for inner in (one, *sections(one)) if inner not in found]
    return found


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, BaseModel):
        yield annotation
    for one in get_args(annotation):
        yield from _models(one)


def _title(model: type[BaseModel]) -> str:
    return model.__name__.strip("_").lower()


def _anchor(model: type[BaseModel]) -> str:
    return f"section-{_title(model)}"


def _section(model: type[BaseModel]) -> str:
    return table(("key", "may be", "default", "meaning"), rows(model))


def _about(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split()).replace("``", "`")


def yaml_page() -> str:
    """Every key of a study, of its data and evaluators, of a recipe and of a search space."""
    parts = [
        "# YAML keys",
        "Every key that a study, a recipe and a search space may have. This page is made from the models that check "
        "them. A key of a section is written with a dot on the command line, as in `--set evaluate.epochs=8`.",
        "## Study",
        _section(StudySpec),
    ]
    for model in sections(StudySpec):
        parts += [f"### `{_title(model)}` {{ #{_anchor(model)} }}", _about(model), _section(model)]
    parts += ["## Data", "The section `data` has the keys of the source that its `name` says."]
    for name in DATASETS:
        recipe = DATASETS[name].recipe
        parts += [f"### `data: {{name: {name}}}` {{ #data-{name} }}", _about(recipe), _section(recipe)]
    parts += ["## Evaluate", "The section `evaluate` has the keys of the evaluator that its `name` says."]
    inner: list[type[BaseModel]] = []
    for name in (one for one in EVALUATORS if one != "replay"):  # replay is registered by stsearch.testing
        recipe = EVALUATORS[name].recipe
        parts += [f"### `evaluate: {{name: {name}}}` {{ #evaluate-{name} }}", _about(recipe), _section(recipe)]
        inner += [one for one in sections(recipe) if one not in inner]
    for model in inner:
        parts += [f"### `{_title(model)}` {{ #{_anchor(model)} }}", _about(model), _section(model)]
    parts += [
        "## Engine",
        "The section `engine` of a cluster has further keys (see [several machines](../several-machines.md)).",
    ]
    for name, recipe in (("slurm", SlurmEngine), ("ray", RayEngine)):
        parts += [f"### `engine: {{name: {name}}}` {{ #engine-{name} }}", _about(recipe), _section(recipe)]
    keys = tuple(OF_OPTIMIZERS["muon"])
    parts += [
        "### What each optimiser takes by default",
        table(("optimizer", *keys), [(name, *(f"{of[key]:g}" for key in keys)) for name, of in OF_OPTIMIZERS.items()]),
        "## Recipe of `stsearch train`",
        _about(WholeRecipe),
        _section(WholeRecipe),
        "## Search space",
        _about(SpaceSpec),
        _section(SpaceSpec),
    ]
    for model in sections(SpaceSpec):
        parts += [f"### `{_title(model)}` {{ #{_anchor(model)} }}", _about(model), _section(model)]
    return "\n\n".join(parts) + "\n"


def metrics_page() -> str:
    """Every metric that is built in."""
    found = [
        (
            f"`{one.name}`",
            one.title,
            one.unit,
            one.better,
            f"{one.of}, {one.source}",
            "yes" if one.objective else "no",
            "yes" if one.noisy else "no",
        )
        for one in (METRICS[name] for name in METRICS)
    ]
    heads = ("key", "what", "unit", "the search may", "of, and how it is known", "objective", "differs by training")
    return (
        "\n\n".join(
            [
                "# Metrics",
                "What is known of a network by number. The key is the same in YAML and in JSON. Costs are those of "
                "the *target*, the network as you will use it. Accuracies are those of the *proxy*, its small "
                "stand-in. `M` are millions. Plug-ins add rows: [Plug-ins](../plugins.md).",
                table(heads, found),
                "A cost is a cap too, as in `budget: {gmacs: 45, params: 30000000}`. Caps on what is known in closed "
                "form are kept before anything is trained. In YAML and JSON, `params` and `activations` are counted "
                "one by one.",
            ]
        )
        + "\n"
    )


def commands_page() -> str:
    """Every command with its options."""
    parts = [
        "# Commands",
        "Every command with its options, made from the commands themselves. [Command line](../cli.md) says what they "
        "do in more words, and which keys their JSON has.",
    ]
    for path, command in walk(main, "stsearch"):
        parts += [f"## `{path}`", _help(command), f"```text\n{_usage(path, command)}\n```"]
        if command.epilog:
            parts.append(f"For example: `{command.epilog.rpartition(chr(10))[2].strip()}`")
        options = [_option(one) for one in command.params if isinstance(one, click.Option) and not one.hidden]
        if options:
            parts.append(table(("option", "takes", "default", "meaning"), options))
    return "\n\n".join(parts) + "\n"


def walk(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """``(stsearch data build, its command)`` and all others."""
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from walk(inner, f"{path} {name}")


def _usage(path: str, command: click.Command) -> str:
    with click.Context(command, info_name=path.rpartition(" ")[2]) as context:
        return f"{path} {' '.join(command.collect_usage_pieces(context))}"


def _help(command: click.Command) -> str:
    """The help text; a paragraph that click keeps as it is, is code."""
    texts = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(command.help or "")):
        kept = paragraph.startswith("\b")
        body = paragraph.removeprefix("\b").strip("\n")
        texts.append(f"```text\n{body}\n```" if kept else body.replace("<", "&lt;"))
    return "\n\n".join(texts)


def _option(option: click.Option) -> Row:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    with click.Context(click.Command("any")) as context:
        takes = "" if option.is_flag else f"`{option.make_metavar(context)}`"
        default = option.get_default(context, call=False)
    empty = option.is_flag or option.multiple or default is None or not isinstance(default, str | int | float)
    return names, takes, "" if empty else f"`{default}`", (option.help or "").replace("<", "&lt;")


def python_page() -> str:
    """The names that ``import stsearch`` gives, each from its docstring, and what plug-ins use."""
    names = [name for name in stsearch.__all__ if not name.startswith("__")]
    plugins = [
        "stsearch.space.kinds.kind",
        "stsearch.search.metrics.closed_form",
        "stsearch.search.metrics.measured",
        "stsearch.testing.KindSuite",
    ]
    homes = {name: f"{getattr(stsearch, name).__module__}.{name}" for name in names}
    parts = [
        "# Python",
        "Names of `import stsearch`. Nothing heavy is loaded before it is used.",
        *(f"::: {homes[name]}\n    options:\n      heading_level: 2" for name in names if homes[name] not in plugins),
        "## For plug-ins",
        *(f"::: {name}\n    options:\n      heading_level: 3" for name in plugins),
    ]
    return "\n\n".join(parts) + "\n"
