"""A picture as plain data, written as SVG by hand or as PNG and PDF by matplotlib.

Coordinates are points of 1/72 inch from the upper left corner; x grows to the right, y downwards.
Drawings are written by the hundreds, so the SVG path imports nothing and takes about a millisecond.
"""

# ruff: noqa: RUF001 - the multiplication sign and the dash are meant

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stsearch.errors import UserError, unknown, writable

if TYPE_CHECKING:
    from matplotlib.artist import Artist

SUFFIXES = (".svg", ".png", ".pdf")
INK, GREY, HAIR = "#1a1a1a", "#5f5f5f", "#c8c8c8"
"""Colours of text, of text that matters less, and of thin lines."""
_DPI = 300
_FONTS = "Helvetica Neue, Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif"
# Advance widths of DejaVu Sans (bundled with matplotlib) in 1/1000 em, for chr(32) to chr(126). Arial and
# Helvetica are narrower throughout, so what has room here has room in a browser.
_REGULAR = """318 401 460 838 636 950 780 275 390 390 500 838 318 361 318 337 636 636 636 636 636 636 636 636 636 636
337 337 838 838 838 531 1000 684 686 698 770 632 575 775 752 295 295 656 557 863 748 787 603 787 695 635
611 732 684 989 685 611 685 390 337 390 838 500 500 613 635 550 635 615 352 635 634 278 278 579 278 974
634 612 635 635 411 521 392 634 592 818 592 592 525 636 337 636 838"""
_BOLD = """348 456 521 838 696 1002 872 306 457 457 523 838 380 415 380 365 696 696 696 696 696 696 696 696 696 696
400 400 838 838 838 580 1000 774 762 734 830 683 683 821 837 372 372 775 637 995 837 850 733 850 770 720
682 812 774 1103 771 724 725 457 365 457 838 500 500 675 716 593 716 678 435 716 712 343 343 665 343 1042
712 687 716 716 493 595 478 712 652 924 645 652 582 712 365 712 838"""
_WIDTHS = [
    {chr(code): int(width) for code, width in enumerate(table.split(), 32)} | {"×": 838, "·": 380, "–": 500, "≠": 838}
    for table in (_REGULAR, _BOLD)
]
_OTHER = 1100
"""Of a character that the tables lack, in 1/1000 em: more than most need."""
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_ASCENT, _DESCENT = 0.77, 0.24
"""Of the fonts above and below the baseline, in em"""

Point = tuple[float, float]


@dataclass(frozen=True)
class Rect:
    """A rectangle, rounded where ``radius`` is above 0."""

    x: float
    y: float
    width: float
    height: float
    fill: str = "none"
    stroke: str = "none"
    line: float = 0.5
    """width of the edge, in points"""
    radius: float = 0.0
    title: str = ""
    """shown while the pointer rests on it (SVG)"""


@dataclass(frozen=True)
class Polyline:
    """Points joined in order; filled and closed where ``fill`` is a colour."""

    points: tuple[Point, ...]
    stroke: str = INK
    line: float = 0.6
    fill: str = "none"
    title: str = ""


@dataclass(frozen=True)
class Segments:
    """Many short lines of one colour: hatches, grids, ticks."""

    lines: tuple[tuple[Point, Point], ...]
    stroke: str = HAIR
    line: float = 0.5


@dataclass(frozen=True)
class Tiles:
    """Many rectangles ``(x, y, width, height)`` of one colour without edges, sharp at their borders."""

    boxes: tuple[tuple[float, float, float, float], ...]
    fill: str


@dataclass(frozen=True)
class Circle:
    """A filled disc."""

    x: float
    y: float
    radius: float
    fill: str = INK
    stroke: str = "none"
    title: str = ""


@dataclass(frozen=True)
class Text:
    """One line of text; ``y`` is its baseline."""

    x: float
    y: float
    text: str
    size: float = 6.5
    """points"""
    fill: str = INK
    anchor: Literal["start", "middle", "end"] = "start"
    bold: bool = False
    upward: bool = False
    """turned by 90 degrees, to be read from below"""
    title: str = ""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """``(left, top, right, bottom)`` of the room it takes."""
        width = text_width(self.text, self.size, self.bold)
        before = {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        up, down = _ASCENT * self.size, _DESCENT * self.size
        if self.upward:
            return self.x - up, self.y + before - width, self.x + down, self.y + before
        return self.x - before, self.y - up, self.x - before + width, self.y + down


Item = Rect | Polyline | Segments | Tiles | Circle | Text


@dataclass(frozen=True)
class Picture:
    """What is drawn, in drawing order, with a title for those who cannot see it."""

    width: float
    """points"""
    height: float
    title: str
    items: tuple[Item, ...]


def clean(text: str) -> str:
    """``text`` without what no XML file and no font has: control characters and lone surrogates."""
    return _UNPRINTABLE.sub("\ufffd", text)


@lru_cache(maxsize=8192)
def text_width(text: str, size: float, bold: bool = False) -> float:
    """Room for ``text`` in points; exact for DejaVu Sans, generous for characters outside ASCII."""
    table = _WIDTHS[bold]
    return sum(table.get(letter) or _unusual(letter) for letter in clean(text)) * size / 1000


def _unusual(letter: str) -> int:
    return 0 if unicodedata.combining(letter) else _OTHER


def shorten(text: str, room: float, size: float, bold: bool = False) -> str:
    """``text``, cut and ended by an ellipsis where it needs more than ``room`` points."""
    if text_width(text, size, bold) <= room:
        return text
    while text and text_width(text + "…", size, bold) > room:
        text = text[:-1]
    return text.rstrip() + "…"


def fit(text: str, room: float, size: float, smallest: float, bold: bool = False) -> tuple[str, float]:
    """``text`` and the size, down to ``smallest``, at which it has ``room``; shortened if none does."""
    needed = text_width(text, size, bold)
    if needed > room:
        size = max(smallest, int(10 * size * room / needed) / 10)
    return shorten(text, room, size, bold), size


def wrap(text: str, room: float, size: float, bold: bool = False, most: int = 4) -> list[str]:
    """``text`` in at most ``most`` lines, broken after spaces, ``-``, ``.`` and ``@``, else anywhere."""
    lines = [""]
    for part in re.findall(r"[^-. @]*[-. @]|[^-. @]+", text):
        for piece in [part] if text_width(part.rstrip(), size, bold) <= room else part:
            if lines[-1] and text_width((lines[-1] + piece).rstrip(), size, bold) > room:
                lines.append("")
            lines[-1] += piece
    lines = [line.rstrip() for line in lines]
    if len(lines) > most:
        lines[most - 1 :] = [shorten(lines[most - 1] + lines[most] + "…", room, size, bold)]
    return lines


def save(picture: Picture, path: Path) -> None:
    """Write ``picture``; ``UserError`` for a suffix that is not one of ``SUFFIXES`` or a place not writable."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: {unknown('suffix', path.suffix, SUFFIXES)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix == ".svg":
            path.write_text(writable(svg(picture)), encoding="utf-8")
        else:
            _with_matplotlib(picture, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def svg(picture: Picture) -> str:
    """The picture as one ``<svg>`` element, for a file of its own or inside a page."""
    w, h, title = _n(picture.width), _n(picture.height), escape(clean(picture.title))
    body = "\n".join(_SVG[type(item)](item) for item in picture.items)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}pt" height="{h}pt" viewBox="0 0 {w} {h}" role="img" '
        f'aria-label="{title}" font-family="{_FONTS}" style="max-width:100%;height:auto">\n<title>{title}</title>\n'
        f'<rect width="{w}" height="{h}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _n(value: float) -> str:
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _element(name: str, attributes: str, content: str, title: str) -> str:
    if title:
        content += f"<title>{escape(clean(title))}</title>"
    return f"<{name} {attributes}>{content}</{name}>" if content else f"<{name} {attributes}/>"


def _edge(stroke: str, line: float) -> str:
    return "" if stroke == "none" else f' stroke="{stroke}" stroke-width="{_n(line)}"'


def _rect(r: Rect) -> str:
    radius = f' rx="{_n(r.radius)}"' if r.radius else ""
    at = f'x="{_n(r.x)}" y="{_n(r.y)}" width="{_n(r.width)}" height="{_n(r.height)}"'
    # a rectangle without fill still answers the pointer
    events = ' pointer-events="all"' if r.title and r.fill == "none" else ""
    return _element("rect", f'{at}{radius} fill="{r.fill}"{_edge(r.stroke, r.line)}{events}', "", r.title)


def _polyline(p: Polyline) -> str:
    name = "polyline" if p.fill == "none" else "polygon"
    points = " ".join(f"{_n(x)},{_n(y)}" for x, y in p.points)
    joins = "" if p.stroke == "none" else ' stroke-linejoin="round" stroke-linecap="round"'
    return _element(name, f'points="{points}" fill="{p.fill}"{_edge(p.stroke, p.line)}{joins}', "", p.title)


def _segments(s: Segments) -> str:
    path = "".join(f"M{_n(x0)} {_n(y0)}L{_n(x1)} {_n(y1)}" for (x0, y0), (x1, y1) in s.lines)
    return f'<path d="{path}" fill="none"{_edge(s.stroke, s.line)}/>'


def _tiles(t: Tiles) -> str:
    path = "".join(f"M{_n(x)} {_n(y)}h{_n(w)}v{_n(h)}h{_n(-w)}z" for x, y, w, h in t.boxes)
    return f'<path d="{path}" fill="{t.fill}" shape-rendering="crispEdges"/>'


def _circle(c: Circle) -> str:
    at = f'cx="{_n(c.x)}" cy="{_n(c.y)}" r="{_n(c.radius)}"'
    return _element("circle", f'{at} fill="{c.fill}"{_edge(c.stroke, 0.6)}', "", c.title)


def _text(t: Text) -> str:
    turn = f' transform="rotate(-90 {_n(t.x)} {_n(t.y)})"' if t.upward else ""
    anchor = "" if t.anchor == "start" else f' text-anchor="{t.anchor}"'
    weight = ' font-weight="bold"' if t.bold else ""
    style = f'font-size="{_n(t.size)}" fill="{t.fill}"{anchor}{weight}{turn}'
    return _element("text", f'x="{_n(t.x)}" y="{_n(t.y)}" {style}', escape(clean(t.text)), t.title)


_SVG: dict[type[Item], Callable[[Any], str]] = {
    Rect: _rect,
    Polyline: _polyline,
    Segments: _segments,
    Tiles: _tiles,
    Circle: _circle,
    Text: _text,
}


def _with_matplotlib(picture: Picture, path: Path) -> None:
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.transforms import Affine2D

    figure = Figure(figsize=(picture.width / 72, picture.height / 72), facecolor="white")
    points = Affine2D().scale(1 / 72, -1 / 72).translate(0, picture.height / 72) + figure.dpi_scale_trans
    for order, item in enumerate(picture.items):
        artist = _artist(item)
        artist.set_transform(points)
        artist.set_zorder(order)
        figure.add_artist(artist)
    metadata = {"Title": clean(picture.title)} | ({"CreationDate": None} if path.suffix.lower() == ".pdf" else {})
    # Type 42 fonts: publishers refuse Type 3, matplotlib's default
    with warnings.catch_warnings(), matplotlib.rc_context({"pdf.fonttype": 42}):
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, dpi=_DPI, facecolor="white", metadata=metadata)


def _artist(item: Item) -> Artist:
    """``item`` for matplotlib, in points."""
    from matplotlib import patches
    from matplotlib.collections import LineCollection, PolyCollection
    from matplotlib.text import Text as Label

    match item:
        case Rect():
            style = "square,pad=0" if not item.radius else f"round,pad=0,rounding_size={item.radius}"
            return patches.FancyBboxPatch(
                (item.x, item.y), item.width, item.height, boxstyle=style,
                facecolor=item.fill, edgecolor=item.stroke, linewidth=item.line,
            )  # fmt: skip
        case Polyline():
            look = {"facecolor": item.fill, "edgecolor": item.stroke, "linewidth": item.line}
            shape = patches.Polygon(item.points, closed=item.fill != "none", joinstyle="round", **look)
            shape.set_capstyle("round")
            return shape
        case Segments():
            return LineCollection(list(item.lines), colors=item.stroke, linewidths=item.line, capstyle="butt")
        case Tiles():
            corners = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h)] for x, y, w, h in item.boxes]
            return PolyCollection(corners, facecolors=item.fill, edgecolors="none", antialiaseds=False)
        case Circle():
            return patches.Circle((item.x, item.y), item.radius, facecolor=item.fill, edgecolor=item.stroke, lw=0.6)
        case Text():
            where = {"start": "left", "middle": "center", "end": "right"}[item.anchor]
            return Label(
                item.x, item.y, clean(item.text), fontsize=item.size, color=item.fill, fontfamily=_families(),
                fontweight="bold" if item.bold else "normal", ha=where, va="baseline",
                rotation=90 if item.upward else 0, rotation_mode="anchor", parse_math=False,
            )  # fmt: skip


@lru_cache(maxsize=1)
def _families() -> list[str]:
    """DejaVu Sans, then fonts of this machine for the scripts that it lacks."""
    from matplotlib.font_manager import fontManager

    here = {font.name for font in fontManager.ttflist}
    others = (
        "Noto Sans CJK SC",
        "Noto Sans CJK JP",
        "PingFang SC",
        "Microsoft YaHei",
        "WenQuanYi Zen Hei",
        "Noto Sans",
    )
    return ["DejaVu Sans", *(name for name in others if name in here)]
