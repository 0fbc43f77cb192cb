"""Times of frames, and which frames of a video are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stsearch.data.sampling import frame_times, plan

steps = st.lists(st.floats(0.001, 5.0), min_size=0, max_size=200)
settings = st.fixed_dictionaries(
    {
        "frames": st.integers(1, 40),
        "span": st.floats(0.05, 30.0),
        "windows": st.integers(1, 12),
        "fps": st.none() | st.floats(0.1, 100.0),
    }
)


def even(count: int, rate: float) -> np.ndarray:
    return np.arange(count) / rate


@given(steps, settings)
def test_what_holds_for_every_plan(gaps: list[float], asked: dict[str, float]) -> None:
    times = np.concatenate([[0.0], np.cumsum(gaps)])
    kept = plan(times, **asked)  # type: ignore[arg-type]
    again = plan(times, **asked)  # type: ignore[arg-type]
    assert np.array_equal(kept.numbers, again.numbers)
    assert kept.numbers.min() >= 0
    assert kept.numbers.max() < len(times)
    assert np.all(np.diff(kept.numbers) >= 0)
    each, rest = divmod(len(kept.numbers), kept.segments)
    assert rest == 0
    assert 1 <= kept.window <= each
    assert kept.segments in (1, asked["windows"])
    assert len(kept.numbers) <= len(times) + kept.segments, "never more than the video has on average, but for rounding"


@given(st.integers(1, 300), st.floats(1, 120), st.integers(1, 4))
def test_a_video_slower_than_what_is_wanted_is_kept_frame_by_frame(count: int, rate: float, windows: int) -> None:
    kept = plan(even(count, rate), frames=1000, span=count / rate / windows * 1.01, windows=windows, fps=None)
    assert kept.numbers.tolist() == list(range(count))
    assert kept.segments == 1


@pytest.mark.parametrize(
    ("count", "rate", "asked", "numbers", "segments", "window"),
    [
        # 8 frames a second wanted of 16: every second one, and a clip covers 8 of the 16 kept
        (32, 16, {"frames": 4, "span": 1.0}, list(range(1, 32, 2)), 1, 8),
        # half a second, of which a clip covers all: twice its frames are kept
        (16, 32, {"frames": 4, "span": 1.0}, list(range(1, 16, 2)), 1, 8),
        # fewer frames than a clip has: all of them, which the clip repeats
        (3, 10, {"frames": 8, "span": 1.0}, [0, 1, 2], 1, 3),
        (1, 10, {"frames": 8, "span": 1.0}, [0], 1, 1),
        # longer than two windows of a second: the first and the last second
        (80, 8, {"frames": 4, "span": 1.0, "windows": 2}, [*range(8), *range(72, 80)], 2, 8),
        # one window: the middle second
        (80, 8, {"frames": 4, "span": 1.0, "windows": 1}, list(range(36, 44)), 1, 8),
        # a rate that is asked for; a higher one than the video's is the video's
        (40, 20, {"frames": 4, "span": 1.0, "fps": 5.0}, list(range(2, 40, 4)), 1, 5),
        (40, 20, {"frames": 4, "span": 1.0, "fps": 50.0}, list(range(40)), 1, 20),
        # a frame every two seconds: a clip of a second covers one
        (5, 0.5, {"frames": 4, "span": 1.0, "windows": 10}, [0, 1, 2, 3, 4], 1, 1),
    ],
)
def test_what_is_kept(
    count: int, rate: float, asked: dict[str, float], numbers: list[int], segments: int, window: float
) -> None:
    kept = plan(even(count, rate), **{"windows": 10, "fps": None, **asked})  # type: ignore[arg-type]
    assert (kept.numbers.tolist(), kept.segments) == (numbers, segments)
    assert kept.window == pytest.approx(window)


def test_of_a_variable_rate_each_instant_shows_what_is_on_screen() -> None:
    """A second in 16 frames, a still picture of a second, a second in 16 frames."""
    times = np.concatenate([even(16, 16), [1.0], 2 + even(16, 16)])
    kept = plan(times, frames=4, span=1.0, windows=10, fps=None)
    assert len(kept.numbers) == 24
    assert kept.numbers[8:16].tolist() == [16] * 8
    assert kept.numbers[:8].tolist() == list(range(1, 16, 2))


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([0, 2, 4, 6], [0.0, 0.2, 0.4, 0.6]),
        ([5, 6, 9], [0.0, 0.1, 0.4]),  # from the first frame
        ([None, None, None], [0.0, 0.25, 0.5]),  # nothing known: the header's rate
        ([0, 3, 2, 5, 4], [0.0, 0.25, 0.5, 0.75, 1.0]),  # back and forth: as good as nothing
        ([7], [0.0]),
        ([], []),
        ([*range(0, 40, 2), 38, *range(42, 60, 2)], [t * 0.2 for t in range(30)]),  # one step is wrong
        ([*range(20), None, *range(21, 40)], [t * 0.1 for t in range(40)]),  # one stamp is missing
        ([*range(20), *range(9000, 9020)], [t * 0.1 for t in range(40)]),  # joined: a step that no video has
        ([*range(20), *range(500, 520)], [t * 0.1 for t in (*range(20), *range(500, 520))]),  # a picture that stays
        ([t * 1200 for t in range(40)], [t * 120 for t in range(40)]),  # one every two minutes
        ([t / 1000 for t in range(40)], [t / 4 for t in range(40)]),  # ten thousand a second
    ],
)
def test_times(stamps: list[Any], expected: list[float]) -> None:
    assert frame_times(stamps, 0.1, 4.0) == pytest.approx(expected)


@given(st.lists(st.none() | st.integers(-(2**40), 2**40), max_size=60))
def test_times_always_increase(stamps: list[int | None]) -> None:
    times = frame_times(stamps, 1 / 90_000, 25.0)
    assert len(times) == len(stamps)
    assert np.all(np.diff(times) > 0)
