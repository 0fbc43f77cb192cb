"""The chart library of our pages: plotly.js's basic bundle from npm, as it was published, packed for a page.

It lies in ``plotlyjs/`` with its licence and the name and version of its npm package.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "plotlyjs"
BUNDLE = _FOLDER / "plotly-basic.min.js"


@cache
def packed_library() -> str:
    """The bundle, gzip and base64: 0.5 of its 1.2 MB. Its licence is in its first lines."""
    return packed(BUNDLE.read_bytes())


@cache
def library_hash() -> str:
    """What a page's policy calls the bundle, once it is unpacked."""
    return script_hash(BUNDLE.read_text(encoding="utf-8"))


def library_version() -> str:
    """Of plotly.js."""
    found: str = json.loads((_FOLDER / "package.json").read_text(encoding="utf-8"))["version"]
    return found


def packed(data: bytes) -> str:
    """gzip and base64, the same for the same data."""
    return base64.b64encode(gzip.compress(data, mtime=0)).decode()


def script_hash(text: str) -> str:
    """The source of a page's policy that allows the script ``text`` and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
