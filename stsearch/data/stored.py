"""Cached frames on disk: one flat file of uint8."""

from __future__ import annotations

import math
import mmap
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from stsearch.errors import WorldError

_BUFFERS = 1024
"""what one ``preadv`` takes at most (``IOV_MAX`` of Linux)"""


class KeptFrames(Protocol):
    """Frames that are not in memory."""

    def __len__(self) -> int: ...

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(F, H, W, C)``."""

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""

    def read(self, positions: torch.Tensor) -> torch.Tensor:
        """The frames at int64 ``(B, T)``: uint8 ``(B, T, H, W, C)``."""


@dataclass(frozen=True)
class StoredFrames:
    """Frames ``(F, H, W, C)`` in a file, read when they are asked for."""

    path: Path
    first: int
    """frames before them in the file"""
    shape: tuple[int, int, int, int]
    """``(F, H, W, C)``"""

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of the frames."""
        return math.prod(self.shape)

    def mapped(self) -> torch.Tensor:
        """All frames, uint8 ``(F, H, W, C)``, mapped read-only; its pages are shared by all processes.

        Needs as much address space as the frames are large. Writing to it kills the process.
        """
        begin = self.first * self._frame
        skipped = begin % mmap.ALLOCATIONGRANULARITY
        file = self._open()
        try:
            if os.fstat(file).st_size < begin + self.nbytes:
                raise self._shrunk()
            pages = mmap.mmap(file, skipped + self.nbytes, access=mmap.ACCESS_READ, offset=begin - skipped)
        except OSError as error:
            raise WorldError(
                f"cannot map {self.nbytes:,} bytes of the clip cache {self.path}: {error.strerror or error}"
            ) from None
        finally:
            os.close(file)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not writable", category=UserWarning)
            flat = torch.frombuffer(pages, dtype=torch.uint8, count=self.nbytes, offset=skipped)
        return flat.view(self.shape)

    def read(self, positions: torch.Tensor) -> torch.Tensor:
        """The frames at int64 ``(B, T)``: uint8 ``(B, T, H, W, C)``.

        Each distinct frame is read once, a run of neighbours in one call. Memory does not grow
        with the file. Raises ``WorldError`` when the file is gone or has become shorter.
        """
        wanted = positions.reshape(-1).numpy()
        assert not wanted.size or (wanted.min() >= 0 and wanted.max() < len(self)), "positions beyond the frames"
        rows = np.empty((len(wanted), self._frame), dtype=np.uint8)
        order = np.argsort(wanted, kind="stable")
        ordered = wanted[order]
        new = np.diff(ordered, prepend=-1) != 0
        places, numbers = order[new], ordered[new]
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
        file = self._open()
        try:
            for run, places_of_run in zip(np.split(numbers, breaks), np.split(places, breaks), strict=True):
                if len(run):
                    self._fill(file, [memoryview(rows[place]) for place in places_of_run], int(run[0]))
        except OSError as error:
            raise WorldError(f"cannot read the clip cache {self.path}: {error.strerror or error}") from None
        finally:
            os.close(file)
        again = ~new
        rows[order[again]] = rows[places[np.cumsum(new)[again] - 1]]
        return torch.from_numpy(rows).view(*positions.shape, *self.shape[1:])

    @property
    def _frame(self) -> int:
        """Bytes of one frame."""
        return math.prod(self.shape[1:])

    def _fill(self, file: int, buffers: list[memoryview], number: int) -> None:
        """Read neighbouring frames from ``number`` on."""
        offset = (self.first + number) * self._frame
        while buffers:
            got = os.preadv(file, buffers[:_BUFFERS], offset)
            if not got:
                raise self._shrunk()
            offset += got
            full = 0
            while full < len(buffers) and got >= len(buffers[full]):
                got -= len(buffers[full])
                full += 1
            del buffers[:full]
            if got:
                buffers[0] = buffers[0][got:]

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise WorldError(
                f"cannot read the clip cache {self.path}: {error.strerror or error}. "
                "Was it removed meanwhile? Start again, and it is built again"
            ) from None

    def _shrunk(self) -> WorldError:
        return WorldError(
            f"the clip cache {self.path} became shorter while it was in use. Start again, and it is mended"
        )
