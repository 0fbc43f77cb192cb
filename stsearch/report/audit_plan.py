"""What an audit trains: which networks of a study, at which fidelity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from stsearch.data.sources import DATASETS
from stsearch.errors import UserError
from stsearch.evaluate.recipe import TrainRecipe
from stsearch.profiling.device import choose_device
from stsearch.report.learning_text import TIMES
from stsearch.report.pareto import Pareto
from stsearch.schema import validate
from stsearch.search.attributes import SPEC
from stsearch.search.audit import AUDIT, RETEST, Fidelity, Plan, Work, works
from stsearch.search.engines import Engine
from stsearch.search.metrics import QUALITIES
from stsearch.search.overrides import apply_overrides
from stsearch.search.reading import Record, StoredStudy
from stsearch.search.spec import Proxy
from stsearch.space.blueprint import ClipShape
from stsearch.stats.agreement import LEAST, stratified

NETWORKS = 24
"""audited by default"""
Why = Literal["front", "paper", "drawn"]
_SECTIONS = ("evaluate", "proxy", "engine")


@dataclass(frozen=True)
class Chosen:
    """A network to audit."""

    record: Record
    why: Why


@dataclass(frozen=True)
class Sample:
    """The networks to audit and what they are out of."""

    networks: tuple[Chosen, ...]
    trained: int
    """networks of the study, references included"""

    def count(self, why: Why) -> int:
        """Networks for one reason."""
        return sum(chosen.why == why for chosen in self.networks)


def sample(stored: StoredStudy, pareto: Pareto, networks: int, seed: int) -> Sample:
    """The front and the paper's networks, then others spread over cost and quality up to ``networks``.

    ``UserError`` where the study has too few networks.
    """
    front = {record.architecture: Chosen(record, "front") for record in pareto.front}
    paper = {r.architecture: Chosen(r, "paper") for r in pareto.references if r.architecture not in front}
    always = {**front, **paper}
    others = [r for r in (*pareto.front, *pareto.dominated) if r.architecture not in always]
    trained = len(always) + len(others)
    if trained < LEAST:
        raise UserError(f"an audit needs at least {LEAST} trained networks; the study {stored.name!r} has {trained}")
    quality = _quality(stored)
    figures = np.array([[r.metrics["gmacs"], r.metrics[quality]] for r in others], dtype=np.float64).reshape(-1, 2)
    drawn = stratified(figures[:, 0], figures[:, 1], networks - len(always), np.random.default_rng(seed))
    chosen = [*always.values(), *(Chosen(others[number], "drawn") for number in drawn)]
    return Sample(tuple(sorted(chosen, key=lambda c: (c.record.metrics["gmacs"], c.record.architecture))), trained)


def _quality(stored: StoredStudy) -> str:
    return next((name for name in stored.objectives if name in QUALITIES), "video_top1")


def _audit_recipe(searched: Mapping[str, Any]) -> dict[str, Any]:
    """The search's recipe at its top rung, or for three times its epochs; once, without traces."""
    recipe = {name: value for name, value in searched.items() if name in TrainRecipe.model_fields}
    recipe |= {"name": "train", "repeats": 1, "trace": "none"}
    if searched.get("rungs"):
        recipe["epochs"] = searched["rungs"][-1]
    elif "epochs" in searched:
        recipe["epochs"] = TIMES * searched["epochs"]
    return recipe


def fidelities(
    stored: StoredStudy, overrides: Sequence[str], retest: bool | None
) -> tuple[dict[str, Fidelity], Engine]:
    """What is trained, by part, and on what; ``overrides`` are of ``evaluate``, ``proxy`` and ``engine``.

    ``retest`` is on by default where the search trained each network once: without a repeat nobody
    knows what its accuracies vary by.
    """
    resolved, source = stored.resolved, f"audit of {stored.name}"
    clip, width = stored.proxy_clip, stored.identity["proxy"]["width"]
    asked = {
        "evaluate": _audit_recipe(resolved["evaluate"]),
        "proxy": {"frames": clip.frames, "size": clip.height, "width": width},
        "engine": _here(resolved["engine"]),
    }
    apply_overrides(asked, overrides)
    if others := sorted(set(asked) - set(_SECTIONS)):
        raise UserError(f"--set of {', '.join(others)}: an audit changes {', '.join(_SECTIONS)} alone")
    recipe = validate(TrainRecipe, asked["evaluate"], f"{source}, evaluate")
    proxy = validate(Proxy, asked["proxy"], f"{source}, proxy")
    engine = validate(Engine, asked["engine"], f"{source}, engine")
    choose_device(engine.device, "engine.device")
    size = proxy.size or clip.height
    shape = ClipShape(clip.channels, proxy.frames or clip.frames, size, size)
    found = {AUDIT: Fidelity(recipe, shape, proxy.width)}
    plain = resolved["evaluate"]["name"] == "train"
    if retest and not plain:
        raise UserError("--retest: the study was not evaluated by plain training")
    if retest or (retest is None and plain and resolved["evaluate"]["repeats"] == 1):
        once = {**resolved["evaluate"], "repeats": 1, "trace": "none"}
        found[RETEST] = Fidelity(validate(TrainRecipe, once, source), clip, width)
    return found, engine


def _here(engine: Mapping[str, Any]) -> dict[str, Any]:
    """The study's engine, or as much of it as is of any: an audit works where it is started."""
    if engine["name"] == "local":
        return dict(engine)
    return {key: value for key, value in engine.items() if key in ("threads", "device", "checkpoint_s")}


def plan(stored: StoredStudy, chosen: Sample, parts: Mapping[str, Fidelity], engine: Engine, seed: int) -> Plan:
    """The audit of ``chosen``: at the higher fidelity first, so that an early stop leaves what matters most."""
    data = stored.resolved["data"]
    networks = [(c.record.architecture, c.record.network) for c in chosen.networks]
    work: tuple[Work, ...] = ()
    for part in parts:
        work += works(part, networks)
    space = stored.user_attributes[SPEC]["space"]
    return Plan(
        study=stored.name,
        storage=stored.url,
        fidelities=dict(parts),
        work=work,
        data=validate(DATASETS[data["name"]].recipe, data, f"data of {stored.name}"),
        data_fingerprint=stored.identity["data_fingerprint"],
        searched_clip=stored.proxy_clip,
        seed=seed,
        device=engine.device,
        plugins=(tuple(space["plugins"]), space["folder"]),
        checkpoint_s=engine.checkpoint_s,
    )
