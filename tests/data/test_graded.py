"""The built-in set that grades: looks are told by frames, ways by their order alone."""

from __future__ import annotations

import pytest
import torch

from stsearch.data.graded import LOOKS, Graded, GradedRecipe, render
from stsearch.data.videos import ClipData, VideoSet
from stsearch.errors import SpecError
from stsearch.schema import validate


def recipe(**values: object) -> GradedRecipe:
    return validate(GradedRecipe, {"name": "graded", "clips": 60, "val_clips": 60, **values}, "test")


def load(asked: GradedRecipe, frames: int = 4, size: int = 16) -> ClipData:
    return Graded(asked).load(frames, size, lambda *_: None)


def video(videos: VideoSet, number: int) -> torch.Tensor:
    assert isinstance(videos.frames, torch.Tensor), "what is rendered is in memory"
    start, length = int(videos.starts[number]), int(videos.lengths[number])
    return videos.frames[start : start + length]


@pytest.mark.parametrize(("pairs", "scenes"), [(3, 4), (1, 0), (5, 2), (2, 1)])
def test_a_video_backwards_is_there_too_and_only_pairs_call_it_otherwise(pairs: int, scenes: int) -> None:
    data = load(recipe(pairs=pairs, scenes=scenes, clips=130, val_clips=130))
    assert len(data.classes) == len(set(data.classes)) == 2 * pairs + scenes
    for videos in data.splits.values():
        by_content = {video(videos, n).numpy().tobytes(): int(videos.labels[n]) for n in range(len(videos))}
        assert len(by_content) == len(videos)
        for number in range(len(videos)):
            label = int(videos.labels[number])
            backwards = by_content[video(videos, number).flip(0).numpy().tobytes()]
            assert backwards == (label ^ 1 if label < 2 * pairs else label)


def test_classes_are_of_one_size_and_splits_differ() -> None:
    data = load(recipe(clips=250, val_clips=90))
    train, val = data.splits["train"], data.splits["val"]
    counts = torch.bincount(train.labels).tolist()
    assert max(counts) - min(counts) <= 1
    assert len(train) <= 250
    assert len(val) <= 90
    assert not torch.equal(video(train, 0), video(val, 0))


def test_pixels_are_a_function_of_the_seed() -> None:
    first, again, other = (load(recipe(seed=seed)) for seed in (3, 3, 4))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert torch.equal(video(first.splits["train"], 5), video(again.splits["train"], 5))
    assert not torch.equal(video(first.splits["train"], 5), video(other.splits["train"], 5))


@pytest.mark.parametrize("look", range(len(LOOKS)))
def test_a_look_is_in_every_frame(look: int) -> None:
    """On average over clips, the colour of the middle of each frame leans to the look's hue."""
    generator = torch.Generator().manual_seed(0)
    clips = render(look, 2, len(LOOKS), 3, 24, generator, 300).double()[:, :, 6:18, 6:18]
    others = torch.stack(
        [render(o, 2, len(LOOKS), 3, 24, generator, 300).double()[:, :, 6:18, 6:18].mean((0, 2, 3)) for o in range(7)]
    )
    lean = clips.mean((0, 2, 3)) - others.mean(0)  # of each instant
    hue = torch.tensor(LOOKS[look].hue, dtype=torch.float64)
    assert (lean @ (hue - torch.tensor([one.hue for one in LOOKS], dtype=torch.float64).mean(0)) > 0).all()


def test_difficulty_varies_from_clip_to_clip() -> None:
    clips = render(0, 0, 7, 8, 24, torch.Generator().manual_seed(0), 64).double()
    noise = (clips[:, 1:] - clips[:, :-1])[:, :, ::6, ::6].abs().median(1).values.mean((1, 2, 3))
    assert noise.max() > 4 * noise.min()


@pytest.mark.parametrize(("frames", "size"), [(1, 8), (9, 33), (32, 112)])
def test_any_size_and_length(frames: int, size: int) -> None:
    clips = render(0, 1, 7, frames, size, torch.Generator().manual_seed(0), 2)
    assert clips.shape == (2, frames, size, size, 3)
    assert clips.dtype == torch.uint8


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"pairs": 5, "scenes": 3}, "pairs and scenes are at most 7 together; given 5 and 3"),
        ({"clips": 12}, "clips: 3 pairs and 4 scenes take 60"),
        ({"pairs": 6}, "pairs: "),
    ],
)
def test_what_does_not_fit_is_said(values: dict[str, int], said: str) -> None:
    with pytest.raises(SpecError) as error:
        recipe(**values)
    assert said in str(error.value)
