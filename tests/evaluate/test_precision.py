"""A precision is trusted where it was found right: what a CPU computes wrong in bf16 is computed in fp32."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from stsearch.data.motions import MotionsRecipe, load_motions
from stsearch.data.videos import ClipData
from stsearch.errors import UserError
from stsearch.evaluate.recipe import TrainRecipe
from stsearch.evaluate.sound import WORTH, gain, make_right, place
from stsearch.evaluate.train import train
from stsearch.nets.build import build
from stsearch.nets.layers import Convolution
from stsearch.profiling.probe import PRECISIONS, Shape, probe, shapes_of
from stsearch.search.edited import edits
from stsearch.search.precision import settled
from stsearch.search.reading import read_study
from stsearch.search.session import open_session
from stsearch.search.spec import Study, load_study
from stsearch.search.worker import work
from stsearch.space.blueprint import ClipShape
from stsearch.space.published import NETWORKS

CPU = torch.device("cpu")


def quiet(*_: object) -> None: ...


def _trapped() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags and torch.__version__.startswith("2.13.")


trapped = pytest.mark.skipif(
    not _trapped(), reason="the wrong code is oneDNN's for avx512_bf16, in torch 2.13; it is not run here"
)


def shape(frames: int, kernel: int = 3, stride: int = 1) -> Shape:
    """A convolution of 16 channels on clips of 4 x 4 pixels."""
    return Shape(16, 16, 1, (kernel, 3, 3), (stride, 1, 1), (kernel // 2, 1, 1), (4, frames, 4, 4))


@trapped
def test_the_trap_is_found_and_nothing_else() -> None:
    """A temporal kernel of 3 with stride 1 on 2 frames: conv4_x of 8 frames, conv5_x of 16."""
    asked = [shape(2), shape(1), shape(3), shape(4), shape(2, stride=2)]
    found = probe(asked, PRECISIONS, 1, lambda: None)
    assert set(found) == set(asked)
    wrong = [one for one, errors in found.items() if errors["bf16"] is None or errors["bf16"] > 0.02]
    assert wrong == [asked[0]]
    assert all((errors["fp32"] or 0) < 1e-5 for errors in found.values())


_GRADIENTS = """
import sys
import torch
from torch.nn import functional
from stsearch.evaluate.sound import make_right
from stsearch.nets.build import build
from stsearch.nets.layers import Convolution
from stsearch.space.blueprint import ClipShape
from stsearch.space.published import NETWORKS

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
network = build(NETWORKS["R3D-18"].scaled(0.125), ClipShape(3, 8, 16, 16), 2, generator=generator)
network.to(memory_format=torch.channels_last_3d)
network.eval()  # BatchNorm of the last stage sees few values in training, and so multiplies what is rounded
clips = torch.randn(8, 3, 8, 16, 16, generator=torch.Generator().manual_seed(1))
convolutions = [one for one in network.modules() if isinstance(one, Convolution)]

def gradients(low):
    network.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
        logits = network(clips)
    functional.cross_entropy(logits.float(), torch.arange(8) % 2).backward()
    return [one.weight.grad.clone() for one in convolutions]

right = gradients(False)
if sys.argv[1] == "tried":
    print(make_right(network, (3, 8, 16, 16), 8, "bf16", torch.device("cpu")), file=sys.stderr)
else:
    for one in convolutions:
        one.right_in = torch.bfloat16
errors = [float((one - exact).norm() / exact.norm()) for one, exact in zip(gradients(True), right)]
print(max(error if error == error else float("inf") for error in errors), flush=True)
"""


def largest_error(how: str) -> float:
    """Of the gradients of a network in bf16, in a process of its own; infinite where that dies.

    What lies beside their memory is no zeros: wrong code may be right by those.
    """
    environment = {**os.environ, "MALLOC_PERTURB_": "165"}
    found = subprocess.run([sys.executable, "-c", _GRADIENTS, how], capture_output=True, text=True, env=environment)
    return float(found.stdout) if found.stdout.strip() else float("inf")


def test_a_network_in_bf16_has_right_gradients() -> None:
    assert largest_error("tried") < 0.4, "rounding alone, through 18 layers"


@trapped
def test_without_trying_its_gradients_are_wrong() -> None:
    assert largest_error("trusted") > 0.4


@pytest.mark.parametrize("precision", ["fp32", "bf16", "auto"])
def test_a_seed_gives_the_same_three_times_in_every_precision(precision: str) -> None:
    data = load_motions(MotionsRecipe(classes=2, clips=16, val_clips=10), 8, 16)
    recipe = TrainRecipe.model_validate({"epochs": 2, "batch": 8, "precision": precision})

    def once() -> tuple[float, Any, list[torch.Tensor]]:
        generator = torch.Generator().manual_seed(0)
        network = build(NETWORKS["R(2+1)D-18"].scaled(0.125), ClipShape(3, 8, 16, 16), 2, generator=generator)
        found = train(network, data, recipe, frames=8, size=16, generator=generator, device=CPU)
        assert found.precision.startswith("bf16" if precision == "bf16" else "fp32")
        return found.loss_sum, found.predictions, list(network.state_dict().values())

    (loss, answers, weights), *others = (once() for _ in range(3))
    for other in others:
        assert other[:2] == (loss, answers)
        assert all(torch.equal(one, two) for one, two in zip(weights, other[2], strict=True))


def stem(frames: int) -> tuple[nn.Module, torch.Tensor]:
    """A stem of a plug-in, or of I3D on a short clip, in which oneDNN's fp32 may be wrong too."""
    torch.manual_seed(0)
    network = nn.Sequential(Convolution(3, 8, 7, stride=2, padding=3, bias=False))
    return network, torch.randn(2, 3, frames, 16, 16)


@pytest.mark.parametrize("frames", [5, 6, 7])
def test_fp32_is_doubted_where_a_long_kernel_meets_a_short_clip(frames: int) -> None:
    network, clips = stem(frames)
    said = make_right(network, (3, frames, 16, 16), 2, "fp32", CPU)
    weight = network[0].weight  # type: ignore[index]
    found = network(clips)
    found.square().sum().backward()
    assert found.dtype == torch.float32
    exact = weight.detach().double().requires_grad_()
    right = nn.functional.conv3d(clips.double(), exact, None, 2, 3)
    torch.autograd.backward(right.square().sum())
    assert torch.allclose(found.double(), right, rtol=1e-4, atol=1e-4)
    assert (weight.grad - exact.grad).norm() < 1e-4 * exact.grad.norm()
    assert ("float64" in said) == (network[0].right_in is torch.float64)  # type: ignore[index]


def test_fp32_of_the_papers_networks_starts_no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/there/is/no/such/program")
    network = build(NETWORKS["R(2+1)D-18"].scaled(0.125), ClipShape(3, 8, 16, 16), 2)
    assert make_right(network, (3, 8, 16, 16), 4, "fp32", CPU) == ""


def test_what_was_found_is_kept_and_damage_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    network, _ = stem(5)

    def said() -> str:
        return make_right(network, (3, 5, 16, 16), 2, "bf16", CPU)

    first = said()
    kept = place().read_text()
    assert json.loads(kept)["shapes"]
    for damaged in ("", "{", "[]", '{"shapes": 3}', kept.replace('"fp32"', '"half"')):
        place().write_text(damaged)
        assert said() == first
        assert json.loads(place().read_text())["shapes"].keys() == json.loads(kept)["shapes"].keys()
    place().write_text(kept)
    monkeypatch.setattr(sys, "executable", "/there/is/no/such/program")
    assert said() == first, "nothing is tried twice"
    place().unlink()
    assert "1 of 1 convolutions could not be tried" in said()


def test_a_folder_that_cannot_be_written_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STSEARCH_CACHE", str(tmp_path / "file" / "cache"))
    network, _ = stem(5)
    assert make_right(network, (3, 5, 16, 16), 2, "bf16", CPU).startswith("bf16: ")


def test_shapes_are_read_off_a_network_and_made_small() -> None:
    network = build(NETWORKS["R3D-18"], ClipShape(3, 16, 112, 112), 400)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = shapes_of(network, (3, 16, 112, 112), 32)
    assert len(found) == 20
    first, last = next(iter(found.values())), found["stages.conv5_x.1.main.3"]
    assert first == Shape(3, 64, 1, (3, 7, 7), (1, 2, 2), (1, 3, 3), (32, 16, 112, 112))
    assert last == Shape(512, 512, 1, (3, 3, 3), (1, 1, 1), (1, 1, 1), (32, 2, 7, 7))
    assert last.tried == Shape(16, 16, 1, (3, 3, 3), (1, 1, 1), (1, 1, 1), (14, 2, 7, 7))
    assert first.tried.entering == (2, 16, 112, 112)
    depthwise = Shape(108, 108, 108, (3, 3, 3), (1, 1, 1), (1, 1, 1), (4, 4, 8, 8)).tried
    assert (depthwise.c_in, depthwise.c_out, depthwise.groups) == (28, 28, 28)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


STUDY = """\
space: paper-18
target: {frames: 8, size: 32}
proxy: {frames: 8, size: 32, width: 0.125}
data: {name: motions, classes: 2, clips: 24, val_clips: 10}
evaluate: {name: train, epochs: 1, batch: 24}
search: {sampler: random, trials: 1, start_with: none}
engine: {workers: 1, device: cpu}
"""


def timed(file: Path) -> tuple[Study, ClipData, dict[str, Any]]:
    """A study that is not begun, its data, and what was found of this machine for it."""
    file.write_text(STUDY)
    study = load_study(str(file))
    data = load_motions(study.spec.data, 8, 32)
    told: list[tuple[str, int, int]] = []
    settled(study, data, lambda *step: told.append(step))
    assert told[0][1] == 0  # while convolutions are tried, which may take half a minute
    assert told[-1][1] == told[-1][2]
    return study, data, json.loads(place().read_text())


def test_auto_is_bf16_where_that_is_faster_and_stays_with_the_study(tmp_path: Path) -> None:
    file = tmp_path / "faster.yaml"
    study, data, kept = timed(file)
    ((key, measured),) = kept["gains"].items()
    assert measured > 0
    for found, precision in ((WORTH - 0.01, "auto"), (WORTH + 0.01, "bf16")):
        place().write_text(json.dumps({**kept, "gains": {key: found}}))
        assert settled(study, data, lambda *_: None).spec.evaluate.precision == precision
    assert (
        settled(load_study(str(file), ["evaluate.precision=fp32"]), data, lambda *_: None).spec.evaluate.precision
        == "fp32"
    )
    events: list[dict[str, Any]] = []
    work(open_session(study, quiet), events.append)
    (said,) = [event["text"] for event in events if event["event"] == "precision"]
    assert said.startswith("bf16: ")
    place().write_text(json.dumps({**kept, "gains": {key: 1.0}}))
    for settings in ([], ["evaluate.precision=auto"]):
        again = open_session(load_study(str(file), settings), quiet)
        assert again.study.spec.evaluate.precision == "bf16"
    stored = read_study("faster", None)
    assert stored.identity["evaluate"]["precision"] == "bf16"
    file.write_text(STUDY.replace("epochs: 1", "epochs: 1, precision: auto"))
    assert edits(str(file), stored) == []
    with pytest.raises(UserError, match=r"evaluate\.precision: 'bf16' -> 'fp32'"):
        open_session(load_study(str(file), ["evaluate.precision=fp32"]), quiet)


def test_a_study_that_was_begun_with_auto_keeps_it(tmp_path: Path) -> None:
    study, _, kept = timed(tmp_path / "older.yaml")
    (key,) = kept["gains"]
    for gained in (1.0, 2.0):  # then a version that finds more
        place().write_text(json.dumps({**kept, "gains": {key: gained}}))
        assert open_session(study, quiet).study.spec.evaluate.precision == "auto"


def test_small_steps_are_not_timed() -> None:
    assert gain(NETWORKS["R(2+1)D-18"].scaled(0.125), ClipShape(3, 4, 16, 16), 2, 12, 1) == 1.0
    assert not place().exists()
