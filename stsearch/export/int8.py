"""An ONNX file with 8-bit weights and activations beside the one with 32, measured against it and kept where faster.

Static quantization of onnxruntime: QDQ, weights in int8 for each channel, activations in uint8 between the least and
the largest value that they take on training clips.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stsearch.data.loader import resident
from stsearch.data.videos import ClipData
from stsearch.errors import StsearchError, UserError, WorldError, brief
from stsearch.evaluate.centre import CPU, centre_clips
from stsearch.evaluate.weights import About
from stsearch.export.exporting import Exported, ExportFailed, reason, unseen_shapes
from stsearch.export.formats import INPUT, METADATA, OUTPUT, quiet
from stsearch.interrupt import check
from stsearch.stats.proportions import wilson

CALIBRATED = 128
"""Training clips that ranges are read off, at most, one of a video"""
_WARM, _PAIRS, _LEAST_PAIRS, _LONGEST_S = 2, 40, 10, 20.0
"""Runs of each file before they are timed, then pairs of runs: so many, or at least so few within so many seconds"""


@dataclass(frozen=True)
class Times:
    """What one clip takes with either file; runs take turns, so that whatever else the machine does hits both."""

    int8_ms: tuple[float, ...]
    fp32_ms: tuple[float, ...]

    @property
    def wins(self) -> int:
        """Pairs of runs in which int8 was faster."""
        return sum(a < b for a, b in zip(self.int8_ms, self.fp32_ms, strict=True))

    @property
    def faster(self) -> bool:
        """Whether int8 is faster: in more than half of all pairs, by their 95 % interval."""
        return wilson(self.wins / len(self.int8_ms), len(self.int8_ms))[0] > 0.5


@dataclass(frozen=True)
class Int8:
    """What the file with 8 bits is worth beside the one with 32."""

    path: Path
    kept: bool
    calibrated_on: int
    """training clips"""
    videos: int
    """of the validation set, each seen once, in its middle"""
    top1: tuple[float, float]
    """of int8 and of fp32, per cent"""
    changed: int
    """videos of which they name different classes"""
    times: Times
    threads: int
    """of onnxruntime, each"""

    @property
    def latency_ms(self) -> tuple[float, float]:
        """Medians of int8 and of fp32."""
        return statistics.median(self.times.int8_ms), statistics.median(self.times.fp32_ms)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON and within the file."""
        both = {"top1": self.top1, "latency_ms": self.latency_ms}
        return {
            "calibrated_on": self.calibrated_on,
            "videos": self.videos,
            **{name: dict(zip(("int8", "fp32"), values, strict=True)) for name, values in both.items()},
            "changed": self.changed,
            "faster_in": self.times.wins,
            "pairs": len(self.times.int8_ms),
            "threads": self.threads,
        }

    @property
    def lines(self) -> list[str]:
        """What is printed of it."""
        (int8, fp32), (fast, slow), pairs = self.top1, self.latency_ms, len(self.times.int8_ms)
        said = [
            f"int8, calibrated on {self.calibrated_on} training clips: top-1 {int8:.1f} %, fp32 {fp32:.1f} % "
            f"({int8 - fp32:+.1f} points) of {self.videos} validation videos, one clip each; "
            f"{self.changed} of them are called otherwise",
            f"latency of a clip, {self.threads} thread{'s' * (self.threads > 1)}: int8 {fast:.2f} ms, fp32 {slow:.2f} "
            f"ms (medians); int8 faster in {self.times.wins} of {pairs} pairs of runs",
        ]
        if not self.kept:
            return [*said, "int8 is not kept: it is not faster here, so the fp32 file stays alone"]
        return [*said, f"written: {self.path} ({self.path.stat().st_size / 1e6:.1f} MB)"]


def int8_path(path: Path) -> Path:
    """``net.int8.onnx`` beside ``net.onnx``."""
    return path.with_name(f"{path.stem}.int8{path.suffix}")


def check_place(path: Path) -> None:
    """``UserError`` where the file beside ``path`` cannot have its name."""
    if path.name and int8_path(path).is_dir():
        raise UserError(f"--int8 writes {brief(str(int8_path(path)))}: there is a folder; give -o another name")


def drop_older(path: Path, *, asked: bool) -> str:
    """Remove the file with 8 bits of an earlier ``path``, which has other weights now; a line that says so, or none.

    One that ``export`` did not write stays, unless its name is ``asked`` for. Raises ``WorldError``.
    """
    older = int8_path(path)
    if not older.is_file() or not (asked or _is_ours(older)):
        return ""
    try:
        older.unlink()
    except OSError as error:
        raise WorldError(f"cannot remove {older}, which is of an earlier {path.name}: {error.strerror}") from None
    return f"removed: {older}, which was made of an earlier {path.name}"


def _is_ours(path: Path) -> bool:
    import onnx

    try:
        known = {one.key: one.value for one in onnx.load(path, load_external_data=False).metadata_props}
        return "int8" in json.loads(known[METADATA])
    except Exception:  # of onnx or protobuf, of any kind: it is another's
        return False


def quantised(
    exported: Exported,
    about: About,
    data: ClipData,
    *,
    say: Callable[[str], None],
    keep: Callable[[Times], bool] = lambda times: times.faster,
) -> Int8:
    """Write the file with 8 bits beside ``exported``, if ``keep`` says so of its times; an older one goes otherwise.

    ``data`` are as ``as_trained`` gives them. Raises ``UserError`` where there are no clips to calibrate on or to
    judge by, ``ExportFailed`` where onnxruntime cannot, ``WorldError`` where the file cannot be written.
    """
    check_clips(data)
    data = resident(data, CPU)
    path, threads = int8_path(exported.path), torch.get_num_threads()
    try:
        with (
            tempfile.TemporaryDirectory(prefix=".int8-", dir=path.parent) as folder,
            room_for(path.parent, exported.path.stat().st_size),
        ):
            part = Path(folder) / "network.onnx"
            say(f"calibrating int8 on {min(CALIBRATED, len(data.splits['train']))} training clips")
            count = _quantise(exported.path, part, _clips(data, about, "train", CALIBRATED))
            runs = [_run(file, threads) for file in (part, exported.path)]
            _try(runs[0], about, "".join(exported.metadata["input"]["dynamic"]))
            say("comparing int8 with fp32 on the validation videos")
            top1, changed = _compared(
                runs, centre_clips(data, about.frames, about.size, "val", len(data.splits["val"]))
            )
            times = _timed(runs, next(_clips(data, about, "val", 1)))
            found = Int8(path, keep(times), count, len(data.splits["val"]), top1, changed, times, threads)
            if found.kept:
                _place(part, path, {**exported.metadata, "int8": found.as_dict()})
            else:
                path.unlink(missing_ok=True)
            return found
    except StsearchError:
        raise
    except OSError as error:
        raise WorldError(f"cannot write {path}: {error.strerror or error}; the fp32 file is kept") from None
    except Exception as error:  # of onnxruntime, of any kind: the reason's first line is enough
        raise ExportFailed(f"{reason(error, path, path, 'int8')}; the fp32 file is kept") from None


@contextmanager
def room_for(folder: Path, size: int) -> Iterator[None]:
    """Any error within is that of a full disk, where less than ``size`` bytes are free in ``folder`` when it comes.

    onnxruntime writes a file as far as there is room, without a word, and then cannot read it.
    """
    try:
        yield
    except (StsearchError, OSError):
        raise
    except Exception as error:  # of onnxruntime or protobuf, of any kind
        if shutil.disk_usage(folder).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise


def check_clips(data: ClipData) -> None:
    """``UserError`` where there is nothing to calibrate on or to judge by."""
    for split, why in (("train", "to calibrate on"), ("val", "to judge the loss of accuracy by")):
        if split not in data.splits or not len(data.splits[split]):
            raise UserError(f"--int8 needs clips {why}; the data have none in {split!r}")


def _clips(data: ClipData, about: About, split: str, most: int) -> Iterator[torch.Tensor]:
    return (clip for clip, _ in centre_clips(data, about.frames, about.size, split, most))


def _quantise(source: Path, part: Path, clips: Iterable[torch.Tensor]) -> int:
    """Write ``part`` and say how many clips it was calibrated on."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        count = 0
        waiting = iter(clips)

        def get_next(self) -> dict[str, Any] | None:
            found = next(self.waiting, None)
            self.count += found is not None
            return None if found is None else {INPUT: found.numpy()}

    folded, reader = part.with_name("folded.onnx"), Reader()
    with quiet():
        quant_pre_process(str(source), str(folded), skip_symbolic_shape=True)
        quantize_static(
            str(folded), str(part), reader, quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
    return reader.count


Run = Callable[[torch.Tensor], torch.Tensor]


def _run(path: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda clips: torch.from_numpy(session.run([OUTPUT], {INPUT: clips.numpy()})[0])


def _try(run: Run, about: About, free: str) -> None:
    """``ExportFailed`` where logits of clips of other shapes, as far as they are free, are no numbers."""
    generator = torch.Generator().manual_seed(0)
    for shape in unseen_shapes(about, free):
        if not torch.isfinite(run(torch.randn(shape, generator=generator))).all():
            raise ExportFailed(f"logits of int8 are no numbers on clips of {'x'.join(map(str, shape))}")


def _compared(runs: list[Run], clips: Iterable[tuple[torch.Tensor, int]]) -> tuple[tuple[float, float], int]:
    """Top-1 of both in per cent, and for how many videos they say different classes."""
    answers = [[int(run(clip).argmax()) for run in runs] + [label] for clip, label in clips]
    right = [100 * sum(one[k] == one[2] for one in answers) / len(answers) for k in (0, 1)]
    return (right[0], right[1]), sum(one[0] != one[1] for one in answers)


def _timed(runs: list[Run], clip: torch.Tensor) -> Times:
    for run in runs * _WARM:
        run(clip)
    pairs: list[dict[int, float]] = []
    begun = time.perf_counter()
    while len(pairs) < _PAIRS and (len(pairs) < _LEAST_PAIRS or time.perf_counter() - begun < _LONGEST_S):
        check()
        order = (0, 1) if len(pairs) % 2 == 0 else (1, 0)
        pairs.append({number: _ms(runs[number], clip) for number in order})
    return Times(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))


def _ms(run: Run, clip: torch.Tensor) -> float:
    begun = time.perf_counter()
    run(clip)
    return (time.perf_counter() - begun) * 1e3


def _place(part: Path, path: Path, metadata: dict[str, Any]) -> None:
    """Give ``part`` what it is of, and its name, whole or not at all."""
    import onnx

    model = onnx.load(part)
    del model.metadata_props[:]
    model.metadata_props.add(key=METADATA, value=json.dumps(metadata))
    onnx.save(model, part)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)
