"""The YAML of a study, checked as a whole, and what must stay the same when it is resumed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SerializeAsAny, field_validator

import stsearch.search.oneshot  # noqa: F401 - registers an evaluator
from stsearch.data.sources import DATASETS, channels_of
from stsearch.errors import SpecError, UserError, brief, quoted, unknown
from stsearch.evaluate.evaluators import EVALUATORS, ScoreRecipe
from stsearch.evaluate.halving import HalvingRecipe
from stsearch.registry import Registry
from stsearch.resources import find
from stsearch.schema import Strict, check, read_yaml
from stsearch.search.compared import compared_faults, too_small
from stsearch.search.engines import ENGINES, Engine, remote_faults
from stsearch.search.metrics import (
    ACCURACIES,
    LATENCY,
    MEANT,
    OF_PAIRS,
    QUALITIES,
    direction_of,
    measured_names,
    objectives,
)
from stsearch.search.overrides import apply_overrides
from stsearch.search.place import parse_url, plain_name
from stsearch.search.sections import Measure, Search, Target, keys_inside
from stsearch.search.sections import Proxy as Proxy
from stsearch.search.sections import Screen as Screen
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import AnyNetwork, ClipShape
from stsearch.space.cost import COSTS
from stsearch.space.published import NETWORKS, PAPER_LAYERS, PLACEMENTS, find_network
from stsearch.space.search_space import SearchSpace, load_space
from stsearch.space.zoo import find_any


class StudySpec(Strict):
    """A whole study."""

    name: str | None = None
    """default: the file's name without ``.yaml``"""
    space: str
    """a search space by name, or the path of its YAML file"""
    target: Target = Target()
    proxy: Proxy = Proxy()
    data: Any
    """where clips come from"""
    objectives: dict[str, str] = {"video_top1": "maximize", "gmacs": "minimize"}
    """what the search is after: a metric, and its direction"""
    budget: dict[str, float] = {}
    """caps on costs, as in ``{gmacs: 45}``"""
    evaluate: Any
    """how accurate a network is"""
    measure: Measure = Measure()
    search: Search = Search()
    engine: SerializeAsAny[Engine] = Engine()
    storage: str | None = None
    """default: ``sqlite:///studies/<name>.db``"""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """of every random choice: networks that are tried, first weights, clips that are drawn"""

    @field_validator("objectives")
    @classmethod
    def _directions(cls, given: dict[str, str]) -> dict[str, str]:
        if not given:
            raise ValueError(f"at least one objective is needed. Allowed: {quoted(objectives())}.")
        for name, direction in given.items():
            if name not in objectives():
                raise ValueError(unknown("objective", name, objectives(), MEANT))
            if direction != direction_of(name):
                raise ValueError(f"{name} can only be {direction_of(name)}d; given {brief(direction)}")
        return given

    @field_validator("budget")
    @classmethod
    def _caps(cls, given: dict[str, float]) -> dict[str, float]:
        for name, cap in given.items():
            if name not in (*COSTS, *measured_names()):
                raise ValueError(unknown("cost", name, (*COSTS, *measured_names()), MEANT))
            if not 0 < cap < float("inf"):
                raise ValueError(f"a cap is above 0; given {name}: {cap}")
        return given


_MEASURED_BEFORE = (("batch", 1), ("latency", "each"))
"""How networks were measured when there were no such keys."""
_INSIDE: dict[str, type[Strict]] = {"search": Search, "engine": Engine, "target": Target, "measure": Measure}
_INSIDE |= {"evaluate": EVALUATORS["train"].recipe, "data": DATASETS["folder"].recipe}
StudySpec.MEANT = keys_inside(StudySpec, _INSIDE)


@dataclass(frozen=True)
class Study:
    """A checked specification with everything it names found."""

    spec: StudySpec
    name: str
    space: SearchSpace
    source: str
    said: frozenset[str] = frozenset()
    """keys of ``evaluate`` that the file gives a value; ``auto`` is none"""
    places: Mapping[str, str | None] = field(default_factory=dict)
    """keys of ``data`` that say where the videos lie, as the study was begun: elsewhere they may lie elsewhere"""
    joins: bool = False
    """whether it is another's study, that this process only works for"""

    @property
    def measured(self) -> tuple[str, ...]:
        """The metrics of the target that must be measured: they are objectives or have a cap."""
        return tuple(name for name in measured_names() if name in self.spec.objectives or name in self.spec.budget)

    @property
    def composed(self) -> bool:
        """Whether latency is asked for, and is a sum that is known before a network is built."""
        return LATENCY in self.measured and self.spec.measure.latency == "composed"

    def hard_budget(self, known: Collection[str] = tuple(COSTS)) -> dict[str, float]:
        """Caps on costs that are ``known`` before anything is built."""
        return {name: cap for name, cap in self.spec.budget.items() if name in known}

    @property
    def halving(self) -> HalvingRecipe | None:
        """The successive halving that it asks for, if it does."""
        return recipe if isinstance(recipe := self.spec.evaluate, HalvingRecipe) else None

    @property
    def storage_url(self) -> str:
        """Where its trials are kept."""
        return f"sqlite:///studies/{self.name}.db" if self.spec.storage is None else self.spec.storage

    @property
    def channels(self) -> int:
        """Channels of a frame of the data."""
        return channels_of(self.spec.data)

    def target_clip(self) -> ClipShape:
        """The clip that costs are counted on."""
        return ClipShape(self.channels, self.spec.target.frames, self.spec.target.size, self.spec.target.size)

    def proxy_clip(self) -> ClipShape:
        """The clip that accuracy is measured on."""
        size = self.spec.proxy.size or self.spec.target.size
        return ClipShape(self.channels, self.spec.proxy.frames or self.spec.target.frames, size, size)

    def identity(self) -> dict[str, Any]:
        """What may not change while a study lives: space, inputs, data, recipe, objectives, seed."""
        spec = self.spec.model_dump(exclude={"name", "search", "engine", "storage", "space"})
        clip = self.proxy_clip()
        spec["proxy"] |= {"frames": clip.frames, "size": clip.height}
        for name in ("trace", "resident_share"):  # change no result
            spec["evaluate"].pop(name, None)
        spec["data"] |= self.places
        if not spec["data"].get("exclude"):  # studies that were begun before there was such a key go on
            spec["data"].pop("exclude", None)
        spec["data"].pop("stream", None)  # changes no result
        if not self.measured:
            spec.pop("measure")
        else:  # likewise
            spec["measure"] = {k: v for k, v in spec["measure"].items() if (k, v) not in _MEASURED_BEFORE}
        return {"space": {"name": self.space.name, "fingerprint": self.space.fingerprint}, **spec}

    def start_networks(self) -> list[Architecture]:
        """Networks of the space to train first, in order."""
        start = self.spec.search.start_with
        if start == "none":
            return []
        named = [find_network(name) for name in start] if isinstance(start, list) else list(NETWORKS.values())
        inside = [architecture for architecture in named if architecture in self.space]
        if isinstance(start, list) and len(inside) < len(named):
            outside = [architecture.id for architecture in named if architecture not in self.space]
            raise SpecError(
                self.source, [f"search.start_with: the space {self.space.name!r} does not contain {', '.join(outside)}"]
            )
        return inside

    @property
    def asked_again(self) -> dict[str, int]:
        """Further trainings that ``search.repeat`` asks for, by architecture id."""
        return {find_network(name).id: count for name, count in self.spec.search.repeat.items()}

    @property
    def compared(self) -> dict[str, AnyNetwork]:
        """Networks that ``search.compare_with`` names."""
        return {name: find_any(name) for name in self.spec.search.compare_with}

    def compared_inside(self) -> list[Architecture]:
        """Those of them that the space holds: they are trials like its others."""
        found = self.compared.values()
        return [network for network in found if isinstance(network, Architecture) and network in self.space]

    def references(self) -> dict[str, AnyNetwork]:
        """Networks outside the space that are trained beside its own: R2D of the paper, and those to compare with."""
        clip = self.proxy_clip()
        beside = {n: a for n, a in self.compared.items() if a not in self.space and not too_small(a, clip)}
        if self.spec.search.start_with not in ("paper", "paper-all", "balanced"):
            return beside
        layers = [n for n in PAPER_LAYERS if any(NETWORKS[f"{p}-{n}"] in self.space for p in PLACEMENTS)]
        return {f"R2D-{n}": NETWORKS[f"R2D-{n}"] for n in layers} | beside


def _section(registry: Registry[Any], data: dict[str, Any], key: str) -> tuple[Strict | None, list[str]]:
    """The section ``key`` against the recipe that its ``name`` stands for."""
    section = data.get(key)
    if not isinstance(section, dict):
        return None, [
            f"{key}: " + ("is missing" if section is None else f"should be a mapping; given {brief(section)}")
        ]
    name = section.get("name")
    if not isinstance(name, str) or name not in registry:
        given = (
            f"{key}.name: is missing. Allowed: {quoted(registry)}."
            if name is None
            else (f"{key}.name: {unknown(registry.what, name, registry)}")
        )
        return None, [given]
    return check(registry[name].recipe, section, f"{key}.")


def _engine(data: Mapping[str, Any]) -> tuple[Strict | None, list[str]]:
    """The section ``engine``, of which a file may leave out all, or the name."""
    given = data.get("engine", {})
    named = {"name": "local", **given} if isinstance(given, dict) else given
    found, faults = _section(ENGINES, {"engine": named}, "engine")
    return (Engine() if found is None else found), faults


def _space(data: Mapping[str, Any], folder: Path | None) -> tuple[SearchSpace | None, list[str]]:
    """The search space that the study names, or its faults; what is no name is left to the study's model."""
    name = data.get("space")
    if not isinstance(name, str):
        return None, []
    try:
        return load_space(find("search_spaces", name, folder)), []
    except SpecError as error:
        return None, [f"space: {error.source}: {fault}" for fault in error.faults]
    except UserError as error:
        return None, [f"space: {error}"]


def _measured_faults(spec: StudySpec) -> list[str]:
    """What a study that times its networks needs."""
    faults = [
        f"objectives.{name}: is measured, so its worst value is not known beforehand; give one, as in "
        f"budget: {{{name}: 100}}"
        for name in measured_names()
        if name in spec.objectives
        and name not in spec.budget
        and not (name == LATENCY and spec.measure.latency == "composed")
    ]
    measured = [name for name in measured_names() if name in {*spec.objectives, *spec.budget}]
    if measured and not spec.engine.here:
        faults.append(
            f"engine.name: {measured[0]} is measured on one device by one worker, so the engine is local; "
            f"given {spec.engine.name}"
        )
    if measured and isinstance(spec.engine.workers, int) and spec.engine.workers > 1:
        faults.append(
            f"engine.workers: {measured[0]} is measured while nothing else runs, so workers is 1 or auto; "
            f"given {spec.engine.workers}"
        )
    return faults


def _halving_faults(spec: StudySpec) -> list[str]:
    if isinstance(spec.evaluate, HalvingRecipe) and not any(name in ACCURACIES for name in spec.objectives):
        return [
            f"objectives: halving compares accuracies at its rungs, so one of {quoted(ACCURACIES)} is among them; "
            f"given {quoted(spec.objectives)}"
        ]
    return []


def _screen_faults(spec: StudySpec) -> list[str]:
    """What a screen needs: something to train less of, and an accuracy that the score stands for."""
    screen = spec.search.screen
    if screen is None:
        return []
    if isinstance(spec.evaluate, ScoreRecipe):
        return [f"search.screen: `evaluate: {{name: score}}` trains nothing, so nothing is saved; given {screen.score}"]
    faults = []
    if spec.search.sampler == "exhaustive":
        faults.append(f"search.screen: the sampler exhaustive trains every network; given {screen.score}")
    if not any(name in ACCURACIES for name in spec.objectives):
        faults.append(
            f"search.screen: a score stands for an accuracy, so one of {quoted(ACCURACIES)} is among the objectives; "
            f"given {quoted(spec.objectives)}"
        )
    return faults


def _repeats_faults(spec: StudySpec) -> list[str]:
    """What repeats need: something noisy to compare, and an evaluator that another seed makes differ."""
    asked = {"repeats": spec.search.repeats, "repeat": spec.search.repeat}
    given = {f"search.{key}": value for key, value in asked.items() if value}
    if EVALUATORS[spec.evaluate.name].again is None:
        why = f"evaluate {spec.evaluate.name!r} trains nothing again"
        return [f"{key}: {why}; given {brief(value)}" for key, value in given.items()]
    if spec.search.repeats and not any(name in ACCURACIES for name in spec.objectives):
        return [f"search.repeats: no accuracy is an objective, so nothing is noisy; given {spec.search.repeats}"]
    return []


def _asked_faults(spec: StudySpec, space: SearchSpace) -> list[str]:
    """Names under ``search.repeat`` that are no networks of the space."""
    faults = []
    for name in spec.search.repeat:
        try:
            inside = find_network(name) in space
        except UserError as error:
            faults.append(f"search.repeat: {error}")
        else:
            faults += [] if inside else [f"search.repeat: the space {space.name!r} does not contain {name}"]
    return faults


def _unknown_faults(spec: StudySpec) -> list[str]:
    """Objectives that the data or the evaluator say nothing of."""
    known = EVALUATORS[spec.evaluate.name].metrics
    if not DATASETS[spec.data.name].pairs and (asked := [name for name in spec.objectives if name in OF_PAIRS]):
        why = "is of data whose classes are pairs of a motion and its reversal; those of"
        return [f"objectives.{name}: {why} {spec.data.name!r} are not" for name in asked]
    return [
        f"objectives.{name}: `evaluate: {{name: {spec.evaluate.name}}}` does not tell it; it tells {quoted(known)}"
        for name in spec.objectives
        if name in QUALITIES and name not in known
    ]


def without_auto(evaluate: Any) -> Any:
    """The section without lengths that the data decide."""
    if not isinstance(evaluate, dict):
        return evaluate
    return {key: value for key, value in evaluate.items() if key not in ("epochs", "rungs") or value != "auto"}


def study_from_data(
    data: dict[str, Any],
    source: str,
    default_name: str,
    folder: Path | None = None,
    space: SearchSpace | None = None,
) -> Study:
    """A study from the mapping of its YAML; ``SpecError`` with all faults of all sections.

    ``space`` is its search space where that is known; else the file that ``data`` name is read.
    """
    faults: list[str] = []
    if space is None:  # first: its plug-ins register kinds that other sections may name
        space, faults = _space(data, folder)
    data = {**data, "evaluate": without_auto(data.get("evaluate"))}
    recipe, more = _section(DATASETS, data, "data")
    faults += more
    evaluation, more = _section(EVALUATORS, data, "evaluate")
    faults += more
    engine, more = _engine(data)
    faults += more
    spec, more = check(StudySpec, {**data, "data": recipe, "evaluate": evaluation, "engine": engine})
    faults += more
    if faults or spec is None or space is None:
        raise SpecError(source, faults)
    faults = [
        *remote_faults(spec.engine, spec.storage),
        *_unknown_faults(spec),
        *_measured_faults(spec),
        *_halving_faults(spec),
        *_repeats_faults(spec),
    ]
    faults += [*_screen_faults(spec), *_asked_faults(spec, space)]
    if faults:
        raise SpecError(source, faults)
    if spec.storage is not None:
        parse_url(spec.storage)
    study = Study(spec, plain_name(spec.name or default_name, source), space, source, frozenset(data["evaluate"]))
    study.start_networks()
    if faults := compared_faults(study.compared, study.target_clip(), study.proxy_clip()):
        raise SpecError(source, faults)
    return study


def load_study(name: str, overrides: Sequence[str] = (), storage: str | None = None) -> Study:
    """A study by name or path of its YAML file, with ``--set`` overrides; ``storage`` is a URL, never YAML."""
    path = find("studies", name)
    data = read_yaml(path)
    apply_overrides(data, overrides)
    if storage is not None:
        data["storage"] = storage
    return study_from_data(data, str(path), path.stem, path.parent)
