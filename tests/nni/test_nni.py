"""The bridge to NNI against NNI itself: samples, counts, networks, strategies, supernets. Runs with `make test-nni`."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("nni") is None:
    pytest.skip("NNI is not installed here; `make test-nni` has it in a layer of its own", allow_module_level=True)

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.random import RandomState
from torch import nn

from stsearch.data.sources import DATASETS, open_data
from stsearch.data.videos import ClipData
from stsearch.errors import UserError
from stsearch.evaluate.oneshot import OneShotRecipe
from stsearch.evaluate.train import EvaluationFailed
from stsearch.nets.build import Residual
from stsearch.nni import profile
from stsearch.nni.lightning import interruptible
from stsearch.nni.oneshot import Supernet, halves, inherited, train_supernet
from stsearch.nni.profile import FORMULAS, NniProfiler, three_counts
from stsearch.nni.spaces import SpaceNet, to_architecture, to_model_space, to_sample
from stsearch.nni.strategies import Proposer
from stsearch.resources import find, names
from stsearch.schema import parse_yaml
from stsearch.search import oneshot
from stsearch.search.nni_sampler import NNI_SAMPLERS
from stsearch.search.samplers import HardBudget
from stsearch.search.spec import study_from_data
from stsearch.space.blueprint import ClipShape
from stsearch.space.cost import network_cost
from stsearch.space.kinds import KINDS, kind
from stsearch.space.ops import Act, Conv, Norm, Ops
from stsearch.space.published import NETWORKS
from stsearch.space.search_space import SearchSpace, load_space, space_from_data
from stsearch.space.table import CostTable
from tests.cli.test_cli import answer
from tests.conftest import ROOT, Cli
from tests.search.test_samplers import architectures, searched

CPU = torch.device("cpu")
CLIP = ClipShape(3, 8, 32, 32)
TINY_CLIP = ClipShape(3, 4, 16, 16)

if "test_dw3d" not in KINDS:

    @kind("test_dw3d")
    def _depthwise(c_in: int, c_out: int, stride: int) -> Ops:
        return (
            Conv(c_in, c_in, (3, 3, 3), (stride, stride, stride), (1, 1, 1), groups=c_in),
            Norm(c_in),
            Act(),
            Conv(c_in, c_out, (1, 1, 1)),
        )


def _stages(kinds: list[str], depth: Any) -> dict[str, Any]:
    return {f"conv{n}_x": {"kind": kinds, "depth": depth} for n in (2, 3, 4, 5)}


OWN: dict[str, dict[str, Any]] = {
    "widths": {"width": [0.125, 0.25], "stem": {"kind": ["2d", "3d"]}, "stages": _stages(["2d", "2plus1d"], [1, 3])},
    "plugin": {"width": 0.125, "stem": {"kind": "2d"}, "stages": _stages(["2d", "test_dw3d"], 2)},
    "one": {"width": 0.125, "stem": {"kind": "3d"}, "stages": _stages(["3d"], 1)},
    "blocks": {
        "width": 0.125, "granularity": "block", "block": "bottleneck",
        "stem": {"kind": ["2d", "2plus1d"]}, "stages": _stages(["2d", "3d"], [1, 2]),
    },
}  # fmt: skip
"""Several widths and depths with a gap, a plug-in kind, nothing to choose, bottleneck blocks with a kind each."""
SPACES = [*names("search_spaces"), *OWN]


@lru_cache
def space_of(name: str) -> SearchSpace:
    return space_from_data({"name": name, **OWN[name]}) if name in OWN else load_space(find("search_spaces", name))


@lru_cache
def net_of(name: str) -> SpaceNet:
    with torch.device("meta"):
        return to_model_space(space_of(name), CLIP, 4)


# Spaces -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(SPACES), st.integers(0, 10**12))
def test_an_architecture_is_a_sample_and_back(name: str, number: int) -> None:
    space, net = space_of(name), net_of(name)
    architecture = space.architecture(number % space.size)
    sample = to_sample(space, architecture)
    assert to_architecture(space, sample) == architecture
    assert set(sample) == set(net.simplify())
    assert net.check_contains(sample) is None


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(SPACES), st.integers(0, 2**32 - 1))
def test_a_sample_is_an_architecture_and_back(name: str, seed: int) -> None:
    space, rng = space_of(name), RandomState(seed)
    sample = {label: choice.random(random_state=rng) for label, choice in net_of(name).simplify().items()}
    architecture = to_architecture(space, sample)
    assert architecture in space
    again = to_sample(space, architecture)
    assert to_architecture(space, again) == architecture
    if not any(stage.per_block for stage in space.stages):  # else kinds beyond the depth mean nothing
        assert again == sample


def test_the_choices_are_those_of_the_space() -> None:
    found = {label: list(choice.values) for label, choice in net_of("r18").simplify().items()}
    kinds = ["2d", "3d", "2plus1d"]
    stages = {f"conv{n}_x:{what}": v for n in (2, 3, 4, 5) for what, v in (("kind", kinds), ("depth", [1, 2, 3]))}
    assert found == {"stem": kinds, **stages}
    assert list(net_of("widths").simplify()["width"].values) == ["w0_125", "w0_25"]
    assert not net_of("one").simplify()


@pytest.mark.parametrize(
    ("sample", "said"), [({}, "has no 'stem'"), ({"stem": "4d"}, "stem is one of 2d, 3d, 2plus1d; given '4d'")]
)
def test_a_sample_that_is_none(sample: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        to_architecture(space_of("r18"), sample)


@pytest.mark.parametrize("name", SPACES)
def test_the_frozen_network_is_ours(name: str) -> None:
    """NNI's network of a sample and ours, fed with the same weights, give the same logits."""
    space = replace(space_of(name), widths=tuple(0.125 * (n + 1) for n in range(len(space_of(name).widths))))
    net = to_model_space(space, TINY_CLIP, 3, generator=torch.Generator().manual_seed(0))
    for number in (0, space.size - 1, space.size // 3):
        architecture = space.architecture(number)
        frozen = net.freeze(to_sample(space, architecture)).eval()
        own = inherited(space, net.state_dict(), architecture, TINY_CLIP, 3).eval()
        clips = torch.randn(2, *TINY_CLIP.sizes)
        assert torch.equal(frozen(clips), own(clips))
        assert sum(p.numel() for p in own.parameters()) == network_cost(architecture, TINY_CLIP, 3).total.params


def test_a_kind_that_nni_cannot_name() -> None:
    space = replace(space_of("one"), stems=("forward",))
    with pytest.raises(UserError, match="kind named forward"):
        to_model_space(space, CLIP, 2)


# Counting ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["r18", "blockwise-18"])
def test_three_counts_are_one_number(name: str) -> None:
    counts = list(three_counts(space_of(name), ClipShape(), 400, 200, seed=0))
    assert len({count.network for count in counts}) == 200
    assert [count for count in counts if not count.agree] == []
    assert len({count.nni for count in counts}) > 150, "networks that differ cost differently"


@pytest.mark.parametrize("name", [name for name in SPACES if name not in ("r18", "blockwise-18")])
@pytest.mark.parametrize("clip", [CLIP, ClipShape(2, 5, 33, 41)], ids=str)
def test_the_counts_agree_in_all_spaces_and_on_odd_clips(name: str, clip: ClipShape) -> None:
    counts = list(three_counts(space_of(name), clip, 7, 2, seed=1))
    assert counts
    assert [count for count in counts if not count.agree] == []


def test_a_network_of_another_space_is_not_counted() -> None:
    with pytest.raises(UserError, match="does not contain"):
        NniProfiler(space_of("paper-18"), CLIP, 4).macs(NETWORKS["R3D-34"])


LAYERS: list[Callable[[], nn.Module]] = [
    lambda: nn.Conv3d(4, 6, (3, 1, 5), (2, 1, 3), (1, 0, 2)),
    lambda: nn.Conv3d(4, 4, 3, padding=2, dilation=2, groups=2),
    lambda: nn.Conv3d(4, 4, (1, 3, 3), padding=(0, 1, 1)),
    lambda: nn.BatchNorm3d(4),
    lambda: nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
    lambda: nn.MaxPool3d(2),
    lambda: nn.AvgPool3d((2, 3, 3), 2, (1, 1, 0)),
    lambda: nn.AdaptiveAvgPool3d((None, 2, 1)),
    lambda: nn.AdaptiveAvgPool3d(1),
    lambda: nn.AdaptiveMaxPool3d(2),
    lambda: nn.Flatten(1),
    lambda: nn.Flatten(2, 3),
]


class _Known:
    def __init__(self, *shape: int) -> None:
        self.real_shape = list(shape)


@pytest.mark.parametrize("make", LAYERS, ids=lambda make: repr(make()))
def test_a_shape_formula_says_what_torch_does(make: Callable[[], nn.Module]) -> None:
    layer = make()
    for shape in ((2, 4, 8, 16, 17), (1, 4, 7, 9, 12)):
        found = FORMULAS[type(layer)](layer, _Known(*shape))  # type: ignore[operator]
        assert tuple(found) == tuple(layer(torch.zeros(shape)).shape)


def test_check_on_the_command_line() -> None:
    code, said = answer("space", "paper-18", "--check", "nni", "--networks", "3", "--frames", "8", "--size", "32")
    assert code == 0
    assert "FlopCounterMode / 2 on 3 of 3 networks" in said
    code, said = answer("space", "paper-18", "--check", "nni", "--networks", "3", "--format", "json")
    found = json.loads(said)["check"]
    assert (found["networks"], found["agree"]) == (3, 3)
    assert {tuple(count) for count in found["counts"]} == {("network", "nni", "closed_form", "flop_counter", "agree")}
    assert all(count["nni"] == count["closed_form"] == count["flop_counter"] > 0 for count in found["counts"])


def test_a_count_that_differs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "counted_flops", lambda *_: 2)
    code, said = answer("space", "paper-18", "--check", "nni", "--networks", "3")
    assert (code, said) == (1, "the three counts differ on 3 of 3 networks")


# Strategies -------------------------------------------------------------------------------


def test_evolution_proposes_children_of_the_best() -> None:
    space = space_of("r18")
    best = NETWORKS["R3D-18"]
    others = [space.architecture(number) for number in random.Random(0).sample(range(space.size), 7)]
    population = [(architecture, 0.0) for architecture in others] + [(best, 1.0)]
    changed = []
    for seed in range(40):
        proposer = Proposer("regularized-evolution", space, seed=seed, population_size=8)
        child = space.encode(proposer.propose(population))
        changed.append(min(_differ(child, space.encode(a)) for a, _ in population))
    assert sum(changed) / 40 < 2.0, "about one decision is drawn anew"
    whole = Proposer("regularized-evolution", space, seed=0, population_size=8)
    whole._strategy.sample_size = 8
    near = [_differ(space.encode(whole.propose(population)), space.encode(best)) for _ in range(40)]
    assert max(near) <= 5, "a tournament of all is won by the best"
    assert Proposer("regularized-evolution", space, seed=3, population_size=8).propose([]) in space


def _differ(one: dict[str, Any], other: dict[str, Any]) -> int:
    return sum(one[name] != other[name] for name in one)


@pytest.mark.parametrize("name", NNI_SAMPLERS)
def test_budget_and_uniqueness_are_ours(name: str) -> None:
    space = space_of("paper-18")
    sampler = HardBudget(name, CostTable(space, CLIP, 4), {"gmacs": 1.3}, seed=1, trials=40)
    study = searched(sampler, 40)
    found = architectures(study)
    assert len(set(found)) == 40
    assert all(trial.values[1] <= 1.3 for trial in study.trials)
    again = HardBudget(name, CostTable(space, CLIP, 4), {"gmacs": 1.3}, seed=1, trials=40)
    assert architectures(searched(again, 10)) == found[:10], "a function of seed and history"
    other = HardBudget(name, CostTable(space, CLIP, 4), {"gmacs": 1.3}, seed=2, trials=40)
    assert architectures(searched(other, 10)) != found[:10]


@pytest.mark.parametrize("name", NNI_SAMPLERS)
def test_a_budget_is_used_up(name: str) -> None:
    sampler = HardBudget(name, CostTable(space_of("paper-18"), CLIP, 4), {"gmacs": 1.02}, seed=0, trials=99)
    assert sampler.feasible is not None
    study = searched(sampler, sampler.feasible)
    assert len(set(architectures(study))) == sampler.feasible
    assert not sampler.left(study.trials)


def test_evolution_finds_more_than_chance() -> None:
    """Made-up accuracy: 3D anywhere helps. The last half of 120 evolved networks beats that of random ones."""

    def late(name: str) -> float:
        sampler = HardBudget(name, CostTable(space_of("r18"), CLIP, 4), {}, seed=0, trials=120)
        values = [trial.values[0] for trial in searched(sampler, 120, ("maximize",)).trials]
        return float(sum(values[60:]) / 60)

    assert late("nni-regularized-evolution") > late("nni-random") + 4, "half a decision of 8 each"


# One-shot ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClipData]:
    before = os.environ.get("STSEARCH_CACHE")
    os.environ["STSEARCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    motions: dict[str, Any] = {"name": "motions", "classes": 2, "clips": 96, "val_clips": 40}
    recipe = DATASETS["motions"].recipe(**motions)
    yield open_data(recipe).load(TINY_CLIP.frames, TINY_CLIP.height, lambda *_: None)
    if before is None:
        del os.environ["STSEARCH_CACHE"]
    else:
        os.environ["STSEARCH_CACHE"] = before


def trained(data: ClipData, strategy: str, name: str = "blockwise-18", **settings: Any) -> Supernet:
    recipe = OneShotRecipe(strategy=strategy, **{"epochs": 2, "lr": 0.05, "arc_lr": 0.05, **settings})  # type: ignore[arg-type]
    space = space_of(name) if name in OWN else space_of(name).scaled(0.125)
    return train_supernet(space, TINY_CLIP, data, recipe, seed=5, device=CPU)


@pytest.mark.parametrize("strategy", ["random", "darts"])
def test_a_supernet_is_a_function_of_its_seed(data: ClipData, strategy: str) -> None:
    once, again = trained(data, strategy), trained(data, strategy)
    assert once.losses == again.losses
    assert all(torch.equal(once.state[name], again.state[name]) for name in once.state)
    assert once.probabilities == again.probabilities
    architecture = once.space.architecture(77)
    assert once.accuracy(architecture, data, CPU) == again.accuracy(architecture, data, CPU)


@pytest.mark.parametrize("strategy", ["random", "darts"])
@pytest.mark.parametrize("name", ["r18", "widths", "plugin", "blocks"])
def test_any_space_is_a_supernet(data: ClipData, strategy: str, name: str) -> None:
    """Kinds that stride time differently, depths, widths, plug-ins and bottlenecks: all train, all give networks."""
    supernet = trained(data, strategy, name, epochs=1)
    before = to_model_space(supernet.space, TINY_CLIP, 2, generator=torch.Generator().manual_seed(5)).state_dict()
    assert set(supernet.state) == set(before)
    moved = [name for name in before if name.endswith("weight") and not torch.equal(before[name], supernet.state[name])]
    share = len(moved) / sum(name.endswith("weight") for name in before)
    assert share > (0.9 if strategy == "darts" else 0.4), "one path per step of eight, or all of them"
    scores = supernet.scores(supernet.space.architecture(supernet.space.size - 1), data, CPU)
    assert 0 <= scores["video_top1"] <= 100
    assert sum(count for *_, count in scores["confusion"]) == 40
    if strategy == "darts":
        assert supernet.favourite in supernet.space
        assert set(supernet.probabilities) == set(to_sample(supernet.space, supernet.space.architecture(0)))
        assert all(abs(sum(shares.values()) - 1) < 1e-5 for shares in supernet.probabilities.values())
        assert any(len(set(shares.values())) > 1 for shares in supernet.probabilities.values())
    else:
        assert supernet.favourite is None


def test_networks_of_a_supernet_learn(data: ClipData) -> None:
    supernet = trained(data, "random", "one", epochs=12)
    assert supernet.losses[-1] < 0.6 * supernet.losses[0]
    assert supernet.accuracy(supernet.space.architecture(0), data, CPU) > 70


def test_inherited_weights_need_their_own_statistics(data: ClipData) -> None:
    """BatchNorm's statistics after ``scores`` are those of the network, not of the mixture."""
    supernet = trained(data, "random")
    architecture = supernet.space.architecture(9)
    network = supernet.network(architecture)
    mixed = network.state_dict()["stages.conv5_x.1.main.1.running_mean"].clone()
    from stsearch.nni.oneshot import clip_top1

    clip_top1(network, data, supernet.recipe, TINY_CLIP, CPU)
    own = network.state_dict()["stages.conv5_x.1.main.1.running_mean"]
    assert not torch.allclose(mixed, own)
    assert all(layer.momentum == 0.1 for layer in network.modules() if isinstance(layer, nn.BatchNorm3d))
    assert isinstance(network.stages["conv5_x"][1], Residual)  # type: ignore[index]


def test_darts_learns_weights_and_shares_on_different_videos(data: ClipData) -> None:
    one, other = halves(data, torch.Generator().manual_seed(0))
    first, second = (set(half.splits["train"].starts.tolist()) for half in (one, other))
    assert not first & second
    assert first | second == set(data.splits["train"].starts.tolist())
    assert one.splits["val"] is data.splits["val"]


def test_a_supernet_that_diverges(data: ClipData) -> None:
    with pytest.raises(EvaluationFailed, match="not finite"):
        trained(data, "random", lr=100.0, warmup=0.0, momentum=0.99, epochs=4, precision="fp32", weight_decay=1.0)


def test_ctrl_c_is_ctrl_c(data: ClipData) -> None:
    """Lightning would turn it into exit code 1 and stay deaf to the next one."""
    handler = signal.getsignal(signal.SIGINT)
    threading.Timer(2.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    begun = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        trained(data, "random", epochs=1000)
    assert time.perf_counter() - begun < 60
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize("wish", [signal.SIG_IGN, None], ids=["deaf", "as before"])
def test_a_handler_has_its_way(wish: Any) -> None:
    """A worker's handler ignores what follows the first Ctrl-C; Lightning must not change that."""

    def handler(number: int, frame: Any) -> None:
        if wish is not None:
            signal.signal(signal.SIGINT, wish)
        raise KeyboardInterrupt

    def as_lightning_does() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            sys.exit(1)

    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(KeyboardInterrupt), interruptible():
            as_lightning_does()
        assert signal.getsignal(signal.SIGINT) is (handler if wish is None else wish)
    finally:
        signal.signal(signal.SIGINT, before)


STUDY = """\
space: r18
target: {frames: 8, size: 32}
proxy: {frames: 4, size: 16, width: 0.125}
data: {name: motions, classes: 2, clips: 48, val_clips: 20}
budget: {gmacs: 1.5}
evaluate: {name: train, epochs: 1, batch: 12}
search: {sampler: random, trials: 10, start_with: none}
engine: {workers: 1}
"""
RUNS = {
    "nni-random": ["search.sampler=nni-random"],
    "nni-regularized-evolution": ["search.sampler=nni-regularized-evolution"],
    "random-one-shot": ["evaluate={name: nni-oneshot, epochs: 2, batch: 12}"],
    "darts": ["evaluate={name: nni-oneshot, strategy: darts, epochs: 2, batch: 12}"],
}


def ran(tmp_path: Path, *settings: str) -> dict[str, Any]:
    (tmp_path / "small.yaml").write_text(STUDY)
    code, said = answer("run", "small.yaml", "--quiet", "--format", "json", *(f"--set={text}" for text in settings))
    assert code == 0, said
    result: dict[str, Any] = json.loads(said)
    return result


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_study_with_each_strategy_comes_to_a_front(name: str, tmp_path: Path) -> None:
    result = ran(tmp_path, *RUNS[name])
    assert (result["trained"], result["failed"]) == (10, 0)
    assert result["front"]
    assert all(network["gmacs"] <= 1.5 for network in result["front"])
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "supernets").glob("*.pt")}
    assert len(kept) == (name in ("random-one-shot", "darts"))
    oneshot._loaded.cache_clear()  # as another process
    assert ran(tmp_path, *RUNS[name], "search.trials=12")["trained"] == 12
    assert kept == {path: path.stat().st_mtime_ns for path in kept}, "a supernet is trained once"


@pytest.mark.slow
def test_workers_share_a_supernet_and_networks_outside_it_fail_alone(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "small.yaml").write_text(STUDY)
    settings = [*RUNS["random-one-shot"], "engine.workers=2", "search.start_with=paper"]
    done = cli("run", "small.yaml", *(f"--set={text}" for text in settings), "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trained"] == 10
    assert len(list((tmp_path / "cache" / "supernets").iterdir())) == 1
    assert "no supernet of 'r18' holds a network outside that space" in done.stderr
    code, said = answer("report", "small")
    assert code == 0, said


def test_a_damaged_supernet_is_trained_again(tmp_path: Path) -> None:
    ran(tmp_path, *RUNS["random-one-shot"], "search.trials=1")
    (file,) = (tmp_path / "cache" / "supernets").iterdir()
    whole = file.stat().st_size
    file.write_bytes(file.read_bytes()[:1000])
    oneshot._loaded.cache_clear()
    assert ran(tmp_path, *RUNS["random-one-shot"], "search.trials=2")["trained"] == 2
    assert file.stat().st_size == whole


def test_the_documented_examples_run_as_they_stand() -> None:
    page = (ROOT / "docs" / "nni.md").read_text()
    names_: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(code, names_)  # noqa: S102 - our own page
    said = f"{NniProfiler(space_of('r18'), ClipShape(), 400).macs(NETWORKS['MC3-18']):,} by NNI's own profiler"
    assert said in page
    for text in re.findall(r"```yaml\n(space: .*?)```", page, re.DOTALL):
        study = study_from_data(parse_yaml(text, "nni.md"), "nni.md", "mine")
        assert study.spec.evaluate.name == "nni-oneshot"
