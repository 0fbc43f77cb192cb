"""One network to one file, which is compared with the network before it gets its name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from stsearch.errors import StsearchError, UserError, WorldError, brief
from stsearch.evaluate.weights import About, Weights
from stsearch.export.formats import FORMATS, INPUT, OPSET, OUTPUT, Asked, Format, Run, check_opset, fixed_time
from stsearch.space.blueprint import ClipShape, Definition
from stsearch.space.cost import network_cost

TOLERANCE = 1e-4
"""Largest difference of a logit, where the largest logit is 1; of larger ones in proportion."""


class ExportFailed(StsearchError):
    """A network could not be exported, or its file says something else than the network."""


@dataclass(frozen=True)
class Parity:
    """The file and the network on clips of one shape that neither had seen."""

    shape: tuple[int, ...]
    """``(N, C, T, H, W)``"""
    difference: float
    """largest of a logit, where the largest logit is 1"""


@dataclass(frozen=True)
class Exported:
    """A file that was kept."""

    path: Path
    form: str
    parity: tuple[Parity, ...]
    metadata: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        parity = [{"shape": list(one.shape), "difference": one.difference} for one in self.parity]
        return {"file": str(self.path), "to": self.form, "parity": parity, "metadata": self.metadata}


def metadata_of(about: About, free: str) -> dict[str, Any]:
    """What is written into a file beside the network."""
    return {
        **about.as_dict(),
        "input": {
            "name": INPUT,
            "layout": "N C T H W",
            "dtype": "float32",
            "normalisation": "(pixel - mean) / std, pixels 0 to 255" + ("" if about.modality == "flow" else ", RGB"),
            "dynamic": list(free),
        },
        "output": {"name": OUTPUT, "meaning": "logits, in the order of classes"},
    }


def unseen_shapes(about: About, free: str) -> list[tuple[int, ...]]:
    """Three shapes of clips, none of them that of the example: other batches and, where they are free, other sides."""
    frames, size, channels = about.frames, about.size, len(about.mean)
    higher, wider = (size + 8, size + 16) if "H" in free else (size, size)
    shorter, longer = (max(1, frames // 2), frames + 3) if "T" in free else (frames, frames)
    if not _takes(about, ClipShape(channels, shorter, size, wider)):
        shorter = frames + 1
    return [
        (1, channels, frames, size, size),
        (3, channels, shorter, size, wider),
        (2, channels, longer, higher, size),
    ]


def _takes(about: About, clip: ClipShape) -> bool:
    try:
        network_cost(about.parsed(), clip, len(about.classes))
    except UserError:  # too short for it
        return False
    return True


def freedoms(weights: Weights) -> tuple[str, ...]:
    """Sides that may have any length, most of them first.

    What holds for a clip of one length in a network of the zoo, whose head looks through a window, may not hold for
    others: then fewer sides are free.
    """
    if isinstance(weights.about.parsed(), Definition):
        return "NTHW", "NHW", "N"
    return ("NHW",) if fixed_time(weights) else ("NTHW",)


def export(
    weights: Weights, form: str, path: Path, *, opset: int = OPSET, licence: str = "", say: Callable[[str], None]
) -> Exported:
    """Write ``path``, in the format ``form``, if its file says on three unseen shapes what the network says.

    Raises ``UserError`` for an unknown format or opset, or a module that is not installed, ``ExportFailed`` where the
    file says something else, ``WorldError`` where it cannot be written; then there is no file.
    """
    chosen = FORMATS[form]
    chosen.check(form)
    check_opset(opset, form)
    if not path.name or path.is_dir():
        raise UserError(f"-o {brief(str(path))}: there is a folder; expected a file's name")
    about = replace(weights.about, licence=licence or weights.about.licence)
    network = weights.network().eval()
    tried = [Asked(network, weights, metadata_of(about, free), opset, free) for free in freedoms(weights)]
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        asked, parity = _first_that_agrees(chosen, tried, part, form, say)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except (StsearchError, KeyboardInterrupt):
        raise
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise UserError(f"-o {brief(str(path))}: {error.strerror}; expected a file's name") from None
    except OSError as error:
        raise WorldError(f"cannot write {path}: {error.strerror or error}; nothing is left of it") from None
    except Exception as error:  # of torch's exporters, of any kind: the reason's first line is enough
        raise ExportFailed(reason(error, path, part, form)) from None
    finally:
        for left in (part, part.with_name(f"{part.name}.data")):
            with contextlib.suppress(OSError):  # such as where what should be a folder is a file
                left.unlink()
        if not path.exists():
            _remove(made)
    return Exported(path, form, tuple(parity), dict(asked.metadata))


def _first_that_agrees(
    chosen: Format, tried: list[Asked], part: Path, form: str, say: Callable[[str], None]
) -> tuple[Asked, list[Parity]]:
    """Write ``part`` for the first of ``tried`` whose file agrees with the network; if none, what the last raises."""
    for asked in tried:
        try:
            say(f"writing {form}")
            chosen.write(asked, part)
            say("comparing the file with the network")
            shapes = unseen_shapes(asked.weights.about, asked.free)
            return asked, compared(asked.network, chosen.read(asked, part), shapes, form)
        except OSError:
            raise
        except Exception:  # of torch's exporters, of any kind: the network may do for fewer shapes
            if asked is tried[-1]:
                raise
            say(f"not for clips of any {' '.join(asked.free)}; trying fewer")
    raise AssertionError("something is tried")


def _remove(folders: list[Path]) -> None:
    """Take away ``folders``, the innermost first, that were made for a file that is not there; not what others use."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def reason(error: Exception, path: Path, part: Path, form: str) -> str:
    """Why ``path``, as ``part``, could not be written, in one line."""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return f"{path.name} could not be written as {form}: {type(error).__name__}: {text.replace(str(part), str(path))}"


def compared(network: torch.nn.Module, run: Run, shapes: list[tuple[int, ...]], form: str) -> list[Parity]:
    """How far ``run`` is from ``network`` on random clips of ``shapes``; ``ExportFailed`` where it is too far."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for shape in shapes:
        clips = torch.randn(shape, generator=generator)
        with torch.inference_mode():
            wanted = network(clips)
        largest = max(1.0, float(wanted.abs().max()))
        difference = float((run(clips) - wanted).abs().max()) / largest
        if not difference <= TOLERANCE:
            raise ExportFailed(
                f"the {form} file differs from the network by {difference:.2g} of its largest logit on clips of "
                f"{'x'.join(map(str, shape))}; {TOLERANCE:g} is allowed, so it is not kept"
            )
        found.append(Parity(shape, difference))
    return found
