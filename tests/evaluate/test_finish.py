"""The chosen network trained to the end: killed, stopped, out of disk, begun from other weights; and what it writes."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from stsearch.cli import main
from stsearch.data.augment import training_cuts
from stsearch.data.loader import Batch, batches
from stsearch.data.motions import MotionsRecipe, load_motions
from stsearch.data.videos import ClipData
from stsearch.errors import StsearchError, UserError
from stsearch.evaluate.mixing import Mix, draw_mix
from stsearch.evaluate.recipe import Extras, TrainRecipe, learning_rate
from stsearch.evaluate.runner import Runner
from stsearch.evaluate.steps import Step, accumulate
from stsearch.evaluate.train import Trainer
from stsearch.evaluate.weights import About, Weights, read_weights, write_weights
from stsearch.evaluate.whole import WholeRecipe
from stsearch.nets.build import build
from stsearch.search.finishing import recipe_of
from stsearch.space.architecture import parse_placement
from stsearch.space.blueprint import ClipShape
from tests.conftest import Cli

CPU = torch.device("cpu")
NETWORK = "3d-3dx1-2plus1dx1-2dx1-2dx1@w0.125"
DATA = ("--data", "motions", "--set=data.classes=2", "--set=data.clips=24", "--set=data.val_clips=10")
CLIP = ("--frames", "4", "--size", "16", "--threads", "1")
TRAIN = ("train", NETWORK, *DATA, *CLIP, "--set=evaluate.batch=6")


@pytest.fixture(scope="module")
def motions() -> ClipData:
    return load_motions(MotionsRecipe(classes=2, clips=24, val_clips=10), 4, 16)


def same(one: Path, other: Path) -> bool:
    first, second = (read_weights(folder / "weights.pt").state for folder in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def begun(arguments: list[str], epochs: int) -> subprocess.Popen[str]:
    """A training in a process of its own that has written the checkpoint of so many epochs."""
    command = [sys.executable, "-m", "stsearch.cli", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if (found := re.match(r"epoch (\d+)/", line)) and int(found[1]) >= epochs:
            return process
    raise AssertionError(f"it ended before epoch {epochs}: {process.wait()}")


def test_killed_and_stopped_trainings_end_as_if_nothing_had_been(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["epochs=12", "ema=0.9", "mixup=0.4", "cutmix=1", "micro_batch=4"]
    command = [*TRAIN, *(f"--set=evaluate.{text}" for text in more)]
    typed(*command, "--out", "whole")
    killed = begun([*command, "--out", "again"], 1)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    stopped = begun([*command, "--out", "again"], 4)
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait() == 143
    assert stopped.stderr is not None
    assert "the same command goes on: " in stopped.stderr.read()
    assert not (tmp_path / "again" / "weights.pt").exists()
    (tmp_path / "again" / "weights.pt.1.part").write_text("of one that was killed")
    typed(*command, "--out", "again")
    assert "goes on after epoch" in capsys.readouterr().err
    assert same(tmp_path / "whole", tmp_path / "again")
    kept = {path.name for path in (tmp_path / "again").iterdir()}
    assert kept == {"checkpoint.pt", "weights.pt", "record.json", "tensorboard", ".lock"}
    found = [json.loads((tmp_path / name / "record.json").read_text()) for name in ("whole", "again")]
    assert found[0]["about"] == found[1]["about"]
    assert len(found[1]["training"]["curve"]) == 12
    typed(*command, "--out", "again")
    assert "trained already" in capsys.readouterr().out
    assert "recipe.lr: 0.06 -> 0.5" in refused(*command, "--set=evaluate.lr=0.5", "--out", "again")
    assert "expected a folder" in refused(*command, "--out", "again/record.json")


def test_curves_for_tensorboard_hold_every_epoch_once(motions: ClipData, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from stsearch.evaluate.results import Epoch
    from stsearch.evaluate.scalars import Scalars

    for done, trained in ((0, 3), (2, 4)):  # the third epoch was cut off before its checkpoint, and comes again
        with Scalars(tmp_path / "curves", done, pytest.fail) as scalars:
            for number in range(done + 1, trained + 1):
                scalars.add(Epoch(number, 0.1, 1.0 / number, 50.0, 1.0))
    read = EventAccumulator(str(tmp_path / "curves")).Reload()
    assert [point.step for point in read.Scalars("loss/training")] == [1, 2, 3, 4]


def test_what_goes_wrong_is_one_line_and_leaves_nothing_half_written(tmp_path: Path, cli: Cli) -> None:
    recipe = "{optimizer: sgd, lr: 100, weight_decay: 1, epochs: 20, warmup: 0}"
    nan = cli(*TRAIN, f"--set=evaluate={recipe}", "--out", "nan")
    assert nan.returncode == 1
    assert "the loss is nan in epoch" in nan.stderr
    assert not {"weights.pt", "record.json"} & {path.name for path in (tmp_path / "nan").iterdir()}

    words = shlex.join([sys.executable, "-m", "stsearch.cli", *TRAIN, "--out", "full"])
    full = subprocess.run(["bash", "-c", f"ulimit -f 64; exec {words}"], capture_output=True, text=True)
    assert full.returncode == 1
    assert full.stderr.splitlines()[-1].startswith("stsearch: cannot write into full: File too large. Mend that")
    assert {path.name for path in (tmp_path / "full").iterdir()} == {".lock"}

    (tmp_path / "clips" / "train").mkdir(parents=True)
    assert (
        refused(*TRAIN, "--out", "clips") == "--out clips: holds 'train', and no training; name a new or empty folder"
    )
    assert [path.name for path in (tmp_path / "clips").iterdir()] == ["train"]

    (tmp_path / "recipe.yaml").write_text("epochs: 2\nbatsh: 3\n")
    for said, arguments in {
        "add --data SOURCE": ["train", NETWORK, "--out", "none"],
        "Did you mean 'batch'?": [*TRAIN, "--recipe", "recipe.yaml", "--out", "none"],
        "--recipe is paper, quick or a YAML file; given 'best'": [*TRAIN, "--recipe", "best", "--out", "none"],
        "--out recipe.yaml: there is a file of that name": [*TRAIN, "--out", "recipe.yaml"],
        "--out recipe.yaml: there is a file of that name; expected a folder": [*TRAIN, "--out", "recipe.yaml/in"],
        "clips of 3x4x16x16 (C x T x H x W) are too small": ["train", "S3D", *DATA, *CLIP, "--out", "none"],
        "is not there": [*TRAIN, "--device", "cuda:7", "--out", "none"],
        "there is no file 'nothing.pt'": [*TRAIN, "--weights", "nothing.pt", "--out", "none"],
        "given both": [*TRAIN, "--weights", "a.pt", "--inflate-from", "b.pt", "--out", "none"],
        "--inflate goes with --inflate-from FILE": [*TRAIN, "--inflate", "repeat", "--out", "none"],
    }.items():
        assert said in refused(*arguments)
        assert not (tmp_path / "none").exists()


def typed(*arguments: str) -> None:
    """A command in this process."""
    main(arguments, standalone_mode=False)


def refused(*arguments: str) -> str:
    """What is said of a wrong command."""
    with pytest.raises(UserError) as error:
        typed(*arguments)
    return str(error.value)


def test_weights_of_another_head_and_of_another_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A training begins with those of the same network, its classifier only where the classes are the same."""
    quick = ["--set=evaluate.epochs=1", "--set=evaluate.lr=1e-9"]
    typed(*TRAIN, *quick, "--out", "first")
    more = [text.replace("classes=2", "classes=4") for text in TRAIN]
    typed(*more, *quick, "--weights", "first/weights.pt", "--out", "second")
    assert "a new one is trained" in capsys.readouterr().err
    kept = [read_weights(tmp_path / name / "weights.pt") for name in ("first", "second")]
    assert len(kept[1].state["head.1.weight"]) == 4
    stem = "stages.conv1.0.1.weight"  # of BatchNorm: AdamW at next to no rate leaves it
    assert torch.allclose(kept[0].state[stem], kept[1].state[stem])
    assert kept[1].about.begun_from.startswith("weights.pt (3d-3d-2plus1d-2d-2d@w0.125")
    other = [text.replace("2plus1d", "3d") for text in TRAIN]
    assert "holds weights of 3d-3d-2plus1d-2d-2d@w0.125, not of 3d-3d-3d-2d-2d@w0.125" in refused(
        *other, "--weights", "first/weights.pt", "--out", "third"
    )


def about(classes: int = 2) -> About:
    names = tuple(f"class {number}" for number in range(classes))
    return About("a network", parse_placement(NETWORK).id, names, (128.0,) * 3, (64.0,) * 3, 4, 16)


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    network = build(parse_placement(NETWORK), ClipShape(3, 4, 16, 16), 2)
    good = tmp_path / "good.pt"
    write_weights(good, Weights(about(), network.state_dict()))
    assert read_weights(good).about == about()
    assert read_weights(good).network().state_dict().keys() == network.state_dict().keys()
    content = good.read_bytes()
    plain = torch.load(good, weights_only=True)
    torch.save(network.state_dict(), tmp_path / "state.pt")
    torch.save(network, tmp_path / "pickled.pt")
    torch.save({**plain, "about": {**plain["about"], "classes": []}}, tmp_path / "classless.pt")
    (tmp_path / "cut.pt").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.pt").write_text("no weights")
    (tmp_path / "hello.pt").write_text("hello\n")
    (tmp_path / "page.pt").write_text(f"<html>\n<body>not found {'é' * 300}")
    (tmp_path / "empty.pt").write_text("")
    (tmp_path / "pointer.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    torch.save({"of": "{}", "state": {}}, tmp_path / "checkpoint.pt")
    for name, said in {
        "state": "holds no class list, mean and clip shape",
        "pickled": "is no file of tensors alone",
        "classless": "lacks a part: its class list",
        "cut": r"'[^']*cut\.pt' is no whole file of weights: its end is missing$",
        "text": "is no whole file of weights: it is text, 'no weights'$",
        "hello": "is no whole file of weights: it is text, 'hello'$",
        "page": "is no whole file of weights: it is text, '<html> <body>not found",
        "empty": "is no whole file of weights: it is empty$",
        "pointer": "it is a Git LFS pointer; `git lfs pull` fetches the file$",
        "checkpoint": "is what `stsearch train` goes on from after a stop; the weights are in weights.pt beside it",
    }.items():
        with pytest.raises(UserError, match=said):
            read_weights(tmp_path / f"{name}.pt")
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(UserError, match="is a pipe; expected a file"):
        read_weights(tmp_path / "pipe.pt")  # and does not wait for a writer
    for broken, said in {
        "head.1.bias": "'head.1.bias' is missing",
        "another": "it has no 'another'",
    }.items():
        state = {**network.state_dict(), "another": torch.zeros(1)} if broken == "another" else network.state_dict()
        state.pop(broken) if broken != "another" else None
        with pytest.raises(UserError, match=said):
            Weights(about(), state).network()
    with pytest.raises(UserError, match=r"'head.1.weight' is \(2, 64\) and should be \(3, 64\)"):
        Weights(about(3), network.state_dict()).network()


def test_the_papers_schedule() -> None:
    """Section 4.1: it rises over 10 epochs, and is divided by 10 after each further 10."""
    recipe = recipe_of("paper", ["evaluate.epochs=45"]).recipe
    rates = [learning_rate(recipe, epoch * 7, 7) for epoch in range(45)]
    assert rates[:11] == pytest.approx([0.01 * (epoch * 7 + 1) / 70 for epoch in range(10)] + [0.01])
    assert rates[10:] == pytest.approx([0.01] * 10 + [0.001] * 10 + [1e-4] * 10 + [1e-5] * 5)
    assert (recipe.optimizer, recipe.batch, recipe.momentum, recipe.weight_decay) == ("sgd", 32, 0.9, 1e-4)
    assert (recipe.label_smoothing, recipe.residual_scale, recipe.extras) == (0.0, 1.0, Extras())
    quick, proxy = recipe_of("quick").recipe, TrainRecipe()
    other = {"epochs", "stem_channels"}  # of a proxy that is trained in its place
    assert quick.model_dump(exclude=other).items() >= proxy.model_dump(exclude={"repeats", *other}).items()


@pytest.mark.parametrize("mix", [Mix(0.3), Mix(0.75, (2, 10, 4, 12))])
def test_mixed_clips_are_trained_on_both_classes(motions: ClipData, mix: Mix) -> None:
    """The loss is that of the clips mixed by hand, and micro-batches change no gradient."""
    torch.manual_seed(0)
    linear = nn.Linear(3 * 4 * 16 * 16, 2)
    network = nn.Sequential(nn.Flatten(), linear)
    runner = Runner(network, motions, WholeRecipe(), CPU)
    clips, labels = torch.randint(0, 255, (5, 3, 4, 16, 16), dtype=torch.uint8), torch.tensor([0, 1, 0, 1, 1])
    inputs = runner.normalised(clips)
    if mix.box is None:
        byhand = 0.3 * inputs + 0.7 * inputs.roll(-1, 0)
    else:
        byhand = inputs.clone()
        byhand[..., 2:10, 4:12] = inputs.roll(-1, 0)[..., 2:10, 4:12]
        assert mix.share == 1 - 64 / 256
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    logits = network(byhand)
    wanted = mix.share * loss(logits, labels) + (1 - mix.share) * loss(logits, labels.roll(-1))
    (gradient,) = torch.autograd.grad(wanted, [linear.weight])
    for micro in (5, 2, 1):
        accumulate(runner, Batch(clips, labels, None), Step(0.1, mix), micro)
        found = linear.weight.grad
        assert found is not None
        assert torch.allclose(found, gradient, rtol=1e-3, atol=1e-6)


def test_how_clips_are_mixed_is_drawn_from_the_training_s_generator() -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert draw_mix(Extras(), 16, generator) is None
    assert torch.equal(generator.get_state(), before)
    drawn = [draw_mix(Extras(mixup=0.2, cutmix=1.0), 16, generator) for _ in range(200)]
    boxes = [mix.box for mix in drawn if mix is not None and mix.box is not None]
    assert 60 < len(boxes) < 140
    for mix in drawn:
        assert mix is not None
        assert 0 <= mix.share <= 1
        if mix.box is not None:
            top, bottom, left, right = mix.box
            assert 0 <= top <= bottom <= 16
            assert 0 <= left <= right <= 16
            assert mix.share == pytest.approx(1 - (bottom - top) * (right - left) / 256)
    assert all(draw_mix(Extras(cutmix=1.0), 16, generator).box for _ in range(5))  # type: ignore[union-attr]


def test_averaged_weights_get_statistics_of_their_own(motions: ClipData) -> None:
    """The weights are the average of those after each step, the statistics those of the training clips under them."""
    recipe = WholeRecipe(epochs=1, batch=6, ema=0.5, warmup=0, optimizer="sgd", lr=0.05)
    generator = torch.Generator().manual_seed(0)
    network = build(parse_placement(NETWORK), ClipShape(3, 4, 16, 16), 2, generator=generator)
    key, seen = "head.1.weight", list[torch.Tensor]()

    def on_step(done: int, per_epoch: int) -> None:
        seen.append(network.state_dict()[key].clone())

    trainer = Trainer(network, motions, recipe, frames=4, size=16, generator=generator, device=CPU, on_step=on_step)
    trainer.epoch()
    live = trainer.result()
    state = generator.get_state()
    trainer.settle()
    assert torch.equal(generator.get_state(), state)
    wanted = seen[0]
    for weights in seen[1:]:
        wanted = 0.5 * wanted + 0.5 * weights
    kept = trainer.weights()
    assert torch.allclose(kept[key], wanted, atol=1e-6)
    assert not torch.allclose(kept[key], seen[-1], atol=1e-6)
    cuts = training_cuts(motions, 4, 16, 6, recipe.augment, torch.Generator().manual_seed(1))
    stem, runner = network.stages["conv1"][0][0], Runner(network, motions, recipe, CPU)  # type: ignore[index]
    with torch.no_grad():
        made = (runner.normalised(batch.clips) for batch in batches(motions.splits["train"], cuts, 6, CPU))
        mean = torch.stack([stem(inputs).mean((0, 2, 3, 4)) for inputs in made]).mean(0)
    assert torch.allclose(kept["stages.conv1.0.1.running_mean"], mean, atol=0.1)
    assert kept["stages.conv1.0.1.num_batches_tracked"] == len(seen)
    assert live.curve == trainer.result().curve


def test_a_folder_has_one_training_at_a_time(motions: ClipData, tmp_path: Path) -> None:
    from stsearch.evaluate.evaluators import Task
    from stsearch.evaluate.finish import Heard, train_whole

    task = Task(parse_placement(NETWORK), ClipShape(3, 4, 16, 16), motions, WholeRecipe(epochs=1, batch=6), 0, CPU)
    heard: list[str] = []

    def second(epoch: object) -> None:
        with pytest.raises(StsearchError, match="another process trains into"):
            train_whole(task, tmp_path / "out", about(), None, Heard())
        heard.append("refused")

    train_whole(task, tmp_path / "out", about(), None, Heard(epoch=second))
    assert heard == ["refused"]


def test_a_training_begins_with_a_2d_network(tmp_path: Path) -> None:
    """What is put into the network is the 2D one's, in the middle tap, and its classifier."""
    plane = [text if "3d-3dx1" not in text else "2d-2dx1-2dx1-2dx1-2dx1@w0.125" for text in TRAIN]
    typed(*plane, "--set=evaluate.epochs=2", "--out", "plane")
    flat = read_weights(tmp_path / "plane" / "weights.pt")
    frozen = ["--set=evaluate={optimizer: sgd, lr: 1e-12, weight_decay: 0, epochs: 1}", "--out", "space"]
    given = ["--inflate-from", "plane/weights.pt"]
    other = [text.replace("2dx1@", "2dx2@") for text in TRAIN]
    assert "the 2D network of the shape of" in refused(*other, *given, "--out", "none")
    assert not (tmp_path / "none").exists()
    typed(*TRAIN, *frozen, *given)
    found = read_weights(tmp_path / "space" / "weights.pt")
    assert found.about.begun_from == "weights.pt (2d-2d-2d-2d-2d@w0.125, inflated: centre)"
    middle = found.state["stages.conv2_x.0.main.0.weight"]
    assert torch.allclose(middle[:, :, 1], flat.state["stages.conv2_x.0.main.0.weight"][:, :, 0])
    assert float(middle[:, :, 0].abs().max()) < 1e-6
    assert torch.allclose(found.state["head.1.weight"], flat.state["head.1.weight"])
