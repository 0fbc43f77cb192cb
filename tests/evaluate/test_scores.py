"""Training-free scores: by hand where that can be done, deterministic, finite however deep."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from stsearch.data.motions import MotionsRecipe, load_motions
from stsearch.data.videos import ClipData
from stsearch.errors import SpecError
from stsearch.evaluate.evaluators import EVALUATORS, Scored, ScoreRecipe, Task
from stsearch.evaluate.scores import (
    SCORES,
    Subject,
    _Codes,
    entropy,
    log_determinant,
    log_synaptic_flow,
    refinement,
)
from stsearch.evaluate.train import EvaluationFailed
from stsearch.nets.build import Residual, build
from stsearch.report.pareto import pareto_of
from stsearch.search.engine import run as run_engine
from stsearch.search.reading import read_study
from stsearch.search.session import open_session
from stsearch.search.spec import load_study
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import ClipShape
from stsearch.space.kinds import KINDS, STEMS
from stsearch.space.published import NETWORKS

CLIP = ClipShape(3, 4, 16, 16)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data() -> ClipData:
    return load_motions(MotionsRecipe(name="motions", classes=2, clips=40, val_clips=10), 4, 16)


def subject(architecture: Architecture, data: ClipData, seed: int = 0, device: torch.device = CPU) -> Subject:
    return Subject(architecture.scaled(0.125), CLIP, data, seed, 0, 16, device)


def linear(rows: list[list[float]]) -> nn.Linear:
    weight = torch.tensor(rows, dtype=torch.float64)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=torch.float64)
    layer.weight.data = weight
    return layer


def test_synaptic_flow_by_hand() -> None:
    ones = torch.ones(1, 2, dtype=torch.float64)
    layers = [linear([[1, 2], [3, 4]]), linear([[5, 6]])]
    # R = 5 * 3 + 6 * 7 = 57, and each of two homogeneous layers has a saliency of R in all.
    assert log_synaptic_flow(layers, ones) == pytest.approx(math.log(2 * 57))

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main = linear([[3.0]])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.main(x) + x  # type: ignore[no-any-return]

    # R = (3 + 1) * 2: the block's weight has 3 * dR/d3 = 6, the layer's 2 * 4 = 8.
    assert log_synaptic_flow([Block(), linear([[2.0]])], ones[:, :1]) == pytest.approx(math.log(14))
    assert not math.isfinite(log_synaptic_flow([linear([[0.0]])], ones[:, :1])), "nothing flows"


@pytest.mark.parametrize("name", ["f-R2D-18", "R3D-18", "R(2+1)D-18", "R(2+1)D-50"])
def test_dividing_between_layers_changes_nothing(data: ClipData, name: str) -> None:
    one = subject(NETWORKS[name], data)
    network = one.network().double().eval()
    weights = [p for p in network.parameters() if p.dim() > 1]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    total = network(torch.ones(1, *CLIP.sizes, dtype=torch.float64)).sum()
    gradients = torch.autograd.grad(total, weights)
    plainly = sum(float((w.detach() * g).sum()) for w, g in zip(weights, gradients, strict=True))
    assert SCORES["synflow"](one) == pytest.approx(math.log(plainly), rel=1e-9)


def test_the_kernel_of_known_codes() -> None:
    codes = _Codes(2)
    codes.add(torch.tensor([[0.5, 2.0, 0.0, 0.0], [0.5, 0.0, 1.0, 0.0]]))
    assert codes.kernel.tolist() == [[4, 2], [2, 4]]
    assert log_determinant(codes.kernel) == pytest.approx(math.log(5 * 5 - 2 * 2))
    codes.add(torch.tensor([[[1.0], [0.0]], [[1.0], [0.0]]]))
    assert codes.kernel.tolist() == [[6, 4], [4, 6]]
    same = torch.full((2, 2), 7.0, dtype=torch.float64)
    assert log_determinant(same) == pytest.approx(math.log(8 * 8 - 7 * 7)), "equal codes have a finite score"


def test_codes_in_parts_are_the_same_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = torch.randn(5, 3, 7, generator=torch.Generator().manual_seed(0))
    whole, parts = _Codes(5), _Codes(5)
    whole.add(outputs)
    monkeypatch.setattr(_Codes, "MOST", 4)
    parts.add(outputs)
    assert torch.equal(whole.kernel, parts.kernel)
    assert whole.kernel.diagonal().tolist() == [21] * 5


def test_entropy_of_a_network_read_off_its_modules() -> None:
    """The same figure from the built network instead of the ops."""
    for name in ("f-R2D-18", "MC3-18", "R(2+1)D-18", "R(2+1)D-50"):
        architecture = NETWORKS[name].scaled(0.25)
        network = build(architecture, CLIP, 2).eval()
        beside = {id(m) for r in network.modules() if isinstance(r, Residual) for m in r.shortcut.modules()}
        found: list[float] = []

        def hook(
            module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor, found: list[float] = found
        ) -> None:
            assert isinstance(module, nn.Conv3d)
            kernel, size = torch.tensor(module.kernel_size).double(), torch.tensor(inputs[0].shape[2:]).double()
            cosine = float(torch.cosine_similarity(kernel, size, dim=0))
            fan_in = module.weight[0].numel()
            found.append(-0.5 * math.log(max(1 - cosine, 0.01)) * math.log(fan_in))

        for module in network.modules():
            if isinstance(module, nn.Conv3d) and id(module) not in beside:
                module.register_forward_hook(hook)
        network(torch.zeros(1, *CLIP.sizes))
        last = list(network.head.modules())[-1]
        assert isinstance(last, nn.Linear)
        assert entropy(architecture, CLIP) == pytest.approx(sum(found) + math.log(last.in_features)), name


def test_refinement_by_hand() -> None:
    assert refinement((3, 3, 3), (8, 8, 8)) == pytest.approx(-math.log(0.01)), "a cubic kernel on a cubic map"
    assert refinement((3, 1, 1), (4, 4, 0)) == pytest.approx(-math.log(1 - 16 / (math.sqrt(11) * math.sqrt(32))))
    flat, cubic = (4, 32, 32), (8, 8, 8)
    assert refinement((1, 3, 3), flat) > refinement((3, 3, 3), flat)
    assert refinement((1, 3, 3), cubic) < refinement((3, 3, 3), cubic)


@pytest.mark.parametrize("kind", ["2d", "3d", "2plus1d"])
def test_entropy_grows_with_depth_and_width(kind: str) -> None:
    def of(depth: int, width: float) -> float:
        return entropy(Architecture(kind, ((kind,) * depth,) * 4, "basic", width), CLIP)

    assert of(1, 0.5) < of(2, 0.5) < of(3, 0.5) < of(9, 0.5)
    assert of(2, 0.125) < of(2, 0.25) < of(2, 1.0) < of(2, 2.0)


@pytest.mark.parametrize("score", list(SCORES))
def test_a_score_is_a_function_of_its_subject(data: ClipData, score: str) -> None:
    one = subject(NETWORKS["R(2+1)D-18"], data)
    torch.manual_seed(1)
    first = SCORES[score](one)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert SCORES[score](one) == first
    assert torch.equal(torch.get_rng_state(), state), "the caller's random state stays"
    other = SCORES[score](subject(NETWORKS["R(2+1)D-18"], data, seed=1))
    assert (other == first) == (score == "entropy")


@pytest.mark.parametrize("score", list(SCORES))
def test_every_kind_has_every_score(data: ClipData, score: str) -> None:
    for kind in KINDS:
        stem = kind if kind in STEMS else "2d"
        for block in ("basic", "bottleneck"):
            assert math.isfinite(SCORES[score](subject(Architecture(stem, ((kind,),) * 4, block), data)))


def test_deep_networks_neither_overflow_nor_vanish(data: ClipData) -> None:
    deep = Architecture("2plus1d", (("2plus1d",) * 100,) * 4)
    flow = SCORES["synflow"](subject(deep, data))
    assert math.isfinite(flow)
    assert flow > math.log(sys.float_info.max), "the flow itself would be infinite in double precision"
    assert math.isfinite(SCORES["naswot"](subject(deep, data)))


def test_a_study_of_scores(tiny: Path) -> None:
    free = ["objectives={score: maximize, gmacs: minimize}", "evaluate={name: score, score: naswot, repeats: 2}"]
    study = load_study(str(tiny), [*free, "search.start_with=[R3D-18]"])
    session = open_session(study, lambda *_: None)
    run_engine(study, session, lambda _: None)
    stored = read_study("tiny")
    assert len(stored.complete) == 4
    (record,) = stored.details(stored.complete[:1])
    assert len(record["scores"]) == 2
    assert record["score"] == stored.values[0, 0] == pytest.approx(sum(record["scores"]) / 2)
    again = Task(NETWORKS["R3D-18"].scaled(0.125), CLIP, session.data, study.spec.evaluate, 0, CPU)
    found = EVALUATORS["score"].run(again, lambda *_: None)
    assert isinstance(found, Scored)
    assert list(found.scores) == record["scores"]
    front = pareto_of(stored)
    assert front.reference_point["score"] == 0.0
    assert set(front.as_dict()["front"][0]) >= {"score", "gmacs"}
    assert "video_top1" not in front.as_dict()["front"][0], "a score is no accuracy"


def test_objectives_are_what_the_evaluator_tells(tiny: Path) -> None:
    with pytest.raises(SpecError, match=r"objectives.video_top1: .*name: score.* does not tell it; it tells score"):
        load_study(str(tiny), ["evaluate={name: score, score: synflow}"])
    with pytest.raises(SpecError, match=r"objectives.score: .*name: train.* does not tell it"):
        load_study(str(tiny), ["objectives={score: maximize}"])
    with pytest.raises(SpecError, match=r"unknown score 'synflo'\. Did you mean 'synflow'"):
        load_study(str(tiny), ["evaluate={name: score, score: synflo}", "objectives={score: maximize}"])
    with pytest.raises(SpecError, match="score can only be maximized"):
        load_study(str(tiny), ["evaluate={name: score, score: synflow}", "objectives={score: minimize}"])


def test_a_score_that_is_not_finite_is_a_failure(data: ClipData) -> None:
    SCORES._items["nowhere"] = lambda subject: math.nan
    try:
        task = Task(NETWORKS["R3D-18"], CLIP, data, ScoreRecipe(score="nowhere"), 0, CPU)
        with pytest.raises(EvaluationFailed, match="the score nowhere is nan"):
            EVALUATORS["score"].run(task, lambda *_: None)
    finally:
        del SCORES._items["nowhere"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("score", list(SCORES))
def test_a_gpu_gives_the_same_score(data: ClipData, score: str) -> None:
    for name in ("f-R2D-18", "R3D-18", "R(2+1)D-34"):
        here = SCORES[score](subject(NETWORKS[name], data))
        there = SCORES[score](subject(NETWORKS[name], data, device=torch.device("cuda")))
        assert there == pytest.approx(here, rel=1e-2 if score == "naswot" else 1e-6)
