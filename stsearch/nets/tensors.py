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
from stsearch.texts import read_bytes

WEIGHTS = "weights.pt"
"""what `stsearch train` calls them in its folder"""
LARGEST = 4_000_000_000
"""bytes of a file of weights, at most; the largest network of the zoo takes 0.5 GB"""


def load_torch(path: Path) -> Any:
    """What ``torch.save`` wrote, on the CPU, by ``weights_only``.

    ``UserError`` of one line for all that is no such regular file, ``WorldError`` for one that cannot be read.
    """
    if os.path.isfile(path / WEIGHTS):
        raise UserError(f"{brief(str(path))} is a folder; its weights are {brief(str(path / WEIGHTS))}")
    content, shown = io.BytesIO(read_bytes(path, limit=LARGEST)), brief(str(path))
    try:
        return torch.load(content, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{shown} is no file of tensors alone: it holds no weights that torch.load(weights_only=True) reads"
        ) from None
    except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{shown} is no whole file of weights: {brief(why)[1:-1]}") from None
