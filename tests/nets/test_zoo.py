"""Networks of the literature: their integers, torch's count of them, training, and weights that others published."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from stsearch.errors import UserError
from stsearch.nets.build import VideoNet, build
from stsearch.nets.count import counted_flops
from stsearch.nets.foreign import load_foreign, namings, translate
from stsearch.profiling.ceilings import work
from stsearch.profiling.device import Setting
from stsearch.profiling.measure import measure
from stsearch.report.draw import drawing
from stsearch.space.blueprint import Blueprint, ClipShape, Definition, Group, Unit, sees_order
from stsearch.space.cost import network_cost
from stsearch.space.ops import Conv, Every, Linear, MaxPool, Pool
from stsearch.space.published import NETWORKS
from stsearch.space.zoo import ZOO, find_any
from tests.conftest import ROOT, Cli
from tests.report.test_draw import assert_tidy

# Parameters and multiply-adds at the usual clip, 400 classes. Those of PyTorchVideo 0.1.5 and torchvision 0.29 were
# checked against their code, logits included; the others against what their papers and model zoos print.
EXACT = {
    "I3D": (12_697_264, 111_153_143_808),
    "S3D": (8_320_048, 17_978_771_456),
    "C2D-R50-8x8": (24_327_632, 25_462_702_080),
    "I3D-R50-8x8": (28_043_472, 37_106_089_984),
    "Slow-R50-4x16": (32_454_096, 27_262_058_496),
    "Slow-R50-8x8": (32_454_096, 54_520_840_192),
    "TSM-R50-8": (24_327_632, 32_703_643_648),
    "SlowFast-R50-4x16": (34_480_216, 36_101_963_776),
    "SlowFast-R50-8x8": (34_566_488, 65_711_652_864),
    "SlowFast-R101-8x8": (62_826_968, 125_908_303_872),
    "ir-CSN-50": (13_131_152, 55_259_856_896),
    "ir-CSN-101": (22_213_776, 73_756_573_696),
    "ir-CSN-152": (29_703_568, 96_713_211_904),
    "ip-CSN-152": (33_016_592, 108_792_807_424),
    "X3D-XS": (3_794_274, 843_919_472),
    "X3D-S": (3_794_274, 2_727_045_164),
    "X3D-M": (3_794_274, 6_185_725_184),
    "X3D-L": (6_153_384, 24_777_648_768),
    "r3d_18": (33_371_472, 40_696_553_472),
    "mc3_18": (11_695_440, 43_342_635_008),
    "r2plus1d_18": (31_505_325, 40_519_080_960),
}
# GFLOPs and millions of parameters as printed: multiply-adds and ``extra`` times the elements that enter a BatchNorm
# (0: VMZ without BatchNorm's parameters, slides, torchvision; 2: MMAction2; 5: PyTorchVideo)
PRINTED = {
    "C2D-R50-8x8": (25.89, 24.33, 5),
    "I3D-R50-8x8": (37.53, 28.04, 5),
    "Slow-R50-4x16": (27.55, 32.45, 5),
    "Slow-R50-8x8": (54.52, 32.45, 0),
    "TSM-R50-8": (32.88, 24.33, 2),  # parameters of C2D: MMAction2 prints 23.87
    "SlowFast-R50-4x16": (36.69, 34.48, 5),
    "SlowFast-R50-8x8": (65.71, 34.57, 0),
    "SlowFast-R101-8x8": (127.20, 62.83, 5),
    "ir-CSN-50": (55.90, 13.13, 2),
    "ir-CSN-101": (75.62, 22.21, 5),
    "ir-CSN-152": (96.7, 29.7, 0),
    "ip-CSN-152": (108.8, 33.02, 0),
    "X3D-XS": (0.91, 3.79, 5),
    "X3D-S": (2.96, 3.79, 5),
    "X3D-M": (6.72, 3.79, 5),
    "X3D-L": (26.64, 6.15, 5),
    "S3D": (17.979, 8.32, 0),
    "r3d_18": (40.697, 33.37, 0),
    "mc3_18": (43.343, 11.7, 0),
    "r2plus1d_18": (40.519, 31.51, 0),
}
TINY = ClipShape(3, 16, 32, 32)
SMALL = ClipShape(3, 4, 16, 16)


def normed_elements(network: Definition) -> int:
    """Elements that enter a BatchNorm for one clip, by hooks in the built network."""
    seen: list[int] = []
    with torch.device("meta"):
        built = build(network, network.clip, 400).eval()
        for module in built.modules():
            if isinstance(module, torch.nn.BatchNorm3d):
                module.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].numel()))
        with torch.no_grad():
            built(torch.empty(1, *network.clip.sizes))
    return sum(seen)


@pytest.mark.parametrize("name", ZOO.names())
def test_integers_are_those_of_the_public_code_and_of_torch(name: str) -> None:
    network = ZOO[name]
    total = network_cost(network, network.clip, 400).total
    assert (total.params, total.macs) == EXACT[name]
    assert counted_flops(network, network.clip, 400) == 2 * total.macs
    if name in PRINTED:
        gflops, params, extra = PRINTED[name]
        printed = total.macs + (extra * normed_elements(network) if extra else 0)
        assert printed / 1e9 == pytest.approx(gflops, rel=0.0006, abs=0.006)
        assert total.params / 1e6 == pytest.approx(params, abs=0.006)


@pytest.mark.parametrize("name", ZOO.names())
def test_small_clips_train_two_steps_and_are_counted(name: str) -> None:
    network, classes = ZOO[name], 3
    clip = TINY if name in ("I3D", "S3D") else ClipShape(3, 8, 32, 32)
    cost = network_cost(network, clip, classes)
    assert sum(part.macs for part in work(network, clip, classes)) == cost.total.macs
    built = build(network, clip, classes, generator=torch.Generator().manual_seed(0))
    assert sum(p.numel() for p in built.parameters()) == cost.total.params
    clips = torch.randn(2, *clip.sizes, generator=torch.Generator().manual_seed(1))
    optimiser = torch.optim.SGD(built.parameters(), 1e-4)
    before = [p.detach().clone() for p in built.parameters()]
    for _ in range(2):
        optimiser.zero_grad()
        functional.cross_entropy(built(clips), torch.tensor([0, 2])).backward()  # type: ignore[no-untyped-call]
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in built.parameters())
        optimiser.step()
    moved = [not torch.equal(old, new) for old, new in zip(before, built.parameters(), strict=True)]
    assert sum(moved) > 0.9 * len(moved)
    assert counted_flops(network, clip, classes) == 2 * cost.total.macs


@pytest.mark.parametrize("name", ZOO.names())
def test_every_network_is_drawn(name: str) -> None:
    assert_tidy(drawing([ZOO[name]], ZOO[name].clip, 400))


def test_networks_side_by_side_have_the_same_groups() -> None:
    assert_tidy(drawing([ZOO["C2D-R50-8x8"], NETWORKS["R(2+1)D-50"]], ClipShape(3, 8, 224, 224), 400))
    with pytest.raises(UserError, match="same groups are drawn side by side; I3D has 1, 2, 3, 4, 5, X3D-S conv1"):
        drawing([ZOO["I3D"], ZOO["X3D-S"]], ClipShape(3, 16, 224, 224), 400)


def test_names() -> None:
    assert find_any("slowfast-r50-8X8") is ZOO["SlowFast-R50-8x8"]
    assert find_any("r3d_18") is ZOO["r3d_18"]
    assert find_any("R3D-18") == NETWORKS["R3D-18"]
    with pytest.raises(UserError, match=r"unknown network 'X3D-ML'. Did you mean 'X3D-M'\?"):
        find_any("X3D-ML")


def test_which_networks_see_the_order_of_frames() -> None:
    blind = {name for name in ZOO if not sees_order(ZOO[name], ZOO[name].clip)}
    assert blind == set()  # C2D pools over neighbours, TSM shifts
    assert not sees_order(NETWORKS["f-R2D-18"], TINY)


def test_small_clips_are_refused_in_one_line() -> None:
    for run in (network_cost, build):
        with pytest.raises(
            UserError, match=r"clips of 3x4x16x16 .* too small for this network: nothing leaves its part 5"
        ):
            run(ZOO["S3D"], SMALL, 3)


def test_a_graph_frees_what_nobody_asks_for_and_joins_what_enters() -> None:
    def conv(c_in: int, c_out: int) -> Unit:
        return Unit((Conv(c_in, c_out, (1, 1, 1)),))

    plan = Blueprint(
        (
            Group("a", ("2d",), (conv(3, 2),)),
            Group("b", ("2d",), (Unit((Every(2), Conv(3, 5, (1, 1, 1)))),), ("clip",)),
            Group("c", ("2d",), (Unit((MaxPool((2, 1, 1), (2, 1, 1)), Conv(2, 4, (1, 1, 1)))),), ("a",)),
            Group("d", ("2d",), (conv(9, 6),), ("b", "c")),
        ),
        (Linear(10, 3),),
        ("c", "d"),
        (Pool(),),
    )
    network = VideoNet(plan).eval()
    x = torch.randn(2, 3, 4, 5, 5)
    a, b, c, d = network.stages.values()
    joint = c(a(x))
    last = d(torch.cat((b(x), joint), 1))
    features = torch.cat((joint.mean((2, 3, 4)), last.mean((2, 3, 4))), 1)
    assert torch.allclose(network(x), network.head(features), atol=1e-6)
    with pytest.raises(AssertionError, match="b comes before one of its inputs"):
        Blueprint((Group("b", (), (), ("c",)), Group("c", (), ())), ())


def test_of_two_pathways_a_training_step_is_timed_whole() -> None:
    setting = Setting(torch.device("cpu"), "fp32", (2,), 1, min_run_s=0.01, max_run_s=0.05)
    found = measure(ZOO["SlowFast-R50-4x16"], TINY, 3, setting)
    forward, training = found.passes
    assert [stage.name for stage in forward.stages][:3] == ["slow1", "fast1", "lateral1"]
    assert (training.stages, training.stage_ratio) == ((), None)
    assert "interleave" in found.notes[0]


# --- weights that others published ---------------------------------------------------------------------------------


def published_weights(name: str) -> dict[str, torch.Tensor]:
    """Random tensors under the names, and in the shapes, that the first known checkpoint has."""
    network = find_any(name)
    built = build(network, SMALL if isinstance(network, Definition) else TINY, 400)
    owners = [m for m in built.modules() if any(True for _ in m.parameters(recurse=False))]
    found: dict[str, torch.Tensor] = {}
    generator = torch.Generator().manual_seed(0)
    for owner, prefix in zip(owners, namings(network)[0].layers(), strict=True):
        for key, tensor in owner.state_dict().items():
            scale = (2 / max(1, tensor[0].numel())) ** 0.5 if tensor.dim() > 1 else 0.1
            noise = scale * torch.randn(tensor.shape, generator=generator)
            around = 1.0 if key in ("running_var", "weight") and tensor.dim() == 1 else 0.0
            found[f"{prefix}.{key}"] = (around + noise).abs() if key == "running_var" else around + noise
            if key == "num_batches_tracked":
                found[f"{prefix}.{key}"] = torch.tensor(7)
    return found


def residual_logits(x: torch.Tensor, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """torchvision's r3d_18 and mc3_18, written down once more from its names alone."""

    def conv(x: torch.Tensor, name: str, stride: tuple[int, int, int]) -> torch.Tensor:
        kernel = weights[f"{name}.0.weight"]
        x = functional.conv3d(x, kernel, None, stride, [size // 2 for size in kernel.shape[2:]])
        mean, var = weights[f"{name}.1.running_mean"], weights[f"{name}.1.running_var"]
        return functional.batch_norm(x, mean, var, weights[f"{name}.1.weight"], weights[f"{name}.1.bias"], eps=1e-5)

    x = functional.relu(conv(x, "stem", (1, 2, 2)))
    for stage in range(1, 5):
        for block in range(2):
            where = f"layer{stage}.{block}"
            s = 2 if stage > 1 and block == 0 else 1
            steps = (s if weights[f"{where}.conv1.0.weight"].shape[2] == 3 else 1, s, s)
            main = functional.relu(conv(x, f"{where}.conv1", steps))
            main = conv(main, f"{where}.conv2", (1, 1, 1))
            x = functional.relu(main + (conv(x, f"{where}.downsample", steps) if s == 2 else x))
    return functional.linear(x.mean((2, 3, 4)), weights["fc.weight"], weights["fc.bias"])


@pytest.mark.parametrize("name", ["r3d_18", "mc3_18"])
def test_torchvisions_weights_give_its_logits(name: str, tmp_path: Path) -> None:
    weights = published_weights(name)
    weights["fc.weight"] = weights["fc.weight"].reshape(400, 512)
    torch.save({"state_dict": {f"module.{key}": value for key, value in weights.items()}}, tmp_path / "r.pth")
    network = build(ZOO[name], TINY, 400).eval()
    load_foreign(ZOO[name], network, tmp_path / "r.pth")
    clips = torch.randn(2, *TINY.sizes, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        logits, expected = network(clips), residual_logits(clips, weights)
    assert float(expected.std()) > 0.01
    assert torch.allclose(logits, expected, atol=1e-5 * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize("name", [*ZOO, "R(2+1)D-34", "R(2+1)D-152", "MC3-18"])
def test_every_tensor_is_used_once_or_named(name: str) -> None:
    """Every naming of every network, on the meta device: as many names as layers, no name twice, nothing left over."""
    network = find_any(name)
    with torch.device("meta"):
        built = build(network, ClipShape(3, 16, 64, 64), 400)
    owners = [m for m in built.modules() if any(True for _ in m.parameters(recurse=False))]
    for naming in namings(network):
        prefixes = naming.layers()
        assert len(set(prefixes)) == len(prefixes) == len(owners)
        tensors = {f"{p}.{k}": t for p, m in zip(prefixes, owners, strict=True) for k, t in m.state_dict().items()}
        found = translate(network, built, tensors, "x")
        assert found.keys() == built.state_dict().keys()
        assert sorted(map(id, found.values())) == sorted(map(id, tensors.values()))


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    weights, network = published_weights("mc3_18"), ZOO["mc3_18"]
    built = build(network, TINY, 400)
    kept = {key: value.clone() for key, value in built.state_dict().items()}

    def refused(weights: object) -> str:
        torch.save(weights, tmp_path / "w.pth")
        with pytest.raises(UserError) as caught:
            load_foreign(network, built, tmp_path / "w.pth")
        return str(caught.value)

    def changes() -> Iterator[tuple[object, str]]:
        yield {k: v for k, v in weights.items() if k != "layer2.0.conv1.0.weight"}, "lacks the tensor layer2.0.conv1.0"
        yield {**weights, "layer9.weight": torch.ones(2)}, "has tensors that mc3_18 has no layer for: layer9.weight"
        yield {**weights, "fc.weight": torch.ones(174, 512)}, "fc.weight of .* is 174x512; this network has 400x512"
        yield (
            published_weights("r3d_18"),
            "layer2.0.conv1.0.weight of .* is 128x64x3x3x3; this .* 128x64x1x3x3 there",
        )
        yield published_weights("X3D-S"), "is no checkpoint of mc3_18 as torchvision names it: expected stem.0.weight"
        yield {"epoch": 3}, "holds no state dict"
        yield {"model": Path("model.pth")}, r"holds no weights that torch.load\(weights_only=True\) reads"

    for changed, said in changes():
        text = refused(changed)
        assert re.search(said, text), text
    assert all(torch.equal(value, kept[key]) for key, value in built.state_dict().items())
    (tmp_path / "w.pth").write_bytes(b"no zip")
    with pytest.raises(UserError, match="is no whole file of weights: it is text, 'no zip'"):
        load_foreign(network, built, tmp_path / "w.pth")
    with pytest.raises(UserError, match="there is no file"):
        load_foreign(network, built, tmp_path / "none.pth")


def test_a_checkpoint_without_the_counters_of_batchnorm_loads() -> None:
    weights, network = published_weights("mc3_18"), ZOO["mc3_18"]
    old = {key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}
    built = build(network, TINY, 400)
    built.load_state_dict(translate(network, built, old, "x"))
    assert torch.equal(built.stages["conv1"][0][0].weight, weights["stem.0.weight"])  # type: ignore[index]


@pytest.mark.parametrize("name", ["r3d_18", "mc3_18", "r2plus1d_18", "S3D"])
def test_logits_are_those_of_torchvision(name: str) -> None:
    """Where torchvision is there; PyPI's misses two operators beside torch for CPUs, which nothing here calls."""
    make: Any = torch.library.Library
    if not hasattr(torch.ops.torchvision, "nms"):
        library = make("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    video = pytest.importorskip("torchvision.models.video")
    theirs = getattr(video, name.lower())().eval()
    ours = build(ZOO[name], TINY, 400).eval()
    ours.load_state_dict(translate(ZOO[name], ours, theirs.state_dict(), "torchvision"))
    clips = torch.randn(1, 3, 16, 224, 224) if name == "S3D" else torch.randn(2, *TINY.sizes)
    with torch.no_grad():
        difference = float((ours(clips) - theirs(clips)).abs().max())
    assert difference <= 1e-5


def test_the_page_says_what_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    """docs/zoo.md: every row, every command, and the example of a checkpoint with a file of PyTorchVideo's names."""
    page = (ROOT / "docs" / "zoo.md").read_text()
    rows = re.findall(
        r"^\| `(\S+)` \| (\d+)x(\d+)x\d+, 1/(\d+) \| ([\d,]+) \| ([\d.]+) \| (.+) \|$", page, re.MULTILINE
    )
    assert [name for name, *_ in rows] == ZOO.names()
    for name, frames, size, rate, params, gmacs, source in rows:
        network = ZOO[name]
        total = network_cost(network, network.clip, 400).total
        assert (int(frames), int(size), int(rate)) == (network.clip.frames, network.clip.height, network.rate)
        assert (params, gmacs, source) == (f"{total.params:,}", f"{total.macs / 1e9:.3f}", network.source)
    monkeypatch.chdir(tmp_path)
    console = re.findall(r"```console\n(.*?)```", page, re.DOTALL)[0]
    printed = [cli(*line.removeprefix("$ stsearch ").split()).stdout for line in console.strip().splitlines()]
    assert "30 views: 1.971 TMACs per video" in printed[0]
    assert '"macs": 1962892112' in printed[1]
    assert (tmp_path / "i3d.svg").is_file()
    torch.save({"model_state": published_weights("X3D-S")}, "X3D_S.pyth")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    found: dict[str, Any] = {}
    exec(example, found)  # noqa: S102 - our own page
    assert found["logits"].shape == (1, 400)
