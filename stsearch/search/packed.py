"""Records of any size in attributes: Optuna's columns hold 64 KiB on MySQL and MariaDB.

What is longer is compressed and, where that is not enough, put away in parts, each an attribute of its own. A short
one is stored as it is.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

MOST = 60_000
"""Characters of JSON that one attribute gets; its column holds 65,535 bytes."""
_PACKED, _PARTS = "stsearch:zlib+base64", "parts"


def split(key: str, value: Any) -> dict[str, Any]:
    """The attributes that hold ``value``, in the order in which they are to be written: ``key`` itself last."""
    text = json.dumps(value)
    if len(text) <= MOST:
        return {key: value}
    packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    parts = [packed[begin : begin + MOST] for begin in range(0, len(packed), MOST)]
    return {**dict(zip(_names(key, len(parts)), parts, strict=True)), key: {_PACKED: True, _PARTS: len(parts)}}


def further(key: str, value: Any) -> list[str]:
    """Names of the attributes that hold the rest of the one ``key``, whose ``value`` was read; none for a short one."""
    packed = isinstance(value, Mapping) and _PACKED in value
    return list(_names(key, int(value[_PARTS]))) if packed else []


def whole(attributes: Mapping[str, Any], key: str) -> Any:
    """The value of the attribute ``key``, as it was before ``split``; raises ``KeyError`` where there is none."""
    value = attributes[key]
    names = further(key, value)
    if not names:
        return value
    return json.loads(zlib.decompress(base64.b64decode("".join(attributes[name] for name in names))))


def _names(key: str, count: int) -> Iterator[str]:
    return (f"{key}:{number}" for number in range(1, count + 1))
