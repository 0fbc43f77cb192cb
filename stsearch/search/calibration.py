"""What a calibration tries: fidelities of a study's proxy, on networks of its space, round by round.

A fidelity is the study with other values of ``proxy``, ``evaluate`` or the number of training clips. Its trainings are
kept as those of an audit are (``stsearch.search.audit``), in a companion ``NAME/calibrate-KEY`` for each fidelity; a
round is one training of each network, with a seed that no other fidelity or round has.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optuna

from stsearch.data.cache import Progress
from stsearch.data.sources import open_data
from stsearch.data.videos import ClipData
from stsearch.errors import UserError
from stsearch.evaluate.halving import HalvingRecipe
from stsearch.evaluate.recipe import TrainRecipe
from stsearch.search.attributes import CALIBRATED
from stsearch.search.audit import CALIBRATE, Audit, Fidelity, Found, Plan, Work
from stsearch.search.fitting import as_begun_with, fitted, stored_identity
from stsearch.search.place import check_place, exists
from stsearch.search.precision import settled
from stsearch.search.records import plain
from stsearch.search.session import check_budget
from stsearch.search.spec import Study, load_study
from stsearch.search.storage import open_storage, opening, storage_errors
from stsearch.space.architecture import Architecture
from stsearch.space.cost import COSTS, network_cost
from stsearch.space.published import NETWORKS, name_of
from stsearch.stats.ranks import LEAST_FOR_INTERVAL

NETWORKS_TRIED = 12
"""by default"""
LONGER = 2
"""The longest way has so many times the study's epochs"""
SMALLEST_SIZE, NARROWEST = 8, 1 / 16
"""pixels and width of what is tried without being asked for"""
_DRAWS = 2_000
"""Networks of the space that are drawn, at most, to find some that keep the budget"""
_SECTIONS = ("proxy", "evaluate", "data")
_FIXED = ("evaluate.name", "evaluate.repeats", "evaluate.trace", "evaluate.resident_share")
"""Keys that say not how one training is done"""
CLIPS = ("clips", "fraction")
"""Keys of ``data`` that say how many training clips there are"""

Role = Literal["own", "longest", "other"]


@dataclass(frozen=True)
class Way:
    """One fidelity to try."""

    label: str
    """in what it differs from the study, ``study's own`` for its own"""
    role: Role
    changes: tuple[str, ...]
    """``key=value`` of the study's YAML"""
    study: Study
    """with the changes"""
    share: float
    """training clips in units of the study's"""

    @property
    def recipe(self) -> TrainRecipe:
        """Of one whole training."""
        given = self.study.spec.evaluate
        recipe = given.whole if isinstance(given, HalvingRecipe) else given
        assert isinstance(recipe, TrainRecipe)
        return recipe.model_copy(update={"repeats": 1, "trace": "none"})

    @property
    def fidelity(self) -> Fidelity:
        """How a proxy is trained."""
        return Fidelity(self.recipe, self.study.proxy_clip(), self.study.spec.proxy.width)

    def work(self, networks: Sequence[Architecture], clips: int, videos: int) -> float:
        """About what a training of one of ``networks`` takes, up to a constant: multiply-adds of all forward passes.

        ``clips`` are the study's training clips, ``videos`` those of validation. A backward pass counts for two.
        """
        shape, recipe = self.study.proxy_clip(), self.recipe
        passes = 3 * self.share * clips * recipe.epochs + videos * recipe.video_clips
        macs = [network_cost(a.scaled(self.study.spec.proxy.width), shape, 1).total.macs for a in networks]
        return passes * sum(macs) / max(1, len(macs))

    def part(self, number: int) -> str:
        """Name of a round of it, from 0, in plans."""
        data = self.study.spec.data.model_dump()
        key = json.dumps([self.fidelity.as_dict(), {name: data.get(name) for name in CLIPS}], sort_keys=True)
        return f"{CALIBRATE}#{hashlib.sha256(key.encode()).hexdigest()[:8]}.{number}"


@dataclass(frozen=True)
class Calibration:
    """A calibration before it is run."""

    ways: tuple[Way, ...]
    """the study's own first, the longest second, then the others from cheap to dear as far as one can say"""
    networks: tuple[tuple[str, str], ...]
    """architecture's id and name, from cheap to dear"""
    rounds: int
    seed: int
    data: ClipData
    """the study's own"""

    @property
    def own(self) -> Study:
        """The study as it is."""
        return self.ways[0].study

    def works(self, heats: Sequence[tuple[Way, int]]) -> tuple[Work, ...]:
        """The trainings of ``heats``, each a way and its round."""
        return tuple(Work(way.part(number), *network) for way, number in heats for network in self.networks)

    def plan(self, heats: Sequence[tuple[Way, int]], until: float | None = None) -> Plan:
        """To train ``heats``, in order, or to see what there is of them; ``until`` as in ``Plan``."""
        study = self.own
        parts = {way.part(number): way for way, number in heats}
        return Plan(
            study=study.name,
            storage=study.storage_url,
            fidelities={part: way.fidelity for part, way in parts.items()},
            work=self.works(heats),
            data=study.spec.data,
            data_fingerprint=self.data.fingerprint,
            searched_clip=study.proxy_clip(),
            seed=self.seed,
            device=study.spec.engine.device,
            plugins=(tuple(study.space.plugins), study.space.folder),
            other_data={
                part: (way.study.spec.data, _clips_of(way.study))
                for part, way in parts.items()
                if _clips_of(way.study) != _clips_of(study)
            },
            until=until,
            checkpoint_s=study.spec.engine.checkpoint_s,
        )

    @property
    def everything(self) -> list[tuple[Way, int]]:
        """All rounds of all ways."""
        return [(way, number) for number in range(self.rounds) for way in self.ways]


def _clips_of(study: Study) -> str:
    data = study.spec.data.model_dump()
    return ", ".join(f"{name}={data[name]}" for name in CLIPS if name in data)


def keep(url: str, companions: Mapping[str, Mapping[str, Any]]) -> None:
    """Keep what was found of proxies in the storage ``url``, by the names of the companions that hold it.

    The date of what is kept already stays where nothing else has changed.
    """
    if not companions:
        return
    with storage_errors(url):
        storage = open_storage(url)
        known = {study.study_name: study.user_attrs.get(CALIBRATED) for study in storage.get_all_studies()}
        for name, value in companions.items():
            if _but_date(known.get(name)) == _but_date(value):
                continue
            study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
            study.set_user_attr(CALIBRATED, plain(value))


def _but_date(value: Mapping[str, Any] | None) -> Any:
    return None if value is None else plain({**value, "found": {**value["found"], "date": ""}})


def calibration_of(
    name: str,
    overrides: Sequence[str],
    storage: str | None,
    asked: Sequence[str],
    networks: int,
    rounds: int,
    seed: int,
    progress: Progress,
) -> Calibration:
    """What is to be tried for the study ``name``; ``asked`` are ways, each ``key=value`` with blanks between.

    Raises ``UserError`` for a study that trains nothing, for keys that a way cannot have, and for a space with too few
    networks.
    """
    bare = _trained(load_study(name, overrides, storage))
    already = _identity(bare)
    load = _loader(name, overrides, storage, already)
    for text in asked:  # faults before any clip is read
        _check(text)
        load(tuple(text.split()))
    study, opened = load(()), open_data(bare.spec.data)
    clip = study.proxy_clip()
    check_budget(study, len(opened.classes))
    chosen = networks_of(study, len(opened.classes), networks, seed)
    data = opened.load(clip.frames, clip.height, progress)
    study = fitted(study, data) if already else settled(fitted(study, data), data, progress)
    length = study.spec.evaluate.length
    said: tuple[str, ...] = () if _says_length(study) else (_length(study, length),)
    if (precision := study.spec.evaluate.precision) != "auto":
        said += (f"evaluate.precision={precision}",)

    def way(role: Role, changes: tuple[str, ...], label: str = "") -> Way:
        own = role == "own"
        if any(change.startswith("data.") for change in changes) and not any(map(_is_length, changes)):
            changes = (*changes, _length(study, length))  # else it would be chosen for so many clips
        changed = study if own else load((*said, *changes))
        return Way(label or ", ".join(map(_words, changes)), role, changes, changed, _share(changed, study))

    longest = way("longest", (_length(study, LONGER * length),), f"epochs {LONGER * length}, longest")
    others = [tuple(text.split()) for text in asked] or [one for one in _variations(study) if _allowed(load, one)]
    chosen_ways = [way("own", (), "study's own"), longest, *(way("other", changes) for changes in others)]
    return Calibration(_ordered(chosen_ways, chosen, data), chosen_names(chosen), rounds, seed, data)


def chosen_names(networks: Sequence[Architecture]) -> tuple[tuple[str, str], ...]:
    """Ids and names."""
    return tuple((architecture.id, name_of(architecture)) for architecture in networks)


def _ordered(ways: Sequence[Way], networks: Sequence[Architecture], data: ClipData) -> tuple[Way, ...]:
    """Own and longest first, then from cheap to dear; none twice."""
    size = len(data.splits["train"]), len(data.splits["val"])
    others = sorted(ways[2:], key=lambda way: way.work(networks, *size))
    found: dict[str, Way] = {}
    for way in (*ways[:2], *others):
        found.setdefault(way.part(0), way)
    return tuple(found.values())


def _loader(
    name: str, overrides: Sequence[str], storage: str | None, already: Mapping[str, Any] | None
) -> Callable[[tuple[str, ...]], Study]:
    """The study with changes to its file, with the recipe that it was begun with where the file does not say it."""
    return lambda changes: _trained(as_begun_with(load_study(name, [*overrides, *changes], storage), already))


def _trained(study: Study) -> Study:
    """``UserError`` for a study that is not evaluated by training."""
    if not isinstance(study.spec.evaluate, TrainRecipe | HalvingRecipe):
        given = study.spec.evaluate.name
        raise UserError(
            f"a calibration compares trainings: evaluate.name is train or halving; the study {study.name!r} has {given}"
        )
    return study


def _identity(study: Study) -> dict[str, Any] | None:
    if not exists(study.storage_url):
        return None
    with opening(study.storage_url):
        return stored_identity(open_storage(study.storage_url, to_write=False), study)


def _check(text: str) -> None:
    """``UserError`` where ``--try`` says what is no way to train."""
    if not text.split():
        raise UserError("--try: takes key=value, as in --try 'proxy.frames=4 evaluate.epochs=3'; given an empty text")
    for change in text.split():
        key = change.partition("=")[0]
        section, _, rest = key.partition(".")
        inside = section in _SECTIONS and bool(rest) and (section != "data" or rest in CLIPS)
        if "=" not in change or not inside or key in _FIXED:
            raise UserError(
                f"--try: a way to train is given by keys of proxy, of evaluate (but {', '.join(_FIXED)}), data.clips "
                f"or data.fraction, as in --try 'proxy.frames=4 evaluate.epochs=3'; given {change!r}"
            )


def _says_length(study: Study) -> bool:
    return ("rungs" if study.halving else "epochs") in study.said


def _length(study: Study, epochs: int) -> str:
    """The setting that trains for so many epochs: rungs are scaled."""
    if (halving := study.halving) is None:
        return f"evaluate.epochs={epochs}"
    rungs = sorted({max(1, round(rung * epochs / halving.length)) for rung in halving.rungs} | {epochs})
    return f"evaluate.rungs={rungs if len(rungs) > 1 else [*rungs, rungs[0] + 1]}".replace(" ", "")


def _allowed(load: Callable[[tuple[str, ...]], Study], changes: tuple[str, ...]) -> bool:
    """Whether the study can have these settings, as data of an odd number of clips or an input too small may not."""
    try:
        load(changes)
    except UserError:
        return False
    return True


def _is_length(change: str) -> bool:
    return change.startswith(("evaluate.epochs=", "evaluate.rungs="))


def _words(change: str) -> str:
    """``frames 4`` of ``proxy.frames=4``."""
    key, _, value = change.partition("=")
    return f"{key.rpartition('.')[2]} {value}"


def _share(changed: Study, own: Study) -> float:
    """Training clips of ``changed`` in units of those of ``own``, by what their data sections say."""
    one, other = (study.spec.data.model_dump() for study in (changed, own))
    return float(next((one[name] / other[name] for name in CLIPS if one.get(name) and other.get(name)), 1.0))


def _variations(study: Study) -> Iterator[tuple[str, ...]]:
    """One thing changed at a time: cheaper by about a half, or dearer up to the target; and other learning rates."""
    clip, target, width = study.proxy_clip(), study.target_clip(), study.spec.proxy.width
    recipe, length = study.spec.evaluate, study.spec.evaluate.length
    if length > 1:
        yield (_length(study, -(-length // 2)),)
    frames = [clip.frames // 2, *([2 * clip.frames] if 2 * clip.frames <= target.frames else [])]
    yield from ((f"proxy.frames={count}",) for count in frames if count > 1)
    sizes = [max(SMALLEST_SIZE, 2 * clip.height // 3), min(3 * clip.height // 2, target.height)]
    yield from ((f"proxy.size={size}",) for size in sizes if size != clip.height)
    yield from ((f"proxy.width={wide:g}",) for wide in (width / 2, 2 * width) if NARROWEST <= wide <= 1)
    data = study.spec.data.model_dump()
    if "clips" in data:
        yield (f"data.clips={2 * max(1, data['clips'] // 4)}",)
    elif "fraction" in data:
        yield (f"data.fraction={data['fraction'] / 2:g}",)
    yield from ((f"evaluate.lr={rate:g}",) for rate in (recipe.lr / 2, 2 * recipe.lr) if rate <= 100)


def networks_of(study: Study, classes: int, count: int, seed: int) -> list[Architecture]:
    """``count`` networks of the study's space that keep its budget, cheap to dear: the paper's, then others."""
    classes = study.spec.target.classes or classes

    def cost(architecture: Architecture) -> float:
        return network_cost(architecture, study.target_clip(), classes).total.macs

    def kept(architecture: Architecture) -> bool:
        total = network_cost(architecture, study.target_clip(), classes).total
        return all(COSTS[name](total) <= cap for name, cap in study.hard_budget().items())

    paper = sorted((a for a in NETWORKS.values() if a in study.space and kept(a)), key=cost)
    if len(paper) >= count:
        return _spread(paper, count)
    drawn = [a for a in _drawn(study, seed) if a not in paper and kept(a)]
    found = sorted([*paper, *_spread(sorted(drawn, key=cost), count - len(paper))], key=cost)
    if len(found) < LEAST_FOR_INTERVAL:
        raise UserError(
            f"a calibration needs at least {LEAST_FOR_INTERVAL} networks; of the space {study.space.name!r} "
            f"{len(found)} that keep the budget were found"
        )
    return found


def _drawn(study: Study, seed: int) -> list[Architecture]:
    """Distinct networks of the space, all of a small one."""
    size = study.space.size
    if size <= _DRAWS:
        return list(study.space.enumerate())
    generator = random.Random(seed)  # noqa: S311 - not for secrets
    return [study.space.architecture(index) for index in sorted({generator.randrange(size) for _ in range(_DRAWS)})]


def _spread(ordered: Sequence[Architecture], count: int) -> list[Architecture]:
    """``count`` of them, evenly from the first to the last."""
    if len(ordered) <= count:
        return list(ordered)
    return [ordered[round(k * (len(ordered) - 1) / max(1, count - 1))] for k in range(count)]


def found_of(calibration: Calibration) -> Found:
    """The trainings of a calibration that its storage has."""
    url = calibration.own.storage_url
    if not exists(url):
        check_place(url)
        return Found({}, {})
    with storage_errors(url):
        return Audit(calibration.plan(calibration.everything), to_write=False).found()
