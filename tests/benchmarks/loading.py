r"""What does loading cost a training? Run by hand, not in CI.

    python tests/benchmarks/loading.py --threads 1 resident --rounds 5
    python tests/benchmarks/loading.py study $STSEARCH_TEST_VIDEOS/avletters --classes 13
    python tests/benchmarks/loading.py study $STSEARCH_TEST_VIDEOS/avletters --classes 13 --enlarge 256
    python tests/benchmarks/loading.py --threads 1 study ... --enlarge 256 --lengthen 10 --frames 8 --size 32 \
        --workers 2

``resident``: training clips per second, as a share of what the same network does when it is fed
one normalised batch over and over. ``study``: wall time of training 30 networks on a folder of
videos, cache building included, against the loop that one would write with a ``DataLoader`` whose
workers decode a random clip of every video in every epoch. Settings take turns; medians.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from stsearch.data.augment import Augment
from stsearch.data.build import load_videos
from stsearch.data.listing import Entry, Listing
from stsearch.data.loader import resident
from stsearch.data.recipe import VideoRecipe
from stsearch.data.stored import StoredFrames
from stsearch.data.videos import ClipData, VideoSet
from stsearch.evaluate.recipe import TrainRecipe
from stsearch.evaluate.train import train
from stsearch.nets.build import build
from stsearch.profiling.device import device_facts
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import ClipShape
from stsearch.space.published import NETWORKS, find_network

BATCH, LR, WIDTH = 16, 0.02, 0.125
NAMES = ("R2D-18", "MC3-18", "R3D-18", "R(2+1)D-18")
CLIPS = (ClipShape(3, 8, 32, 32), ClipShape(3, 16, 56, 56))
SPAN = 1.0
Network = torch.nn.Module


def network_of(architecture: Architecture, clip: ClipShape, classes: int, device: torch.device) -> Network:
    made = build(architecture.scaled(WIDTH), clip, classes, generator=torch.Generator().manual_seed(0))
    return made.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]


def optimiser_of(network: Network) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), LR, 0.9, weight_decay=1e-4, nesterov=True)


def step(network: Network, optimiser: torch.optim.Optimizer, clips: torch.Tensor, labels: torch.Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    with torch.autocast("cuda", torch.bfloat16, enabled=clips.is_cuda and torch.cuda.is_bf16_supported()):
        logits = network(clips)
    functional.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def made_videos(path: Path, clip: ClipShape, videos: int) -> ClipData:
    """Noise in a file: videos of 48 frames, cached 128/112 x 171/112 as large as a crop."""
    shape = (48 * videos, round(clip.height * 128 / 112), round(clip.width * 171 / 112), 3)
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        for _ in range(videos):
            file.write(rng.integers(0, 256, (48, *shape[1:]), dtype=np.uint8).tobytes())
    lengths = torch.full((videos,), 48)
    labels = torch.arange(videos) % 10
    windows = torch.full((videos,), 25.0)
    train = VideoSet(StoredFrames(path, 0, shape), torch.arange(videos) * 48, lengths, windows, labels)
    few = VideoSet(train.frames, train.starts[:2], lengths[:2], windows[:2], labels[:2])
    return ClipData(
        "noise", tuple("abcdefghij"), {"train": train, "val": few}, (127.5,) * 3, (73.9,) * 3, True, "noise"
    )


def synthetic(architecture: Architecture, clip: ClipShape, steps: int, device: torch.device) -> float:
    """Clips per second of a network that is fed one normalised batch."""
    network = network_of(architecture, clip, 10, device)
    optimiser = optimiser_of(network)
    shape = (BATCH, clip.channels, clip.frames, clip.height, clip.width)
    clips = torch.randn(shape, device=device).to(memory_format=torch.channels_last_3d)
    labels = torch.arange(BATCH, device=device) % 10
    network.train()
    begun = time.perf_counter()
    for _ in range(steps):
        step(network, optimiser, clips, labels)
    wait(device)
    return steps * BATCH / (time.perf_counter() - begun)


def trained(
    architecture: Architecture, clip: ClipShape, data: ClipData, recipe: TrainRecipe, device: torch.device
) -> float:
    """Training clips per second of ``train``."""
    generator = torch.Generator().manual_seed(0)
    network = build(architecture.scaled(WIDTH), clip, 10, generator=generator)
    return train(
        network, data, recipe, frames=clip.frames, size=clip.height, generator=generator, device=device
    ).clips_per_second


PLACES = ("mapped or on the GPU", "streamed or pinned", "mapped, resized and jittered")


def compare_resident(options: argparse.Namespace) -> None:
    """Print a table: share of the synthetic rate by network, clip, place and augmentation."""
    device = torch.device(options.device)
    print("| network | clip | synthetic clips/s | " + " | ".join(PLACES) + " |\n|---|---|--:|--:|--:|--:|")
    said: dict[str, None] = {}
    with tempfile.TemporaryDirectory() as folder:
        for clip in CLIPS:
            made = made_videos(Path(folder) / f"{clip.frames}.bin", clip, options.videos)
            near, far = resident(made, device, 1.0), resident(made, device, 0.0)
            said |= {place.residence.text: None for place in (near, far) if place.residence}
            for name in NAMES:
                base, shares = measured(NETWORKS[name], clip, near, far, options)
                cells = " | ".join(
                    f"{statistics.median(some):.3f} ({min(some):.2f} to {max(some):.2f})" for some in shares
                )
                print(f"| {name} | {clip.frames}x{clip.height}x{clip.width} | {base:.0f} | {cells} |", flush=True)
    print(*said, sep="\n")


def measured(
    architecture: Architecture, clip: ClipShape, near: ClipData, far: ClipData, options: argparse.Namespace
) -> tuple[float, list[list[float]]]:
    """The synthetic rate, and for every one of ``PLACES`` its share in each round."""
    device, per_epoch = torch.device(options.device), options.videos // BATCH
    rate = synthetic(architecture, clip, per_epoch, device)
    epochs = max(1, round(options.seconds * rate / options.videos))
    plain = TrainRecipe(optimizer="sgd", epochs=epochs, batch=BATCH, lr=LR, video_clips=1)
    resized = plain.model_copy(update={"augment": Augment(crop="resized", jitter=0.4)})
    ways: list[Callable[[], float]] = [
        partial(synthetic, architecture, clip, epochs * per_epoch, device),
        *(
            partial(trained, architecture, clip, data, recipe, device)
            for data, recipe in ((near, plain), (far, plain), (near, resized))
        ),
    ]
    rounds = [[way() for way in ways] for _ in range(options.rounds)]
    shares = [[row[place] / row[0] for row in rounds] for place in (1, 2, 3)]
    return statistics.median(row[0] for row in rounds), shares


def entries(root: Path, classes: int) -> Listing:
    """The videos of class folders, the first ``classes`` of them."""
    names = sorted(path.name for path in (root / "train").iterdir() if path.is_dir())[:classes]
    found = [
        Entry(path, str(path.relative_to(root)), label, split)
        for split in ("train", "val")
        for label, name in enumerate(names)
        for path in sorted((root / split / name).glob("*.mp4"))
    ]
    return Listing(tuple(found), tuple(names), True)


def enlarge(listing: Listing, folder: Path, side: int, seconds: float) -> Listing:
    """The same videos re-encoded at a short side of ``side``: H.264, crf 23, x264's own distance of key frames.

    One that is shorter than ``seconds`` plays on, backwards and forwards, until it is as long.
    """
    moved = []
    for entry in listing.entries:
        target = folder / entry.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(entry.path)) as source, av.open(str(target), "w") as container:
            video = source.streams.video[0]
            factor = side / min(video.width, video.height)
            stream = container.add_stream("libx264", rate=video.average_rate or 25)
            stream.width, stream.height = (2 * round(n * factor / 2) for n in (video.width, video.height))
            stream.pix_fmt = "yuv420p"
            frames = [frame.reformat(stream.width, stream.height, "yuv420p") for frame in source.decode(video)]
            there_and_back = cycle([*frames, *frames[-2:0:-1]])
            for number in range(max(len(frames), round(seconds * float(video.average_rate or 25)))):
                frame = next(there_and_back)
                frame.pts = number
                frame.time_base = 1 / (video.average_rate or Fraction(25))
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        moved.append(replace(entry, path=target))
    return replace(listing, entries=tuple(moved))


class DecodedClips(Dataset[tuple[torch.Tensor, int]]):
    """What one writes without a cache: decode a clip, resize, crop, mirror, normalise."""

    def __init__(self, listing: Listing, split: str, data: ClipData, clip: ClipShape) -> None:
        self.entries = [entry for entry in listing.entries if entry.split == split]
        self.random = split == "train"
        self.clip = clip
        self.mean, self.std = torch.tensor(data.mean).view(3, 1, 1, 1), torch.tensor(data.std).view(3, 1, 1, 1)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        entry = self.entries[number]
        place = random.random() if self.random else 0.5
        clip = torch.from_numpy(decoded(entry.path, place, self.clip.frames)).permute(0, 3, 1, 2)
        size = self.clip.height
        short = round(size * 128 / 112)
        height, width = clip.shape[2:]
        scaled = (short, round(short * width / height)) if height < width else (round(short * height / width), short)
        pixels = functional.interpolate(clip.float(), scaled, mode="bilinear", antialias=True, align_corners=False)
        spare = [n - size for n in scaled]
        top, left = (random.randint(0, n) if self.random else n // 2 for n in spare)
        pixels = pixels[:, :, top : top + size, left : left + size]
        if self.random and random.random() < 0.5:
            pixels = pixels.flip(3)
        return (pixels.permute(1, 0, 2, 3) - self.mean) / self.std, entry.label


def decoded(path: Path, place: float, frames: int) -> np.ndarray:
    """Frames of the second that begins at ``place`` (0 to 1) of what is left of the video: ``(frames, H, W, 3)``."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        seconds = float((stream.duration or 0) * (stream.time_base or 0)) or (container.duration or 0) / av.time_base
        begin = place * max(0.0, seconds - SPAN)
        container.seek(int(begin / (stream.time_base or 1)), stream=stream)
        kept = []
        for frame in container.decode(stream):
            if frame.time is None or frame.time >= begin - 1e-3:
                kept.append(frame)
            if frame.time is not None and frame.time >= begin + SPAN:
                break
    chosen = np.linspace(0, len(kept) - 1, frames).round().astype(int)
    return np.stack([kept[number].to_ndarray(format="rgb24") for number in chosen])


def loop(
    architecture: Architecture, clip: ClipShape, loaders: list[DataLoader[Any]], classes: int, epochs: int
) -> float:
    """Train and validate as one would by hand; per cent right."""
    torch.manual_seed(0)
    network = network_of(architecture, clip, classes, torch.device("cpu"))
    optimiser = optimiser_of(network)
    right = 0
    for _ in range(epochs):
        network.train()
        for clips, labels in loaders[0]:
            step(network, optimiser, clips.to(memory_format=torch.channels_last_3d), labels)
        network.eval()
        with torch.inference_mode():
            found = [(network(clips).argmax(1) == labels) for clips, labels in loaders[1]]
        right = int(torch.cat(found).sum())
    return 100 * right / len(loaders[1].dataset)  # type: ignore[arg-type]


def architectures(count: int) -> list[Architecture]:
    """Random placements of the three kinds in R18, each once."""
    draw = random.Random(0)
    names: dict[str, None] = {}
    while len(names) < count:
        names["-".join(draw.choice(("2d", "3d", "2plus1d")) for _ in range(5)) + "@18"] = None
    return [find_network(name) for name in names]


def compare_study(options: argparse.Namespace) -> None:
    """Print both wall times, network by network and in all."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["STSEARCH_CACHE"] = str(Path(folder) / "cache")
        listing = entries(Path(options.videos), options.classes)
        if options.enlarge:
            listing = enlarge(listing, Path(folder) / "enlarged", options.enlarge, options.lengthen)
        begun = time.perf_counter()
        data = load_videos(
            listing,
            VideoRecipe(path=options.videos, span=SPAN),
            options.frames,
            options.size,
            lambda what, done, of: None,
        )
        building = time.perf_counter() - begun
        sizes = ", ".join(f"{len(data.splits[name])} {name}" for name in ("train", "val"))
        print(
            f"{sizes} videos, cache of {sum(s.nbytes for s in data.splits.values()) / 1e6:.0f} MB in {building:.1f} s"
        )
        times = race(options, listing, data)
        if options.workers > 1:
            compare_whole(options, data, building, sum(by_hand for _, by_hand in times))
        placed = resident(data, torch.device("cpu")).residence
        print(f"ours were {placed.text if placed else ''}")
    ours, theirs = zip(*times, strict=True)
    count = options.networks
    if len(times) < count:
        print(f"{len(times)} networks were trained; times of {count} are EXTRAPOLATED from their mean")
    total, other = building + count * statistics.mean(ours), count * statistics.mean(theirs)
    share = statistics.median(b / a for a, b in times)
    print(f"per network, median: ours {statistics.median(ours):.2f} s, by hand {statistics.median(theirs):.2f} s, "
          f"{share:.2f} times as long (least {min(b / a for a, b in times):.2f})")  # fmt: skip
    print(f"{count} networks: ours {total:.1f} s with {building:.1f} s for the cache, by hand {other:.1f} s: "
          f"{other / total:.2f} times as long")  # fmt: skip


def race(options: argparse.Namespace, listing: Listing, data: ClipData) -> list[tuple[float, float]]:
    """Seconds of ours and of the loop by hand, for every network; who begins alternates."""
    cores = len(os.sched_getaffinity(0))
    clip = ClipShape(3, options.frames, options.size, options.size)
    loaders: list[DataLoader[Any]] = [
        DataLoader(
            DecodedClips(listing, split, data, clip), BATCH, shuffle=split == "train", num_workers=cores,
            drop_last=split == "train", persistent_workers=True,
        )
        for split in ("train", "val")
    ]  # fmt: skip
    times = []
    for number, architecture in enumerate(architectures(options.networks)[: options.measured or None]):

        def ours(chosen: Architecture = architecture) -> float:
            return train_ours(chosen, data, clip, options.epochs, options.threads)

        def by_hand(chosen: Architecture = architecture) -> float:
            return loop(chosen, clip, loaders, len(data.classes), options.epochs)

        spent: dict[str, float] = {}
        for name, way in (("ours", ours), ("by hand", by_hand))[:: -1 if number % 2 else 1]:
            begun = time.perf_counter()
            way()
            spent[name] = time.perf_counter() - begun
        times.append((spent["ours"], spent["by hand"]))
        print(f"{architecture.placement}: ours {spent['ours']:.2f} s, by hand {spent['by hand']:.2f} s", flush=True)
    return times


def train_ours(architecture: Architecture, data: ClipData, clip: ClipShape, epochs: int, threads: int) -> float:
    """Top-1 of a network that ``train`` trains."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    network = build(architecture.scaled(WIDTH), clip, len(data.classes), generator=generator)
    recipe = TrainRecipe(optimizer="sgd", epochs=epochs, batch=BATCH, lr=LR, video_clips=1)
    return train(
        network, data, recipe, frames=clip.frames, size=clip.height, generator=generator, device=torch.device("cpu")
    ).clip_top1


def compare_whole(options: argparse.Namespace, data: ClipData, building: float, by_hand: float) -> None:
    """Our study as the engine runs it, several networks side by side, against the loop by hand on all cores."""
    clip = ClipShape(3, options.frames, options.size, options.size)
    work = partial(train_ours, data=data, clip=clip, epochs=options.epochs, threads=options.threads)
    chosen = architectures(options.networks)[: options.measured or None]
    begun = time.perf_counter()
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        list(pool.map(work, chosen))
    spent = time.perf_counter() - begun
    total = spent + building
    print(f"{len(chosen)} networks by {options.workers} workers, their start included: {spent:.1f} s")
    print(f"with the cache {total:.1f} s, by hand {by_hand:.1f} s: {by_hand / total:.2f} times as long")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    modes = parser.add_subparsers(dest="mode", required=True)
    first = modes.add_parser("resident")
    first.add_argument("--rounds", type=int, default=5)
    first.add_argument("--videos", type=int, default=96)
    first.add_argument("--seconds", type=float, default=3.0, help="of one measurement, about")
    first.add_argument("--device", default="cpu")
    second = modes.add_parser("study")
    second.add_argument("videos", help="folder with train/<class>/*.mp4 and val/<class>/*.mp4")
    second.add_argument("--networks", type=int, default=30)
    second.add_argument("--measured", type=int, help="train only so many of them and extrapolate")
    second.add_argument("--epochs", type=int, default=1)
    second.add_argument("--classes", type=int, default=1000)
    second.add_argument("--enlarge", type=int, help="re-encode the videos with this short side before")
    second.add_argument("--lengthen", type=float, default=0.0, help="with --enlarge: seconds of a video, at least")
    second.add_argument("--workers", type=int, default=1, help="also ours as a study runs: so many side by side")
    second.add_argument("--frames", type=int, default=16)
    second.add_argument("--size", type=int, default=56)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    facts = device_facts(torch.device(getattr(options, "device", "cpu")))
    said = ", ".join(f"{name} {facts[name]}" for name in ("name", "cores", "threads", "python", "torch", "platform"))
    print(f"{said}, PyAV {av.__version__}, seed 0\n{' '.join(sys.argv)}")
    (compare_resident if options.mode == "resident" else compare_study)(options)


if __name__ == "__main__":
    main()
