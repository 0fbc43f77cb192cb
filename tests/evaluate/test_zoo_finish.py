"""Networks of the zoo at the finish line: trained by the loop, begun from published weights, evaluated, exported."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from stsearch.cli import main
from stsearch.data.motions import MotionsRecipe, load_motions
from stsearch.data.videos import ClipData
from stsearch.errors import UserError
from stsearch.evaluate.judge import Views, as_trained, judge
from stsearch.evaluate.train import Trainer
from stsearch.evaluate.weights import About, Weights, read_weights
from stsearch.evaluate.whole import WholeRecipe
from stsearch.export.exporting import export
from stsearch.nets.build import build
from stsearch.nets.foreign import load_foreign
from stsearch.nets.layers import Draws, StepDropout, name_draws
from stsearch.space.blueprint import ClipShape
from stsearch.space.zoo import ZOO
from tests.conftest import Cli
from tests.nets.test_zoo import published_weights

CPU = torch.device("cpu")
DATA = ("--data", "motions", "--set=data.classes=2", "--set=data.clips=12", "--set=data.val_clips=10")
SIDES = ("--frames", "4", "--size", "16")
TRAIN = (*DATA, *SIDES, "--threads", "1", "--set=evaluate.batch=4", "--set=evaluate.epochs=1")


@pytest.fixture(scope="module")
def motions() -> ClipData:
    return load_motions(MotionsRecipe(classes=2, clips=12, val_clips=10), 4, 16)


def typed(*arguments: str) -> None:
    main(arguments, standalone_mode=False)


def refused(*arguments: str) -> str:
    with pytest.raises(UserError) as error:
        typed(*arguments)
    return str(error.value)


def checkpoint(classes: int, path: Path) -> dict[str, torch.Tensor]:
    """X3D-XS as PyTorchVideo would publish it, with so many classes."""
    weights = published_weights("X3D-XS")
    for key in ("blocks.5.proj.weight", "blocks.5.proj.bias"):
        weights[key] = weights[key][:classes].clone()
    torch.save({"model_state": weights}, path)
    return weights


def test_a_training_begins_with_published_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All but another classifier is theirs, X3D's head included; a tensor too few or too many ends it with its name."""
    theirs = checkpoint(400, tmp_path / "published.pyth")
    still = ("--set=evaluate={optimizer: sgd, lr: 1e-12, weight_decay: 0, epochs: 1, batch: 4}",)
    typed("train", "x3d-xs", *TRAIN, *still, "--weights", "published.pyth", "--out", "mine")
    assert "names none of its 400 classes: a new classifier is trained" in capsys.readouterr().err
    found = read_weights(tmp_path / "mine" / "weights.pt")
    assert found.about.architecture == "X3D-XS"
    assert found.about.begun_from == "published.pyth (X3D-XS, published by PyTorchVideo)"
    stem, before = found.state["stages.conv1.0.0.weight"], theirs["blocks.0.conv.conv_t.weight"]
    assert torch.allclose(stem, before)
    assert torch.allclose(found.state["head.4.weight"], theirs["blocks.5.pool.post_conv.weight"])
    assert found.state["head.7.weight"].shape == (2, 2048, 1, 1, 1)
    torch.save({**theirs, "more.weight": torch.ones(1)}, "more.pyth")
    missing = "blocks.2.res_blocks.0.branch1_norm.bias"
    torch.save({key: value for key, value in theirs.items() if key != missing}, "less.pyth")
    train = ("train", "X3D-XS", *TRAIN, "--out", "none", "--weights")
    assert "has tensors that X3D-XS has no layer for: more.weight" in refused(*train, "more.pyth")
    assert f"lacks the tensor {missing} of X3D-XS" in refused(*train, "less.pyth")
    another = [text if text != "X3D-XS" else "r3d_18" for text in train]
    assert "is no checkpoint of r3d_18" in refused(*another, "more.pyth")
    assert "X3D-XS begins with --weights FILE" in refused(*train[:-1], "--inflate-from", "more.pyth")
    assert not (tmp_path / "none").exists()


def test_published_weights_are_evaluated(motions: ClipData, tmp_path: Path) -> None:
    """With their own normalisation, on the data's classes in their order; logits are the network's."""
    checkpoint(2, tmp_path / "two.pyth")
    asked = ("evaluate", "X3D-XS", "--weights", "two.pyth", *DATA, *SIDES, "--views", "1x1", "--logits", "out.csv")
    typed(*asked, "--format", "json", "--quiet")
    network = build(ZOO["X3D-XS"], ClipShape(3, 4, 16, 16), 2)
    load_foreign(ZOO["X3D-XS"], network, tmp_path / "two.pyth")
    about = About("X3D-XS", "X3D-XS", motions.classes, (114.75,) * 3, (57.375,) * 3, 4, 16)
    seen = as_trained(motions, about, "val")
    wanted = judge(network, seen, about, Views(1, 1), device=CPU, split="val", batch=4, progress=lambda *_: None)
    with Path("out.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = torch.tensor([[float(row[name]) for name in motions.classes] for row in rows])
    assert torch.allclose(found, wanted.logits, atol=1e-5)
    checkpoint(5, tmp_path / "five.pyth")
    assert "has 5 classes, the data have 2: train a classifier" in refused(
        *(text.replace("two.", "five.") for text in asked)
    )
    assert "SlowFast-R50-8x8 is no network of a study" in refused(
        "evaluate", "SlowFast-R50-8x8", "--study", "quickstart"
    )


def test_dropouts_draw_the_same_however_a_batch_is_split() -> None:
    dropouts = nn.Sequential(StepDropout(0.25), StepDropout(0.25))
    clips = torch.ones(6, 500)

    def given(seed: int, *parts: slice) -> torch.Tensor:
        found = []
        for part in parts:
            name_draws(dropouts, Draws(seed, 6, part.start))
            found.append(dropouts(clips[part]))
        return torch.cat(found)

    whole = given(1, slice(0, 6))
    assert torch.equal(whole, given(1, slice(0, 4), slice(4, 6)))
    assert not torch.equal(whole, given(9, slice(0, 6)))
    assert 0.5 < float((whole > 0).float().mean()) < 0.62  # 0.75 squared: each draws its own
    assert float(whole.mean()) == pytest.approx(1, abs=0.1)
    assert torch.equal(dropouts.eval()(clips), clips)


def test_a_training_with_dropout_goes_on_as_if_it_had_not_stopped(motions: ClipData) -> None:
    def trained(*, stop: bool) -> dict[str, torch.Tensor]:
        def begun() -> Trainer:
            generator = torch.Generator().manual_seed(0)
            network = build(ZOO["X3D-XS"], ClipShape(3, 4, 16, 16), 2, generator=generator)
            recipe = WholeRecipe(epochs=2, batch=4, optimizer="sgd", lr=1e-4)
            return Trainer(network, motions, recipe, frames=4, size=16, generator=generator, device=CPU)

        trainer = begun()
        trainer.epoch()
        if stop:
            state = trainer.state()
            trainer = begun()
            trainer.load(state)
        torch.rand(7)  # torch's own generator has no part in it
        trainer.epoch()
        return trainer.weights()

    whole, again = trained(stop=False), trained(stop=True)
    assert all(torch.equal(whole[key], again[key]) for key in whole)


def test_unknown_classes_are_refused_before_videos_are_decoded(motions: ClipData, tmp_path: Path) -> None:
    from stsearch.evaluate.weights import write_weights

    network = build(ZOO["X3D-XS"], ClipShape(3, 4, 16, 16), 2)
    about = About("X3D-XS", "X3D-XS", ("jump", "run"), (110.0,) * 3, (60.0,) * 3, 4, 16)
    write_weights(tmp_path / "weights.pt", Weights(about, network.state_dict()))
    for split in ("train", "val"):
        for name in ("jump", "swim"):
            (tmp_path / "clips" / split / name).mkdir(parents=True)
            (tmp_path / "clips" / split / name / "0.mp4").write_bytes(b"decoding this would be another error")
    told = refused("evaluate", "X3D-XS", "--weights", "weights.pt", "--data", "clips", "--quiet")
    assert told.startswith("the network was not trained on the class 'swim'; it knows 2: jump, run")


def trained(name: str) -> Weights:
    """Of a network of the zoo, with BatchNorm statistics of some clips."""
    clip = ClipShape(3, 16 if name in ("I3D", "S3D") else 8, 32, 32)
    generator = torch.Generator().manual_seed(0)
    network = build(ZOO[name], clip, 3, generator=generator)
    for _ in range(2):
        network(torch.randn(4, *clip.sizes, generator=generator))
    about = About(name, name, ("a", "b", "c"), (110.0,) * 3, (60.0,) * 3, clip.frames, clip.height)
    return Weights(about, network.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO.names())
def test_every_network_is_exported_as_a_state_dict(name: str, tmp_path: Path) -> None:
    done = export(trained(name), "state-dict", tmp_path / name, say=lambda text: None)
    assert max(one.difference for one in done.parity) == 0
    assert json.loads(json.dumps(done.metadata))["architecture"] == name


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("name", "form"), [("X3D-XS", "onnx"), ("SlowFast-R50-4x16", "torch-export")])
def test_exported_files_take_clips_of_other_batches_sizes_and_lengths(name: str, form: str, tmp_path: Path) -> None:
    done = export(trained(name), form, tmp_path / form, say=lambda text: None)
    assert max(one.difference for one in done.parity) < 1e-4
    assert [one.shape[0] for one in done.parity] == [1, 3, 2]
    free = done.metadata["input"]["dynamic"]
    assert free[0] == "N"
    if name == "X3D-XS":  # of SlowFast's maps of one position, in such small clips, less is free
        assert [one.shape for one in done.parity] == [(1, 3, 8, 32, 32), (3, 3, 4, 32, 48), (2, 3, 11, 40, 32)]
        assert free == ["N", "T", "H", "W"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ["TSM-R50-8", "ir-CSN-50", "S3D", "r2plus1d_18"])
def test_networks_of_the_other_families_are_exported_as_programs(name: str, tmp_path: Path) -> None:
    """With shifts, depthwise convolutions, separable branches, and (2+1)D; of every name there is the state dict."""
    done = export(trained(name), "torch-export", tmp_path / "network.pt2", say=lambda text: None)
    assert max(one.difference for one in done.parity) < 1e-4
    assert [one.shape[0] for one in done.parity] == [1, 3, 2]
    assert "N" in done.metadata["input"]["dynamic"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "frames"), [("slowfast-r50-4x16", 8), ("i3d", 16)])
def test_two_pathways_and_inception_are_trained_and_evaluated(
    name: str, frames: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On clips that are given, not their usual ones; ``evaluate`` says of the last epoch what ``train`` said."""
    sides = ("--frames", str(frames), "--size", "32")
    recipe = "--set=evaluate={optimizer: sgd, lr: 0.01, epochs: 1, batch: 4, video_clips: 2}"
    train = ("train", name, *DATA, *sides, "--threads", "1", recipe, "--device", "cpu", "--quiet")
    typed(*train, "--out", "mine", "--format", "json")
    kept = read_weights(tmp_path / "mine" / "weights.pt")
    known = ZOO["SlowFast-R50-4x16" if frames == 8 else "I3D"]
    assert (kept.about.architecture, kept.about.clip) == (known.id, ClipShape(3, frames, 32, 32))
    capsys.readouterr()
    typed("evaluate", name, "--weights", "mine/weights.pt", *DATA, "--views", "2x1", "--format", "json", "--quiet")
    (found,) = json.loads(capsys.readouterr().out)["networks"]
    assert found["network"] == known.name
    assert found["video_top1"] == pytest.approx(kept.about.record["video_top1"])
    assert found["clip_top1"] == pytest.approx(kept.about.record["clip_top1"])


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ["SlowFast-R50-4x16", "I3D"])
def test_two_pathways_and_inception_are_exported_to_onnx(name: str, tmp_path: Path) -> None:
    done = export(trained(name), "onnx", tmp_path / "network.onnx", say=lambda text: None)
    assert max(one.difference for one in done.parity) < 1e-4
    assert [one.shape[0] for one in done.parity] == [1, 3, 2]
    assert "N" in done.metadata["input"]["dynamic"]


def test_dropout_and_a_moving_average_go_together(cli: Cli, tmp_path: Path) -> None:
    """The last batch is shorter than those that the averaged network's statistics are computed on."""
    words = [
        "train",
        "X3D-XS",
        "--data",
        "motions",
        "--frames",
        "4",
        "--size",
        "32",
        "--device",
        "cpu",
        "--out",
        "averaged",
    ]
    sets = ["data.clips=20", "data.val_clips=10", "evaluate.batch=16", "evaluate.ema=0.9", "evaluate.epochs=1"]
    done = cli(*words, *(f"--set={one}" for one in sets))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "averaged" / "weights.pt").is_file()
