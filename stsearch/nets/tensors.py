"""Files that ``torch.save`` wrote, read without running what is in them."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from stsearch.errors import UserError, brief
from stsearch.texts import read_bytes, text_in

WEIGHTS = "weights.pt"
"""what `stsearch train` calls them in its folder"""
LARGEST = 4_000_000_000
"""bytes of a file of weights, at most; the largest network of the zoo takes 0.5 GB"""
_FAULTS = (
    pickle.UnpicklingError, zipfile.BadZipFile, EOFError, RuntimeError, ValueError, KeyError, TypeError, AttributeError,
)  # fmt: skip
"""What torch raises for files that are none of its own"""
_ARCHIVE, _POINTER = b"PK\x03\x04", "version https://git-lfs.github.com/spec/"
"""What files of torch begin with, and what a clone without Git LFS leaves in their place"""
_HEAD, _SHOWN = 256, 60
"""Bytes that tell whether a file is text, and letters of it that are shown"""


def load_torch(path: Path) -> Any:
    """What ``torch.save`` wrote, on the CPU, by ``weights_only``.

    ``UserError`` of one line for all that is no such regular file, ``WorldError`` for one that cannot be read.
    """
    if os.path.isfile(path / WEIGHTS):
        raise UserError(f"{brief(str(path))} is a folder; its weights are {brief(str(path / WEIGHTS))}")
    content, shown = read_bytes(path, limit=LARGEST), brief(str(path))
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except _FAULTS as error:
        if why := _what_it_is(content):
            raise UserError(f"{shown} is no whole file of weights: {why}") from None
        if isinstance(error, pickle.UnpicklingError):
            raise UserError(
                f"{shown} is no file of tensors alone: it holds no weights that torch.load(weights_only=True) reads"
            ) from None
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{shown} is no whole file of weights: {brief(why)[1:-1]}") from None


def _what_it_is(content: bytes) -> str:
    """What a file is that torch cannot read, where that is easily told; its own words are for its developers."""
    if not content:
        return "it is empty"
    if content.startswith(_ARCHIVE):
        return "" if zipfile.is_zipfile(io.BytesIO(content)) else "its end is missing"
    text = text_in(content[:_HEAD])
    if text is not None and text.startswith(_POINTER):
        return "it is a Git LFS pointer; `git lfs pull` fetches the file"
    return f"it is text, {brief(text[:_SHOWN])}" if text else ""
