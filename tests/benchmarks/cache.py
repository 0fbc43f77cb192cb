"""Building, checking and reading a clip cache: ``python tests/benchmarks/cache.py [VIDEOS] [FOLDER]``.

Decodes ``VIDEOS`` copies of one second-long video of 340 x 256 pixels with one thread, with as
many threads and with as many processes as there are processors; then times one whole build, a
load with its check of the frames, and the reading of random clips.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from stsearch.data.build import load_videos
from stsearch.data.cache import cores
from stsearch.data.jobs import decode_one, make_job
from stsearch.data.listing import Entry, Listing
from stsearch.data.recipe import VideoRecipe
from stsearch.data.stored import StoredFrames
from tests.conftest import write_video

FRAMES, SIZE, SECONDS = 16, 112, 10


def quiet(what: str, done: int, of: int) -> None:
    """No progress."""


def made(folder: Path, count: int) -> Listing:
    """One video of moving noise, listed ``count`` times."""
    noise = np.random.default_rng(0).integers(0, 255, (32, 43, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)[:, :340]
    frames = np.stack([np.roll(noise, 3 * t, axis=1) for t in range(25 * SECONDS)])
    write_video(folder / "v.mp4", frames)
    entries = tuple(Entry(folder / "v.mp4", str(n), 0, "train" if n < count - 1 else "val") for n in range(count))
    return Listing(entries, ("noise",), True)


def _decode(number: int) -> int:
    _, frames = decode_one(_JOB, number)
    assert frames is not None
    return frames.nbytes


def _decode_whole(number: int) -> np.ndarray:
    _, frames = decode_one(_JOB, number)
    assert frames is not None
    return frames


def compare(ways: dict[str, tuple[Callable[[], Executor], Callable[[int], object]]], count: int) -> None:
    """Videos per second of each way, median of seven rounds in which the ways take turns."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(7):
        for name, (pool, work) in ways.items():
            with pool() as executor:
                list(executor.map(_decode, range(2 * cores())))
                begin = time.perf_counter()
                for _result in executor.map(work, range(count)):
                    pass
                rates[name].append(count / (time.perf_counter() - begin))
    for name, found in rates.items():
        print(f"{name:40} {statistics.median(found):6.1f} videos/s ({min(found):.1f} to {max(found):.1f})")


def timed(what: str, work: Callable[[], object], amount: float, unit: str) -> None:
    begin = time.perf_counter()
    work()
    seconds = time.perf_counter() - begin
    print(f"{what:40} {seconds:7.2f} s  {amount / seconds:9,.1f} {unit}/s")


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as place:
        os.environ["STSEARCH_CACHE"] = f"{place}/cache"
        torch.set_num_threads(1)
        listing, recipe = made(Path(place), count), VideoRecipe(path=place)
        _JOB = make_job(listing, recipe, FRAMES, SIZE, quiet)
        fork = multiprocessing.get_context("fork")
        print(f"{count} videos of {SECONDS} s, {cores()} processors")
        ways: dict[str, tuple[Callable[[], Executor], Callable[[int], object]]] = {
            "1 thread": (lambda: ThreadPoolExecutor(1), _decode),
            f"{cores()} threads": (lambda: ThreadPoolExecutor(cores()), _decode),
            f"{cores()} processes, frames dropped": (lambda: ProcessPoolExecutor(cores(), fork), _decode),
            f"{cores()} processes, frames sent": (lambda: ProcessPoolExecutor(cores(), fork), _decode_whole),
        }
        compare(ways, min(count, 12))
        timed("build", lambda: load_videos(listing, recipe, FRAMES, SIZE, quiet), count, "videos")
        data = load_videos(listing, recipe, FRAMES, SIZE, quiet)
        stored = data.splits["train"].frames
        assert isinstance(stored, StoredFrames)
        size = stored.nbytes / 1e6
        timed("load, frames checked", lambda: load_videos(listing, recipe, FRAMES, SIZE, quiet), size, "MB")
        generator = torch.Generator().manual_seed(0)
        begins = torch.randint(0, len(stored) - 32, (20, 16, 1), generator=generator)
        clips = [begin + torch.arange(0, 32, 2) for begin in begins]
        read, mapped = stored.read, stored.mapped()
        timed("read 20 batches of 16 clips, 16 frames", lambda: [read(clip) for clip in clips], 320, "clips")
        timed("the same from the mapped file", lambda: [mapped[clip] for clip in clips], 320, "clips")
