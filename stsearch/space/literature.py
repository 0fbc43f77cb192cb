"""Published results as data, their costs counted once more by one rule, multiply-adds of layers that have weights.

``tables/published_tables.csv``: the tables of Tran et al. (CVPR 2018) and of slides about it, one figure a row.
``tables/published_zoo.csv``: results and costs as model zoos print them. Every row names its source.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from stsearch.errors import UserError, unknown
from stsearch.space.blueprint import AnyNetwork, ClipShape
from stsearch.space.cost import network_cost
from stsearch.space.published import NETWORKS, PUBLISHED
from stsearch.space.zoo import ZOO, find_any

TABLES = {
    "kinetics": "Kinetics-400, against I3D (slides, after Tran et al., CVPR 2018, table 4)",
    "ucf101": "UCF101, fine-tuned (slides, after Tran et al., CVPR 2018, table 5)",
    "hmdb51": "HMDB51, fine-tuned (slides, after Tran et al., CVPR 2018, table 5)",
    "ig65m": "Kinetics-400 after pre-training on 65 million videos (slides)",
    "zoo": "model zoos: PyTorchVideo, PySlowFast, MMAction2, VMZ, torchvision and others",
}
"""Name to what a table holds"""
CLASSES = {"Kinetics-400": 400, "Kinetics-600": 600, "UCF101": 101, "HMDB51": 51, "Something-Something-v2": 174}
TELLS = 0.005
"""Share by which a printed cost differs from ours before a word is said; below it lies what rounding does"""
_RGB, _FLOW = 3, 2
"""Channels of a frame"""
Seen = tuple[AnyNetwork, ClipShape]


@dataclass(frozen=True)
class Published:
    """One published result."""

    network: str
    """as printed"""
    pretrain: str
    dataset: str
    top1: float | None
    """per cent, of videos"""
    top5: float | None
    views: str
    """clips x crops of the accuracy; empty where it is not said"""
    source: str
    note: str
    printed_gmacs: float | None = None
    """of one view, as printed (usually as GFLOPs)"""
    printed_params_m: float | None = None
    """millions"""
    counted: tuple[Seen, ...] = field(default=(), repr=False)
    """ours: networks, each on what it sees; empty where none of ours is the one printed"""

    @property
    def classes(self) -> int:
        """Of its data set."""
        return next((count for name, count in CLASSES.items() if self.dataset.startswith(name)), 400)

    @property
    def macs(self) -> int | None:
        """Multiply-adds of one view by our rule, of all its streams."""
        if not self.counted:
            return None
        return sum(network_cost(network, clip, self.classes).total.macs for network, clip in self.counted)

    @property
    def input(self) -> str:
        """What one view is, ``32x256x256``; empty where none of ours is counted."""
        return " + ".join(dict.fromkeys("x".join(map(str, clip.sizes[1:])) for _, clip in self.counted))

    @property
    def differs(self) -> str:
        """A word where the printed cost is not ours; empty where it is, or where one of them is not known."""
        macs = self.macs
        if macs is None or self.printed_gmacs is None:
            return ""
        ratio = self.printed_gmacs * 1e9 / macs - 1
        half_digit = 0.5 * 10 ** -_digits(self.printed_gmacs)
        if abs(ratio) <= TELLS or abs(self.printed_gmacs - macs / 1e9) <= half_digit:
            return ""
        return f"printed {ratio:+.1%}: {self.note or 'no reason given'}"


def published(table: str) -> tuple[Published, ...]:
    """The rows of one of ``TABLES``, in the order of the source; ``UserError`` for another name."""
    if table not in TABLES:
        raise UserError(unknown("table", table, TABLES))
    return tuple(_zoo()) if table == "zoo" else tuple(_slides(table))


@dataclass(frozen=True)
class Printed:
    """An accuracy that others published of a network."""

    top1: float
    """per cent, of videos"""
    dataset: str
    pretrain: str
    source: str

    @property
    def said(self) -> str:
        """``73.3 % on Kinetics-400``; with what came before, where that is not nothing."""
        before = "" if self.pretrain in ("", "none") else f" after {self.pretrain}"
        return f"{self.top1:.1f} % on {self.dataset.removesuffix(' val')}{before}"


_PAPER_CLIP = 16
"""Frames of the paper's table that stand for its networks"""


@cache
def printed_of(network: AnyNetwork) -> Printed | None:
    """What is published of ``network``: by the paper, else the first of the zoos' rows, without pre-training if any."""
    for result in PUBLISHED:
        if NETWORKS[result.network] == network and result.frames == _PAPER_CLIP:
            return Printed(result.video_top1, "Kinetics-400", "none", "Tran et al., CVPR 2018, Table 2")
    found = [
        Printed(row.top1, row.dataset, row.pretrain, row.source)
        for row in published("zoo")
        if row.top1 is not None and row.dataset.startswith("Kinetics-400") and [n for n, _ in row.counted] == [network]
    ]
    return min(found, key=lambda one: one.pretrain != "none", default=None)


def main_dataset(table: str) -> str:
    """The data set whose results a front of ``table`` compares; results on others are only listed."""
    return {"ucf101": "UCF101", "hmdb51": "HMDB51"}.get(table, "Kinetics-400")


@cache
def _rows(name: str) -> tuple[dict[str, str], ...]:
    text = (files("stsearch.space.tables") / f"{name}.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


def _number(text: str) -> float | None:
    return float(text) if text else None


def _digits(value: float) -> int:
    return len(f"{value:g}".partition(".")[2])


def _slides(table: str) -> Iterator[Published]:
    dataset = main_dataset(table)
    group = "ucf101_hmdb51" if table in ("ucf101", "hmdb51") else table
    found: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for row in _rows("published_tables"):
        if row["table"] == group and row["dataset"] == dataset:
            found.setdefault((row["row"], row["pretrain"]), {})[row["metric"]] = row
    for (name, pretrain), metrics in found.items():
        first = next(iter(metrics.values()))
        top5 = metrics.get("top5", {}).get("value", "")
        top1 = float(metrics["top1"]["value"])
        counted = _streams(name)
        yield Published(
            name, pretrain, dataset, top1, _number(top5), "", first["source"], first["note"], counted=counted
        )


def _streams(name: str) -> tuple[Seen, ...]:
    """Of the slides' ``R(2+1)D-RGB``, ``I3D-Two-Stream`` and so on, as Tran et al. count: 34 layers, 32 frames."""
    match = re.fullmatch(r"(R\(2\+1\)D|I3D)-(RGB|Flow|Two-Stream|34|152)", name)
    if match is None:
        return ()
    layers = match[2] if match[2].isdecimal() else "34"
    network = find_any("I3D" if match[1] == "I3D" else f"R(2+1)D-{layers}")
    frames, size = (64, 224) if match[1] == "I3D" else (32, 112)
    channels = {"Flow": (_FLOW,), "Two-Stream": (_RGB, _FLOW)}.get(match[2], (_RGB,))
    return tuple((network, ClipShape(count, frames, size, size)) for count in channels)


def _zoo() -> Iterator[Published]:
    for row in _rows("published_zoo"):
        yield Published(
            row["network"], row["pretrain"], row["dataset"], _number(row["top1"]), _number(row["top5"]), row["views"],
            row["source"], row["note"], _number(row["gflops_per_view"]), _number(row["params_m"]), _ours(row),
        )  # fmt: skip


_SAME = {
    "C2D-R50": "C2D-R50-8x8",
    "C2D-R50 (TemporalPool)": "C2D-R50-8x8",
    "TSM-R50": "TSM-R50-8",
    "s3d": "S3D",
    "I3D (Inception-V1) RGB": "I3D",
}
"""Names in the zoos to ours"""
_SLOWFAST = {"4+32": "4x16", "8+32": "8x8"}


def _ours(row: dict[str, str]) -> tuple[Seen, ...]:
    """The network of a zoo's row on the clip whose cost is printed; nothing where none of ours is that network."""
    name = row["network"].removesuffix(" (BatchNorm frozen)")
    frames = row["frames"].partition(" ")[0].rpartition("+")[2]
    if name in ("SlowFast-R50", "SlowFast-R101"):
        known = f"{name}-{_SLOWFAST.get(row['frames'])}"
    elif name == "Slow-R50":
        known = f"{name}-{'4x16' if frames == '4' else '8x8'}"
    elif name == "I3D-R50":
        known = "I3D-R50-8x8" if frames == "8" else ""  # that of 32 frames strides time in its stem: another network
    else:
        known = _SAME.get(name, name)
    if known not in _known():
        return ()
    if name == "s3d":
        frames = "16"  # its printed cost is that of 16 frames, its accuracy that of 128
    size = int(row["crop"])
    return ((find_any(known), ClipShape(_RGB, int(frames), size, size)),)


@cache
def _known() -> frozenset[str]:
    return frozenset((*NETWORKS, *ZOO))
