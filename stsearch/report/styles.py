"""How kinds look: colour, hatch and label, told apart by colour-blind readers and in greyscale."""

# ruff: noqa: RUF001 - the multiplication sign is meant

from __future__ import annotations

from dataclasses import dataclass

from stsearch.report.canvas import Point, Segments
from stsearch.space.kinds import KINDS, STEMS


@dataclass(frozen=True)
class Style:
    """How a kind looks. Fills differ in lightness too, hatches repeat what colours say."""

    label: str
    fill: str
    hatch: str = ""
    """directions of its lines: ``/``, ``\\``, ``|``; empty for none"""
    about: str = ""


# Okabe and Ito's palette, told apart by colour-blind readers; the first three differ in lightness as well
# (CIE L* 70, 54 and 89), so they stay apart in greyscale.
STYLES = {
    "2d": Style("2D", "#56B4E9", "", "1×3×3"),
    "3d": Style("3D", "#D55E00", "/", "3×3×3"),
    "2plus1d": Style("(2+1)D", "#F0E442", "|", "1×3×3 then 3×1×1"),
    "depthwise": Style("depthwise", "#009E73", "/\\", "3×3×3 on each channel, then 1×1×1"),
    "shift": Style("shift", "#CC79A7", "|\\", "channels from the frames beside, then 1×3×3"),
    "s3d": Style("S3D", "#E69F00", "|/", "1×3×3 then 3×1×1, narrower than (2+1)D"),
    "p3d_b": Style("P3D-B", "#0072B2", "|/\\", "1×3×3 beside 3×1×1"),
    "collapse": Style("collapse", "#CCCCCC", "\\", "frames become channels, then 2D"),
}
_STEM = "#DDDDDD"
OTHERS = {
    "3x1x1": Style("3×1×1", "#E69F00", "|", "3×1×1, 1×3×3, 1×1×1"),
    "ir_csn": Style("ir-CSN", "#009E73", "\\", "1×1×1, depthwise 3×3×3, 1×1×1"),
    "ip_csn": Style("ip-CSN", "#009E73", "/", "1×1×1 twice, depthwise 3×3×3, 1×1×1"),
    "x3d": Style("X3D", "#009E73", "", "1×1×1, depthwise 3×3×3, swish, 1×1×1"),
    "x3d_se": Style("X3D, SE", "#7FCDB4", "", "the same with squeeze-and-excitation"),
    "inception": Style("Inception", "#D55E00", "", "four branches of 1×1×1 and 3×3×3"),
    "inception_s3d": Style("Inception", "#F0E442", "", "four branches of 1×1×1, 1×3×3 and 3×1×1"),
}
"""Blocks of the zoo, drawn as they are there; its stems are grey and say their kernels"""
_FURTHER = (("#009E73", "\\"), ("#CC79A7", "/\\"), ("#E69F00", "|\\"), ("#0072B2", "|/"))


def style_of(kind: str) -> Style:
    """The look of a kind, a stem or a block of the zoo; plug-ins take further colours in the order of registration."""
    if kind in STYLES:
        return STYLES[kind]
    known = list(dict.fromkeys([*KINDS, *STEMS]))
    if kind not in known:
        return OTHERS.get(kind, Style(kind.replace("x", "×"), _STEM))
    number = [name for name in known if name not in STYLES].index(kind)
    fill, lines = _FURTHER[number % len(_FURTHER)]
    return Style(kind, fill, lines)


def legend_order(kinds: set[str]) -> list[str]:
    """Built-in kinds first, then plug-ins as they were registered, then blocks of the zoo."""
    known = list(dict.fromkeys([*STYLES, *KINDS, *STEMS, *OTHERS]))
    return sorted(kinds, key=lambda kind: (known.index(kind) if kind in known else len(known), kind))


def hatch(x: float, y: float, width: float, height: float, style: Style) -> list[Segments]:
    """The lines of a kind within a rectangle."""
    lines: list[tuple[Point, Point]] = []
    for direction in style.hatch:
        reach = width + (height if direction != "|" else 0)
        for number in range(1, int(reach / 3.6) + 1):
            at = 3.6 * number
            if direction == "|":
                lines.append(((x + at, y), (x + at, y + height)))
                continue
            x0, x1 = max(0.0, at - height), min(width, at)
            y0, y1 = y + at - x0, y + at - x1
            if direction == "\\":
                x0, x1 = width - x0, width - x1
            lines.append(((x + x0, y0), (x + x1, y1)))
    return [Segments(tuple(lines), shade(style.fill, 0.78), 0.6)] if lines else []


def _channels_of(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def shade(colour: str, factor: float) -> str:
    """``colour`` darkened by ``factor``."""
    return "#" + "".join(f"{round(factor * part):02x}" for part in _channels_of(colour))


def ink_on(fill: str) -> str:
    """White or black, whichever has the higher contrast (WCAG's luminance: they are alike at 0.18)."""
    r, g, b = ((part / 255) ** 2.2 for part in _channels_of(fill))
    return "#ffffff" if 0.2126 * r + 0.7152 * g + 0.0722 * b < 0.18 else "#000000"
