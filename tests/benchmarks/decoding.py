"""How quick is `decode` beside a bare PyAV loop on the same files and cores? Run by hand, not in CI.

    taskset -c 0 python tests/benchmarks/decoding.py FOLDER_OR_FILE...     # real files
    taskset -c 0 python tests/benchmarks/decoding.py                       # files that are encoded first

In turns, each decodes all files side by side on as many threads as there are cores: the bare loop,
`decode` of all frames, and `decode` of the frames that are kept for clips of 16 and of 8 frames in
one second. Prints the seconds that the whole set takes (median of the turns), and the speed relative
to the bare loop of the same turn (median).
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import av
import numpy as np

from stsearch.data.decode import NotAVideo, UnreadableVideo, decode
from stsearch.data.sampling import plan

HEIGHT, WIDTH = 128, 171
SIZES = {"340x256": (256, 340, 300), "1280x720": (720, 1280, 150)}


def bare(path: Path) -> int:
    """The loop that one would write first; gives the number of frames."""
    with av.open(str(path), metadata_errors="ignore") as container:
        frames = [
            frame.reformat(WIDTH, HEIGHT, "rgb24").to_ndarray()
            for frame in container.decode(container.streams.video[0])
        ]
    return len(np.stack(frames))


def everything(path: Path) -> int:
    """All frames."""
    return len(decode(path, height=HEIGHT, width=WIDTH).frames)


def chosen(path: Path, frames: int) -> int:
    """The frames that training keeps."""
    keep = partial(plan, frames=frames, span=1.0, windows=10, fps=None)
    return len(decode(path, height=HEIGHT, width=WIDTH, choose=lambda times: keep(times).numbers).frames)


WAYS: dict[str, Callable[[Path], int]] = {
    "bare loop": bare,
    "decode, all": everything,
    "decode, clips of 16": partial(chosen, frames=16),
    "decode, clips of 8": partial(chosen, frames=8),
}


def encode(path: Path, height: int, width: int, count: int) -> None:
    """H.264 of noise that moves over a gradient, 30 frames a second."""
    noise = np.random.default_rng(0).integers(0, 40, (height + count, width + count, 3), dtype=np.uint8)
    rows, columns = np.mgrid[:height, :width]
    ramp = np.stack([rows * 200 // height, columns * 200 // width, (rows + columns) * 100 // height], axis=2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for t in range(count):
            moved = noise[t : t + height, t // 2 : t // 2 + width]
            pixels = (ramp.clip(0, 200) + moved).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def readable(files: list[Path]) -> list[Path]:
    """Those that both ways decode: the bare loop stops at the first fault."""
    kept = []
    for path in files:
        try:
            if bare(path) == everything(path):
                kept.append(path)
        except (av.FFmpegError, NotAVideo, UnreadableVideo):
            continue
    return kept


def compare(name: str, files: list[Path], turns: int, threads: int) -> None:
    """Time the ways in turns and print a line for each."""
    spent: dict[str, list[float]] = {way: [] for way in WAYS}
    counts: dict[str, int] = {}
    with ThreadPoolExecutor(threads) as pool:
        for turn in range(turns):
            order = list(WAYS) if turn % 2 else list(reversed(WAYS))
            for way in order:
                begun = time.perf_counter()
                counts[way] = sum(pool.map(WAYS[way], files))
                spent[way].append(time.perf_counter() - begun)
    for way, seconds in spent.items():
        middle = statistics.median(seconds)
        speed = statistics.median(base / own for base, own in zip(spent["bare loop"], seconds, strict=True))
        print(
            f"{name} | {way} | {len(files)} | {counts[way]:,} | {middle:.3f} "
            f"({min(seconds):.3f} to {max(seconds):.3f}) | {speed:.2f}",
            flush=True,
        )


def processor() -> str:
    """The processor's name where Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--turns", type=int, default=15)
    asked = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    print(f"{processor()}, {threads} core(s) used, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()},")
    print(f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}, numpy {np.__version__}; {asked.turns} turns")
    print(f"to {WIDTH}x{HEIGHT} | way | files | frames given | seconds, median (range) | speed")
    if asked.files:
        files = [one for path in asked.files for one in (sorted(path.rglob("*.*")) if path.is_dir() else [path])]
        compare("given", readable(files), asked.turns, threads)
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, (height, width, count) in SIZES.items():
            path = Path(folder) / f"{name}.mp4"
            encode(path, height, width, count)
            compare(f"h264 {name}", [path] * (2 * threads), asked.turns, threads)


if __name__ == "__main__":
    main()
