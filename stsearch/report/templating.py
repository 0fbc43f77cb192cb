"""Templates of our pages: everything that is not of the package is escaped."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from stsearch.report.library import library_hash, script_hash

_TEMPLATES = Path(__file__).parent / "templates"
_CODE = re.compile(r"`([^`]+)`")


def environment() -> Environment:
    """Where templates are, escaping all that is not marked as safe."""
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "prose": _prose,
        "form": lambda part: type(part).__name__,
        "zip": lambda first, second: zip(first, second, strict=True),
    }
    return made


def text_of(name: str) -> Markup:
    """A file of ours, which comes with the package: it is not escaped."""
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704


def script_of(*names: str) -> Markup:
    """Several scripts as one."""
    return Markup("\n").join(map(text_of, names))


def policy(script: str, *, live: bool = False) -> str:
    """What the page may do: run its own script and the chart library, and fetch nothing; ``live``: from its origin."""
    hashes = f"{script_hash(script)} {library_hash()}" + ("; connect-src 'self'" if live else "")
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"


def _prose(text: str) -> Markup:
    """A paragraph, with what stands in backticks as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704
