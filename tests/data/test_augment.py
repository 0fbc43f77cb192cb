"""How clips are cut from videos: which frames, which pixels, and what is done to them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from stsearch.data.augment import (
    GREY,
    Augment,
    Cuts,
    Normaliser,
    View,
    evaluation_views,
    finished,
    taken,
    training_cuts,
    view_cuts,
)
from stsearch.data.loader import batches
from stsearch.data.motions import MotionsRecipe, load_motions
from stsearch.data.videos import ClipData, VideoSet, channel_statistics, frame_positions
from stsearch.errors import UserError
from stsearch.schema import check

CPU = torch.device("cpu")


def numbered(lengths: list[int], windows: list[float], side: int = 6, segments: int = 1) -> VideoSet:
    """Videos whose pixels say video and frame: 20 x video + frame in red, row in green, column in blue."""
    frames = torch.zeros(sum(lengths), side, side, 3, dtype=torch.uint8)
    frames[..., 0] = torch.cat([20 * n + torch.arange(k) for n, k in enumerate(lengths)])[:, None, None]
    frames[..., 1] = torch.arange(side)[None, :, None]
    frames[..., 2] = torch.arange(side)[None, None, :]
    starts = torch.tensor([sum(lengths[:n]) for n in range(len(lengths))])
    cut = torch.full((len(lengths),), segments)
    return VideoSet(frames, starts, torch.tensor(lengths), torch.tensor(windows), torch.arange(len(lengths)), cut)


def as_data(train: VideoSet, **facts: object) -> ClipData:
    channels = train.frame[2]
    data = ClipData(
        "made", tuple(map(str, range(len(train)))), {"train": train, "val": train},
        (100.0,) * channels, (50.0,) * channels, False, "made",
    )  # fmt: skip
    return replace(data, **facts)  # type: ignore[arg-type]


def noise(videos: int = 6, frames: int = 5, height: int = 20, width: int = 26, channels: int = 3) -> VideoSet:
    pixels = torch.randint(
        0,
        256,
        (videos * frames, height, width, channels),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(0),
    )
    lengths = torch.full((videos,), frames)
    return VideoSet(pixels, torch.arange(videos) * frames, lengths, lengths.float(), torch.arange(videos))


def positions(videos: VideoSet, frames: int, place: float, phase: float) -> list[list[int]]:
    index = torch.arange(len(videos))
    drawn = frame_positions(videos, index, frames, torch.full((len(videos),), place), torch.full((len(videos),), phase))
    return (drawn - videos.starts[:, None]).tolist()


def clips_of(data: ClipData, cuts: Cuts, batch: int = 4) -> torch.Tensor:
    return torch.cat([clips for clips, _, _ in batches(data.splits["train"], cuts, batch, CPU)])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("length", "window", "frames", "place", "phase", "expected"),
    [
        (8, 8, 8, 0.5, 0.5, [0, 1, 2, 3, 4, 5, 6, 7]),  # a clip as long as its video
        (8, 8, 4, 0.5, 0.5, [1, 3, 5, 7]),  # every second frame
        (16, 8, 8, 0.0, 0.5, [0, 1, 2, 3, 4, 5, 6, 7]),
        (16, 8, 8, 1.0, 0.5, [8, 9, 10, 11, 12, 13, 14, 15]),
        (2, 2, 4, 0.5, 0.5, [0, 0, 1, 1]),  # shorter than the clip: frames repeat
        (1, 1, 4, 0.5, 0.5, [0, 0, 0, 0]),
        (8, 8, 8, 1.0, 0.999, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_where_frames_come_from(
    length: int, window: float, frames: int, place: float, phase: float, expected: list[int]
) -> None:
    assert positions(numbered([length], [window]), frames, place, phase) == [expected]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (0.0, [0, 1]),  # 12 frames in 3 segments of 4, windows of 2
        (0.3, [1, 2]),  # 0.9 through the first segment
        (0.34, [4, 5]),
        (0.5, [5, 6]),  # the middle of the middle one
        (0.999, [9, 10]),
        (1.0, [10, 11]),
    ],
)
def test_a_place_in_a_video_of_segments(place: float, expected: list[int]) -> None:
    assert positions(numbered([12], [2.0], segments=3), 2, place, 0.0) == [expected]


def test_no_clip_crosses_from_one_segment_to_the_next() -> None:
    videos = numbered([30], [2.5], segments=10)
    index = torch.zeros(5000, dtype=torch.long)
    drawn = frame_positions(videos, index, 4, *torch.rand(2, 5000, generator=seeded()))
    assert torch.equal(drawn // 3, (drawn // 3)[:, :1].expand(-1, 4))
    assert (int(drawn.min()), int(drawn.max())) == (0, 29)
    evenly = [int(view.positions[0, 0]) // 3 for view in evaluation_views(videos, 4, 10)]
    assert evenly == list(range(10)), "ten clips see ten segments"


def clips_before(
    videos: VideoSet, frames: int, size: int, batch: int, flip: bool, generator: torch.Generator
) -> torch.Tensor:
    """An epoch as it was before clips could be anywhere but in memory, one indexing operation per batch."""
    spare_rows, spare_columns = videos.frame[0] - size, videos.frame[1] - size
    out = []
    for chosen in torch.split(torch.randperm(len(videos), generator=generator), batch):
        draws = torch.rand(5, len(chosen), generator=generator)
        lengths, window = videos.lengths[chosen], videos.windows[chosen]
        parts = (torch.arange(frames) + draws[1][:, None]) * (window / frames)[:, None]
        position = ((draws[0] * (lengths - window))[:, None] + parts).floor().long()
        where = videos.starts[chosen][:, None] + position.clamp(min=0).minimum(lengths[:, None] - 1)
        top = (draws[2] * (spare_rows + 1)).long().clamp(max=spare_rows)
        left = (draws[3] * (spare_columns + 1)).long().clamp(max=spare_columns)
        span = torch.arange(size)
        rows = top[:, None] + span
        columns = left[:, None] + torch.where(((draws[4] < 0.5) & flip)[:, None], span.flip(0), span)
        assert isinstance(videos.frames, torch.Tensor)
        clips = videos.frames[where[:, :, None, None], rows[:, None, :, None], columns[:, None, None, :]]
        out.append(clips.permute(0, 4, 1, 2, 3))
    return torch.cat(out)


@pytest.mark.parametrize("flip", [False, True])
def test_without_new_options_the_draws_are_those_of_before(flip: bool) -> None:
    """Studies begun before go on with the same clips."""
    data = replace(load_motions(MotionsRecipe(clips=20, val_clips=10), 6, 16), flip=flip)
    for seed in range(3):
        generator, before = seeded(seed), seeded(seed)
        cuts = training_cuts(data, 4, 16, 8, Augment(), generator)
        assert torch.equal(clips_of(data, cuts, 8), clips_before(data.splits["train"], 4, 16, 8, flip, before))
        assert torch.equal(generator.get_state(), before.get_state())


def test_an_epoch_visits_every_video_once_and_depends_on_its_generator() -> None:
    data = as_data(numbered([4] * 9, [4.0] * 9), flip=True)

    def epoch(seed: int) -> Cuts:
        return training_cuts(data, 2, 4, 4, Augment(), seeded(seed))

    assert len(epoch(0)) == 8, "nine videos in batches of four: the last batch of one is left out"
    assert len(set(epoch(0).labels.tolist())) == 8
    assert torch.equal(clips_of(data, epoch(0)), clips_of(data, epoch(0)))
    assert not torch.equal(clips_of(data, epoch(0)), clips_of(data, epoch(1)))


def test_crops_and_mirroring() -> None:
    videos = numbered([3, 2], [3.0, 2.0])
    cuts = Cuts(
        3, torch.tensor([[0, 2], [3, 4]]), torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([2, 3]),
        mirrored=torch.tensor([False, True]),
    )  # fmt: skip
    assert isinstance(videos.frames, torch.Tensor)
    clips = finished(taken(videos.frames, cuts.positions, cuts), cuts)
    assert clips.shape == (2, 3, 2, 3, 3)
    assert clips.dtype == torch.uint8
    assert clips[0, 0, :, 0, 0].tolist() == [0, 2]
    assert clips[1, 0, :, 0, 0].tolist() == [20, 21]
    assert clips[0, 1, 0].tolist() == [[1] * 3, [2] * 3, [3] * 3]
    assert clips[0, 2, 0].tolist() == [[2, 3, 4]] * 3
    assert clips[1, 2, 0].tolist() == [[5, 4, 3]] * 3
    assert clips.is_contiguous(memory_format=torch.channels_last_3d)


def test_a_resized_crop_is_what_torch_makes_of_the_box() -> None:
    videos = noise()
    assert isinstance(videos.frames, torch.Tensor)
    boxes = torch.tensor([[20, 26], [7, 9], [16, 16], [9, 26], [20, 5], [1, 1]])
    cuts = Cuts(
        16, videos.starts[:, None] + torch.arange(5), videos.labels,
        torch.tensor([0, 3, 2, 11, 0, 19]), torch.tensor([0, 17, 5, 0, 21, 25]),
        boxes=boxes, mirrored=torch.tensor([False, True, False, True, False, False]),
    )  # fmt: skip
    clips = finished(taken(videos.frames, cuts.positions, cuts), cuts)
    assert clips.is_contiguous(memory_format=torch.channels_last_3d)
    for clip, (height, width), top, left, number in zip(
        clips, boxes.tolist(), cuts.top.tolist(), cuts.left.tolist(), range(6), strict=True
    ):
        box = videos.frames[5 * number : 5 * number + 5, top : top + height, left : left + width]
        scaled = functional.interpolate(
            box.permute(0, 3, 1, 2).float(), (16, 16), mode="bilinear", antialias=True, align_corners=False
        )
        expected = (scaled.flip(3) if number in (1, 3) else scaled).permute(1, 0, 2, 3)
        assert (clip.float() - expected).abs().max() <= 0.501, "rounded to whole levels, nothing else"


def test_boxes_keep_to_area_and_shape() -> None:
    data = as_data(noise(height=80, width=100))
    chosen = Augment(crop="resized", scale=[0.3, 0.6], ratio=[0.5, 2.0])
    cuts = [training_cuts(data, 2, 16, 6, chosen, seeded(seed)) for seed in range(200)]
    boxes = torch.cat([some.boxes for some in cuts if some.boxes is not None]).double()
    area, ratio = boxes.prod(1) / 8000, boxes[:, 1] / boxes[:, 0]
    assert 0.28 < area.min() < 0.32
    assert 0.58 < area.max() < 0.62
    assert 0.49 < ratio.min() < 0.55
    assert 1.8 < ratio.max() < 2.04
    for some in cuts:
        assert some.boxes is not None
        assert torch.all((some.top + some.boxes[:, 0] <= 80) & (some.left + some.boxes[:, 1] <= 100))
    assert {0} < set(torch.cat([some.left for some in cuts]).tolist())


def test_mirrored_flow_points_the_other_way() -> None:
    data = as_data(noise(channels=2), flip=True, modality="flow")
    cuts = training_cuts(data, 3, 16, 6, Augment(jitter=0.5), seeded())
    assert cuts.colour is None, "flow has no colours"
    assert cuts.mirrored is not None
    assert 0 < cuts.mirrored.sum() < 6
    plain = clips_of(data, replace(cuts, mirrored=None))
    for clip, unmirrored, is_mirrored in zip(clips_of(data, cuts), plain, cuts.mirrored.tolist(), strict=True):
        x, y = unmirrored
        expected = torch.stack([255 - x.flip(2), y.flip(2)]) if is_mirrored else unmirrored
        assert torch.equal(clip, expected)
    assert data.channels == 2
    resized = training_cuts(data, 3, 16, 6, Augment(crop="resized"), seeded())
    there, back = clips_of(data, resized), clips_of(data, replace(resized, mirrored=None))
    flipped = torch.stack([255 - back[:, 0].flip(3), back[:, 1].flip(3)], 1)
    assert torch.equal(there[cuts.mirrored], flipped[cuts.mirrored])


def test_nothing_is_mirrored_unless_the_source_says_so() -> None:
    assert training_cuts(as_data(noise()), 3, 16, 6, Augment(), seeded()).mirrored is None


def test_normalisation_is_that_of_before_bit_for_bit() -> None:
    data = as_data(noise(), mean=(101.3, 90.0, 77.7), std=(41.1, 60.0, 33.3))
    clips = clips_of(data, training_cuts(data, 4, 16, 6, Augment(), seeded()))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1, 1) for values in (data.mean, data.std))
    inputs = Normaliser.of(data, CPU)(clips)
    assert torch.equal(inputs, (clips - mean) * (1.0 / std))
    assert inputs.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(Normaliser.of(data, CPU)(clips.contiguous()), inputs)


def test_colours_of_a_clip_are_changed_one_after_the_other() -> None:
    data = as_data(noise(), mean=(101.3, 90.0, 77.7), std=(41.1, 60.0, 33.3))
    cuts = training_cuts(data, 4, 16, 6, Augment(jitter=0.4), seeded())
    assert cuts.colour is not None
    assert cuts.colour.shape == (6, 3)
    assert 0.6 <= cuts.colour.min() < cuts.colour.max() <= 1.4
    clips = clips_of(data, cuts)
    inputs = Normaliser.of(data, CPU)(clips, cuts.colour)
    assert inputs.is_contiguous(memory_format=torch.channels_last_3d)
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (data.mean, data.std))
    grey = torch.tensor(GREY)
    for clip, made, (bright, contrast, saturation) in zip(clips, inputs, cuts.colour.tolist(), strict=True):
        x = bright * clip.float()
        x = contrast * x + (1 - contrast) * float(grey @ torch.tensor(data.mean))
        x = saturation * x + (1 - saturation) * torch.einsum("c,cthw->thw", grey, x)
        assert torch.allclose(made, (x - mean) / std, atol=1e-4)
    unchanged = Normaliser.of(data, CPU)(clips, torch.ones(6, 3))
    assert torch.allclose(unchanged, Normaliser.of(data, CPU)(clips), atol=1e-5)


def test_options_that_are_off_draw_nothing() -> None:
    """Places, crops and mirroring stay when colours begin to change."""
    data = as_data(noise(), flip=True)
    one, other = (training_cuts(data, 4, 16, 6, Augment(jitter=j), seeded()) for j in (0.0, 0.3))
    assert torch.equal(clips_of(data, one), clips_of(data, other))


def test_views_are_spread_and_not_repeated() -> None:
    long = numbered([40], [8.0])
    starts = [int(view.positions[0, 0]) for view in evaluation_views(long, 8, 10)]
    assert len(starts) == 10
    assert (starts[0], starts[-1]) == (0, 32)
    assert len(evaluation_views(numbered([8, 8], [8.0, 8.0]), 8, 10)) == 1
    with pytest.raises(UserError, match="does not fit in cached frames of 6x6"):
        view_cuts(long, evaluation_views(long, 8, 1)[0], 7)


@pytest.mark.parametrize(("height", "width"), [(20, 26), (26, 20)])
def test_three_crops_along_the_longer_side(height: int, width: int) -> None:
    videos = noise(height=height, width=width)
    views = evaluation_views(videos, 5, 10, 3)
    assert [view.side for view in views] == [0, 1, 2], "one instant, as the videos are as short as a clip"
    corners = [(cuts.top.tolist()[0], cuts.left.tolist()[0]) for cuts in (view_cuts(videos, v, 16) for v in views)]
    assert corners == ([(2, 0), (2, 5), (2, 10)] if width > height else [(0, 2), (5, 2), (10, 2)])
    assert len(evaluation_views(numbered([40], [8.0]), 8, 10, 3)) == 30
    middle = view_cuts(videos, View(views[0].positions), 16)
    assert (middle.top.tolist()[0], middle.left.tolist()[0]) == corners[1]


def test_channel_statistics() -> None:
    frames = torch.zeros(10, 2, 2, 3, dtype=torch.uint8)
    frames[::2, ..., 0] = 200
    mean, std = channel_statistics(frames)
    assert mean == (100.0, 0.0, 0.0)
    assert std == (100.0, 1.0, 1.0)  # never below one grey level


def test_settings_that_are_wrong() -> None:
    def fault(**settings: object) -> str:
        (line,) = check(Augment, settings, "evaluate.augment.")[1]
        return line

    assert "evaluate.augment.crop: should be plain or resized; given 'resize'. Did you mean 'resized'?" in fault(
        crop="resize"
    )
    assert "least, then largest" in fault(scale=[0.9, 0.5])
    assert "at most 1" in fault(scale=[0.5, 2.0])
    assert "evaluate.augment.jitter" in fault(jitter=1.0)
    assert "evaluate.augment.ratio" in fault(ratio=[1.0])
    assert "unknown key 'flip'" in fault(flip=True)
    with pytest.raises(ValidationError):
        Augment().jitter = 0.5  # type: ignore[misc]
