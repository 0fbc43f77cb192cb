"""Memory of activations that a process keeps from one training step to the next.

glibc takes a large tensor from the system and gives it back when it is freed, so that a training on a CPU has all its
activations zeroed by the kernel again at every step. ``STSEARCH_MEMORY=returned`` leaves it at that.
"""

from __future__ import annotations

import ctypes
import os

import torch

from stsearch.errors import UserError, unknown

VARIABLE, CHOICES = "STSEARCH_MEMORY", ("kept", "returned")
_OWN = ("GLIBC_TUNABLES", "LD_PRELOAD", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")
"""Who sets one of these has thought of memory, or has another allocator."""
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Parameters of glibc's ``mallopt``."""
_MOST, _PAD = 2**31 - 1, 64 * 2**20
"""Bytes that stay at the top of the heap, and that it grows by at least."""


def keep_memory(device: torch.device) -> bool:
    """From now on keep freed memory in this process, for a training on a CPU; whether that is done.

    Not on a GPU, nor without glibc, nor where the environment sets an allocator or asks otherwise. The results are the
    same to the bit. Raises ``UserError`` for a value of ``STSEARCH_MEMORY`` that means nothing.
    """
    asked = os.environ.get(VARIABLE) or "kept"
    if asked not in CHOICES:
        raise UserError(unknown(f"value of {VARIABLE}", asked, CHOICES))
    if asked == "returned" or device.type != "cpu" or any(os.environ.get(name) for name in _OWN):
        return False
    library = ctypes.CDLL(None)
    if not (hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt")):
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _MOST), (_TOP_PAD, _PAD))
    return all(library.mallopt(name, value) == 1 for name, value in settings)
