"""The built-in set: reversals are exact, so a network blind to order cannot exceed one half."""

from __future__ import annotations

import pytest
import torch

from stsearch.data.motions import MotionsRecipe, load_motions, padded, render
from stsearch.data.rendering import MOTIONS
from stsearch.data.videos import VideoSet
from stsearch.errors import SpecError
from stsearch.schema import validate


def recipe(**values: object) -> MotionsRecipe:
    return validate(MotionsRecipe, {"name": "motions", "clips": 60, "val_clips": 20, **values}, "test")


def pixels(videos: VideoSet) -> torch.Tensor:
    assert isinstance(videos.frames, torch.Tensor), "what is rendered is in memory"
    return videos.frames


def video(videos: VideoSet, number: int) -> torch.Tensor:
    start, length = int(videos.starts[number]), int(videos.lengths[number])
    return pixels(videos)[start : start + length]


@pytest.mark.parametrize("classes", [2, 4, 10])
def test_every_video_has_its_reversal_under_the_other_class_of_its_pair(classes: int) -> None:
    data = load_motions(recipe(classes=classes), 6, 16)
    assert len(data.classes) == classes
    for videos in data.splits.values():
        by_content = {video(videos, n).numpy().tobytes(): int(videos.labels[n]) for n in range(len(videos))}
        assert len(by_content) == len(videos)
        for number in range(len(videos)):
            reversal = by_content[video(videos, number).flip(0).numpy().tobytes()]
            label = int(videos.labels[number])
            assert reversal == label ^ 1, "the reversal of a clip is of the other class of the same pair"


def test_classes_are_balanced_and_splits_differ() -> None:
    data = load_motions(recipe(classes=4), 4, 16)
    assert torch.bincount(data.splits["train"].labels).tolist() == [15] * 4
    assert not torch.equal(pixels(data.splits["val"]), pixels(data.splits["train"])[: 20 * 4])


def test_pixels_are_a_function_of_the_seed() -> None:
    first, again, other = (load_motions(recipe(seed=seed), 4, 16) for seed in (3, 3, 4))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    one, same, another = (pixels(data.splits["train"]) for data in (first, again, other))
    assert torch.equal(one, same)
    assert not torch.equal(one, another)


@pytest.mark.parametrize(("frames", "size"), [(1, 8), (4, 16), (9, 33), (32, 112)])
def test_any_size_and_length(frames: int, size: int) -> None:
    clips = render(MOTIONS[0], 2, frames, size, torch.Generator().manual_seed(0))
    assert clips.shape == (2, frames, size, size, 3)
    assert clips.dtype == torch.uint8


@pytest.mark.parametrize("number", range(len(MOTIONS)))
def test_frames_move(number: int) -> None:
    clips = render(MOTIONS[number], 8, 8, 32, torch.Generator().manual_seed(1)).float()
    moved = (clips[:, 1:] - clips[:, :-1]).abs().mean()
    assert moved > 8, "neighbouring frames differ by more than the noise of 4 grey levels"


def test_no_label_can_be_read_off_single_frames_taken_together() -> None:
    """The multiset of all frames of a class equals that of its reversal, frame for frame."""
    videos = load_motions(recipe(classes=2), 4, 16).splits["train"]
    frames = {label: sorted(
        frame.numpy().tobytes() for n in range(len(videos)) if videos.labels[n] == label for frame in video(videos, n)
    ) for label in (0, 1)}  # fmt: skip
    assert frames[0] == frames[1]


def test_room_for_crops() -> None:
    assert padded(112) == 128
    assert load_motions(recipe(), 4, 16).splits["train"].frames.shape[1:] == (18, 18, 3)


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ({"classes": 3}, "classes: should be even, 2 to 10, since classes come in pairs; given 3"),
        ({"classes": 12}, "classes: should be even, 2 to 10"),
        ({"clips": 7}, "clips: should be even"),
        ({"val_clips": 0}, "val_clips: should be even"),
        ({"seeds": 1}, "unknown key 'seeds'. Did you mean 'seed'?"),
        ({"clips": "many"}, "clips: should be a valid integer; given 'many'"),
    ],
)
def test_wrong_recipes_are_answered(values: dict[str, object], answer: str) -> None:
    with pytest.raises(SpecError) as caught:
        recipe(**values)
    assert answer in str(caught.value)
