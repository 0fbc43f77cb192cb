"""Trained networks on videos: as the training itself judged them, seen as often as asked, by the classes' names."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stsearch.cli import main
from stsearch.errors import UserError
from stsearch.evaluate.accuracy import interval
from stsearch.evaluate.finish import Heard, train_whole
from stsearch.evaluate.judge import Views, parse_views
from stsearch.evaluate.weights import read_weights, write_weights
from stsearch.search.asked_data import data_of
from stsearch.search.finishing import Finishing, recipe_of
from stsearch.search.judging import Judgement, judged
from stsearch.space.architecture import parse_placement

CPU = torch.device("cpu")
NETWORK = "3d-3dx1-2plus1dx1-2dx1-2dx1@w0.125"


def no_progress(what: str, done: int, of: int) -> None:
    pass


@pytest.fixture
def trained(clips: Path, tmp_path: Path) -> Path:
    """The folder of a short training on the ramps, whose clips cover a third of a second."""
    asked = data_of(str(clips), ["data.span=0.3"])
    chosen = recipe_of("quick", ["evaluate.epochs=2", "evaluate.batch=4"])
    finishing = Finishing(parse_placement(NETWORK), asked, chosen, 0, CPU, frames=4, size=32, version="1")
    prepared = finishing.prepared(lambda classes: None, no_progress)
    train_whole(prepared.task, tmp_path / "out", prepared.about, None, Heard())
    return tmp_path / "out"


def said(weights: Path, clips: Path, views: Views, *, split: str = "val", batch: int = 3) -> Judgement:
    asked = data_of(str(clips))
    return judged(
        [read_weights(weights)], asked, views, CPU, split=split, batch=batch, fuse=False, progress=no_progress
    )


def test_it_is_judged_as_its_training_judged_it(trained: Path, clips: Path, tmp_path: Path) -> None:
    """With the rate and the statistics that the weights bring, and whatever the order of the classes was."""
    record = json.loads((trained / "record.json").read_text())["training"]
    found = said(trained / "weights.pt", clips, Views(10, 1))
    (scores,) = found.scores
    assert (scores.video_top1, scores.clip_top1) == (record["video_top1"], record["clip_top1"])
    assert list(scores.per_class) == record["per_class"]
    assert found.names == tuple(f"val/{name}/{number}.mp4" for name in ("brighter", "darker") for number in (0, 1))
    best = [round(float(value), 4) for value in found.logits.softmax(1).max(1).values]
    assert best == pytest.approx([value for _, value in record["predictions"]], abs=0.05)
    once = said(trained / "weights.pt", clips, Views(1, 1))
    assert not torch.equal(once.logits, found.logits)
    alone = said(trained / "weights.pt", clips, Views(1, 1), batch=1)
    assert torch.allclose(once.logits, alone.logits, atol=1e-5)
    assert said(trained / "weights.pt", clips, Views(1, 1), split="train").videos == 8

    given = read_weights(trained / "weights.pt")
    turned = {key: value.flip(0) if key.startswith("head.") else value for key, value in given.state.items()}
    about = replace(given.about, classes=given.about.classes[::-1])
    write_weights(tmp_path / "turned.pt", replace(given, about=about, state=turned))
    twins = [given, replace(given, state={**given.state, "head.1.bias": given.state["head.1.bias"] + 1})]  # as sure
    asked = data_of(str(clips))
    both = judged(twins, asked, Views(10, 1), CPU, split="val", batch=4, fuse=True, progress=no_progress)
    assert both.fused is not None
    assert both.fused.per_class == scores.per_class
    assert both.fused.clip_top1 is None
    turned_too = [given, replace(given, about=about, state=turned)]
    with pytest.raises(UserError, match="--fuse: the networks were trained on different classes"):
        judged(turned_too, asked, Views(1, 1), CPU, split="val", batch=4, fuse=True, progress=no_progress)
    again = said(tmp_path / "turned.pt", clips, Views(10, 1))
    assert again.scores[0].video_top1 == scores.video_top1
    assert again.scores[0].per_class == scores.per_class[::-1]
    assert torch.allclose(again.logits, found.logits.flip(1), atol=1e-6)


def test_what_does_not_fit_is_one_line(trained: Path, clips: Path) -> None:
    weights = str(trained / "weights.pt")
    for split in ("train", "val"):
        (clips / split / "dancing").mkdir()
        (clips / split / "darker" / "0.mp4").rename(clips / split / "dancing" / "0.mp4")
    for text, arguments in {
        "the network was not trained on the class 'dancing'; it knows 2: brighter, darker": ["--data", str(clips)],
        "--views is CLIPSxCROPS with 1 or 3 crops": ["--data", str(clips), "--views", "10x2"],
        "add --data SOURCE": [],
        "'nowhere' is no study, folder or list": ["--data", "nowhere"],
        "--logits is of one NETWORK": [NETWORK, "--weights", weights, "--data", str(clips), "--logits", "a.csv"],
        "there is one --weights for each NETWORK; given 2 and 1": [NETWORK, "--data", str(clips)],
        "--fuse takes two networks or more": ["--data", str(clips), "--fuse"],
        "is not there": ["--data", str(clips), "--device", "cuda:7"],
        "--logits 'clips': Is a directory; expected a file's name": ["--data", str(clips), "--logits", "clips"],
        f"--logits {weights + '/a.csv'!r}: Not a directory": ["--data", str(clips), "--logits", f"{weights}/a.csv"],
    }.items():
        with pytest.raises(UserError) as refused:
            main(["evaluate", NETWORK, "--weights", weights, *arguments], standalone_mode=False)
        assert text in str(refused.value)
    with pytest.raises(UserError, match="--views goes with --weights FILE"):
        main(["evaluate", NETWORK, "--views", "1x1"], standalone_mode=False)
    with pytest.raises(UserError, match="not of MC3-18"):
        main(["evaluate", "MC3-18", "--weights", weights, "--data", str(clips)], standalone_mode=False)


def test_views() -> None:
    assert [parse_views(text) for text in ("1x1", "10x1", "10x3")] == [Views(1, 1), Views(10, 1), Views(10, 3)]
    for text in ("0x1", "10", "x3", "10X3", "1000x1", "-1x1"):
        with pytest.raises(UserError):
            parse_views(text)


def test_intervals_are_wilsons() -> None:
    assert interval(80.0, 10) == pytest.approx((49.0, 94.3), abs=0.05)
    assert interval(0.0, 20)[0] == 0.0
    assert interval(100.0, 20)[1] == 100.0
    low, high = interval(50.0, 1_000_000)
    assert high - low == pytest.approx(2 * 1.96 * 0.05, rel=1e-3)
