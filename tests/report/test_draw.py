"""Drawings and charts: nothing overlaps, nothing is cut off, every writer works, hostile names are text."""

# ruff: noqa: RUF001 - the multiplication sign is meant

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.image import imread
from matplotlib.textpath import TextPath

from stsearch.errors import UserError
from stsearch.report.canvas import (
    Circle,
    Picture,
    Polyline,
    Rect,
    Segments,
    Text,
    Tiles,
    fit,
    save,
    shorten,
    svg,
    text_width,
    wrap,
)
from stsearch.report.charts import confusion_matrix, learning_curve, nice_step
from stsearch.report.draw import drawing, gmacs, shares, short
from stsearch.report.html import comparable
from stsearch.report.styles import STYLES, hatch, legend_order, style_of
from stsearch.space.blueprint import ClipShape
from stsearch.space.cost import network_cost
from stsearch.space.kinds import KINDS, STEMS
from stsearch.space.published import NETWORKS, find_network

CLIP = ClipShape()
SVG = "{http://www.w3.org/2000/svg}"
MIXED = "3d-3d.2dx2-2d.2plus1d-2dx2-2dx2"
ALTERNATING = "2d-" + ".".join(["3d", "2d"] * 18) + "-3dx5.2dx18-2plus1dx3-2d@bottleneck@w0.5"
DRAWN: list[tuple[str, ...]] = [
    *((name,) for name in NETWORKS),
    (MIXED,),
    (ALTERNATING,),
    ("3d-3dx256-2dx40-2d-2d",),
    ("2d-2dx2-2dx2-2dx2-2dx2@w0.02",),
    ("MC3-18", "rMC3-18"),
    ("R2D-18", "R(2+1)D-152"),
    ("MC3-18", MIXED, ALTERNATING),
]


def picture_of(*networks: str, clip: ClipShape = CLIP, classes: int = 400) -> Picture:
    return drawing([find_network(network) for network in networks], clip, classes)


def texts(picture: Picture) -> list[Text]:
    return [item for item in picture.items if isinstance(item, Text)]


def assert_tidy(picture: Picture) -> None:
    """Every text has its room to itself, within the picture."""
    found = texts(picture)
    for text in found:
        left, top, right, bottom = text.box
        assert left >= 1, text
        assert top >= 1, text
        assert right <= picture.width - 1, text
        assert bottom <= picture.height - 1, text
    for one, other in combinations(found, 2):
        a, b = one.box, other.box
        # glyphs seldom fill the whole height of a line: a tenth of a point is no collision
        across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        assert across <= 0.1 or down <= 0.1, (one, other)


def corners_of(picture: Picture) -> list[tuple[float, float]]:
    points: list[tuple[float, float]] = []
    for item in picture.items:
        match item:
            case Rect(x, y, width, height):
                points += [(x, y), (x + width, y + height)]
            case Polyline(points=line):
                points += line
            case Segments(lines=lines):
                points += [point for line in lines for point in line]
            case Tiles(boxes=boxes):
                points += [(x + dx * w, y + dx * h) for x, y, w, h in boxes for dx in (0, 1)]
            case Circle(x, y, radius):
                points += [(x - radius, y - radius), (x + radius, y + radius)]
    return points


@pytest.mark.parametrize("networks", DRAWN, ids=lambda names: " beside ".join(names)[:40])
def test_no_text_overlaps_and_nothing_leaves_the_picture(networks: tuple[str, ...]) -> None:
    picture = picture_of(*networks)
    assert_tidy(picture)
    for x, y in corners_of(picture):
        assert 1 <= x <= picture.width - 1
        assert 1 <= y <= picture.height - 1
    ET.fromstring(svg(picture))  # noqa: S314 - our own output


@pytest.mark.parametrize(
    ("clip", "classes"),
    [(ClipShape(3, 1, 1, 1), 1), (ClipShape(1, 300, 1080, 1920), 21841), (ClipShape(3, 8, 32, 32), 2)],
)
def test_any_clip(clip: ClipShape, classes: int) -> None:
    assert_tidy(picture_of("R(2+1)D-50", "rMC2-34", clip=clip, classes=classes))


def test_a_column_of_a_paper_and_two() -> None:
    """One network is 84 mm wide with no text below 6 points; two fit a page of two columns (7 inches)."""
    one, two = picture_of("MC3-18"), picture_of("MC3-18", "rMC3-18")
    assert one.width == 240
    assert two.width <= 504
    assert min(text.size for text in texts(one)) >= 6


@pytest.mark.parametrize("network", ["MC3-18", "R2D-34", "R(2+1)D-152", MIXED])
def test_stages_and_figures_are_written(network: str) -> None:
    picture = picture_of(network)
    root = ET.fromstring(svg(picture))  # noqa: S314 - our own output
    written = [element.text for element in root.iter(f"{SVG}text")]
    assert {"clip", "conv1", "conv2_x", "conv3_x", "conv4_x", "conv5_x", "head"} <= set(written)
    cost = network_cost(find_network(network), CLIP)
    for stage in cost.stages:
        assert "×".join(map(str, stage.output[1:])) in written
        assert f"{stage.output[0]} channels" in written
    assert f"{gmacs(cost.total.macs)}, {short(cost.total.params)} parameters" in written
    assert any(text is not None and "3×16×112×112" in text and "400 classes" in text for text in written)
    parts = [float(text[:-2]) for text in written if text is not None and text.endswith(" %")]
    assert len(parts) == 6
    assert sum(parts) == pytest.approx(100, abs=1e-9)
    exact = [100 * part.macs / cost.total.macs for part in (*(s.cost for s in cost.stages), cost.head)]
    assert parts == pytest.approx(exact, abs=0.1)


def test_one_mark_per_block_and_its_kind() -> None:
    written = [text.text for text in texts(picture_of(MIXED))]
    assert [text for text in written if text in ("2D", "3D", "(2+1)D")] == ["3D", "3D"] + ["2D"] * 3 + ["(2+1)D"] + [
        "2D"
    ] * 4
    deep = picture_of("R(2+1)D-152")
    assert "(2+1)D ×36" in [text.text for text in texts(deep)]
    assert "(2+1)D ×8" in [text.text for text in texts(deep)]
    shortcuts = [item for item in deep.items if isinstance(item, Polyline) and item.fill == "none"]
    assert len(shortcuts) == 3 + 8 + 36 + 3
    summed = [text.text for text in texts(picture_of(ALTERNATING))]
    assert {"3D ×18", "2D ×18", "3D ×5"} <= set(summed)


def test_difference_is_marked_only_where_kinds_differ() -> None:
    def signs(*networks: str) -> list[str]:
        return [i.title for i in picture_of(*networks).items if isinstance(i, Circle) and " against " in i.title]

    assert signs("MC3-18", "MC4-18") == ["conv3_x: 2D ×2 against 3D ×2"]
    assert len(signs("MC3-18", "rMC3-18")) == 5
    assert signs("MC3-18", "MC3-18") == signs("MC3-18") == []


def test_bars_share_one_scale() -> None:
    """The dearest group of all networks fills its bar, and another is as long as its share of that."""
    picture = picture_of("MC3-18", "R2D-18")
    bars = {i.title: i.width for i in picture.items if isinstance(i, Rect) and i.fill == "#4d4d4d"}
    full = {i.width for i in picture.items if isinstance(i, Rect) and i.fill == "#e6e6e6"}
    macs = {title: int(title.split(": ")[1].split()[0].replace(",", "")) for title in bars}
    dearest = max(macs, key=macs.__getitem__)
    assert {bars[dearest]} == full
    for title, width in bars.items():
        assert width == pytest.approx(bars[dearest] * macs[title] / macs[dearest])


def lightness(colour: str) -> float:
    """CIE L* of an sRGB colour."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in np.frombuffer(
        bytes.fromhex(colour[1:]), np.uint8) / 255]  # fmt: skip
    return float(116 * np.dot([0.2126, 0.7152, 0.0722], linear) ** (1 / 3) - 16)


def test_kinds_differ_in_lightness_and_hatch() -> None:
    levels = sorted(lightness(STYLES[kind].fill) for kind in ("2d", "3d", "2plus1d"))
    assert all(high - low > 15 for low, high in pairwise(levels))
    assert len({style.hatch for style in STYLES.values()}) == len(STYLES)


@pytest.mark.parametrize("kind", list(STYLES))
def test_hatches_stay_inside(kind: str) -> None:
    for width, height in ((80, 14), (13, 8), (50, 200)):
        for item in hatch(10, 20, width, height, style_of(kind)):
            for x, y in (point for line in item.lines for point in line):
                assert 10 - 1e-6 <= x <= 10 + width + 1e-6
                assert 20 - 1e-6 <= y <= 20 + height + 1e-6


def test_plugins_have_looks_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["depthwise_separable_3d_with_gates", "roll", "tsm_and_a_name_that_no_block_has_room_for_whatever", "k4"]
    for name in names:
        monkeypatch.setitem(KINDS._items, name, KINDS["3d"])
    monkeypatch.setitem(STEMS._items, names[0], STEMS["3d"])
    looks = {(style_of(name).fill, style_of(name).hatch) for name in names}
    assert len(looks) == 4
    assert looks.isdisjoint((style.fill, style.hatch) for style in STYLES.values())
    assert legend_order({"k4", "shift", "2d", "3d"}) == ["2d", "3d", "shift", "k4"]
    picture = picture_of(f"{names[0]}-{names[0]}x2-{names[1]}-{names[2]}x9-{names[3]}.2d")
    assert_tidy(picture)
    said = {text.text for text in texts(picture)}
    assert names[0] in said, "the legend has the whole name"
    assert f"{names[2]}" in svg(picture)


HOSTILE = [
    '<script>alert("x")</script>',
    "a & b",
    "$x^2$ \\frac",
    "tab\tnul\x00",
    "\ud800",
    "动作 分类",
    "e\u0301" * 9,
    "",
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_are_text(name: str, tmp_path: Path) -> None:
    network = drawing([find_network("MC3-18")], CLIP, 2, [name])
    matrix = confusion_matrix([name, "b"], [[1, 2], [3, 4]], name)
    curve = learning_curve([[(1, 1.0, 50.0)]], name)
    for number, picture in enumerate((network, matrix, curve)):
        root = ET.fromstring(svg(picture).encode())  # noqa: S314 - our own output
        assert not list(root.iter(f"{SVG}script"))
        assert_tidy(picture)
        for suffix in (".svg", ".png", ".pdf"):
            save(picture, tmp_path / f"{number}{suffix}")


def test_a_very_long_name_is_wrapped_and_ends() -> None:
    name = "a-network-whose-name-never-ends-" * 40
    picture = drawing([find_network("MC3-18")] * 2, CLIP, 2, [name, "x" * 500])
    assert_tidy(picture)
    assert any(text.text.endswith("…") and text.title == name for text in texts(picture))


def test_wrong_use_is_answered() -> None:
    with pytest.raises(UserError, match="at least one network; given none"):
        drawing([], CLIP, 400)
    with pytest.raises(UserError, match="as many names as networks: 1; given 2"):
        drawing([find_network("MC3-18")], CLIP, 400, ["a", "b"])
    with pytest.raises(UserError, match=r"3 classes is square; given the shape \(2, 2\)"):
        confusion_matrix(["a", "b", "c"], [[1, 2], [3, 4]], "x")
    with pytest.raises(UserError, match="finite and at least 0"):
        confusion_matrix(["a", "b"], [[1, -2], [3, 4]], "x")


@pytest.mark.parametrize(("suffix", "begins"), [(".png", b"\x89PNG"), (".svg", b"<svg"), (".pdf", b"%PDF")])
def test_every_suffix(tmp_path: Path, suffix: str, begins: bytes) -> None:
    file = tmp_path / "deep" / f"network{suffix}"
    save(picture_of("MC3-18"), file)
    assert file.read_bytes().startswith(begins)
    if suffix == ".pdf":
        assert b"/Type3" not in file.read_bytes()


def test_unknown_suffix_and_unwritable_place(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown suffix '\.gif'\. .*Allowed: \.svg, \.png, \.pdf"):
        save(picture_of("MC3-18"), tmp_path / "network.gif")
    (tmp_path / "file").write_text("")
    for suffix in (".svg", ".png"):
        with pytest.raises(UserError, match="cannot write"):
            save(picture_of("MC3-18"), tmp_path / "file" / f"network{suffix}")


def test_svg_needs_nothing_from_outside() -> None:
    for picture in (picture_of("MC3-18", "R3D-18"), confusion_matrix(["a"], [[3]], "m"), learning_curve([], "c")):
        root = ET.fromstring(svg(picture))  # noqa: S314 - our own output
        assert root.get("viewBox") == f"0 0 {picture.width:g} {picture.height:.2f}".rstrip("0").rstrip(".")
        assert root.findtext(f"{SVG}title") == root.get("aria-label") == picture.title
        assert not any("href" in key or key == "src" for element in root.iter() for key in element.attrib)
        assert "url(" not in svg(picture)


@pytest.mark.parametrize(
    "picture",
    [
        picture_of("R2D-18"),
        picture_of(MIXED, "R(2+1)D-50"),
        confusion_matrix([f"class {n}" for n in range(26)], np.eye(26), "matrix"),
        learning_curve([[(1, 2.0, 10.0), (2, 1.5, 30.0)]], "curve"),
    ],
    ids=["R2D-18", "two networks", "matrix", "curve"],
)
def test_no_ink_at_the_edges(picture: Picture, tmp_path: Path) -> None:
    save(picture, tmp_path / "p.png")
    pixels = imread(tmp_path / "p.png")[..., :3]
    assert pixels.shape[1] >= 200 / 72 * picture.width - 1, "at least 200 dpi"
    assert pixels.min() < 0.2, "something is drawn"
    edge = 4
    for border in (pixels[:edge], pixels[-edge:], pixels[:, :edge], pixels[:, -edge:]):
        assert border.min() == 1.0


@pytest.mark.parametrize("bold", [False, True])
def test_widths_are_those_of_the_font(bold: bool) -> None:
    """Against the outlines of DejaVu Sans; generous for what the tables lack."""
    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    for sample in ("conv2_x", "(2+1)D ×36", "22.2 GMACs, 11.7 M parameters", "iIlL|WMQ@%"):
        drawn = TextPath((0, 0), sample, size=100, prop=font).get_extents().width
        assert drawn <= text_width(sample, 100, bold) <= drawn * 1.04 + 20
    for sample in ("Äpfelß", "Ελληνικά", "вправо"):
        assert TextPath((0, 0), sample, size=100, prop=font).get_extents().width <= text_width(sample, 100, bold)


def test_fitting() -> None:
    assert fit("short", 100, 7, 5) == ("short", 7)
    text, size = fit("a rather long piece of text", 60, 7, 5)
    assert size == 5
    assert text.endswith("…")
    assert text_width(text, size) <= 60
    assert shorten("abc", 0, 7) == "…"
    lines = wrap("3d-3d.2dx2-2d.2plus1d-2dx2-2dx2", 50, 8)
    assert "".join(lines) == "3d-3d.2dx2-2d.2plus1d-2dx2-2dx2"
    assert all(text_width(line, 8) <= 50 for line in lines)


@pytest.mark.parametrize(
    ("macs", "expected"),
    [
        ([1, 1, 1], ["33.4", "33.3", "33.3"]),
        ([1], ["100.0"]),
        ([999_999, 1], ["100.0", "0.0"]),
        ([2, 1, 0], ["66.7", "33.3", "0.0"]),
    ],
)
def test_shares_sum_to_100(macs: Sequence[int], expected: list[str]) -> None:
    assert shares(macs) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0 "), (950, "950 "), (9466, "9.47 k"), (149_500, "150 k"), (999_600, "1.00 M"), (17_640_000_000, "17.6 G"),
     (1.5e12, "1500 G")],
)  # fmt: skip
def test_short_numbers(value: float, expected: str) -> None:
    assert short(value) == expected


def test_gmacs() -> None:
    assert gmacs(472_055_808) == "0.472 GMACs"
    assert gmacs(204_800) == "205 kMACs"
    assert gmacs(43_300_000_000) == "43.3 GMACs"
    assert gmacs(999_900_000) == "1.00 GMACs"


def run(epochs: int, shift: float = 0.0) -> list[tuple[int, float, float]]:
    return [(n, 3.0 / n + shift, 60.0 * (1 - 1 / (n + 1)) + shift) for n in range(1, epochs + 1)]


NAN, INF = float("nan"), float("inf")
CURVES: dict[str, list[list[tuple[int, float, float]]]] = {
    "none": [],
    "no epochs": [[], []],
    "1 epoch": [run(1)],
    "1 epoch, 3 repeats": [run(1), run(1, 0.1), run(1, 0.2)],
    "4 epochs": [run(4)],
    "40 epochs, 3 repeats": [run(40), run(40, 0.1), run(40, 0.2)],
    "12 repeats": [run(5, 0.1 * n) for n in range(12)],
    "diverged": [[(1, 2.0, 10.0), (2, NAN, 5.0), (3, INF, NAN), (4, 1.0, 7.0)]],
    "only nan": [[(1, NAN, NAN), (2, -INF, NAN)]],
    "enormous": [[(1, 1e300, 1.0), (2, 3e29, 1.0), (3, 1e29, 1.0)]],
    "flat": [[(1, 0.0, 0.0), (2, 0.0, 0.0)]],
    "perfect": [[(1, 1e-9, 100.0), (2, 1e-12, 100.0)]],
    "from 0, many": [[(n, 2.0, 50.0) for n in range(0, 20_000, 100)]],
}


@pytest.mark.parametrize("curves", CURVES.values(), ids=CURVES)
def test_learning_curves_are_tidy(curves: list[list[tuple[int, float, float]]]) -> None:
    picture = learning_curve(curves, "MC3-18 on motions")
    assert_tidy(picture)
    assert "nan" not in svg(picture).lower()
    for x, y in corners_of(picture):
        assert 1 <= x <= picture.width - 1
        assert 1 <= y <= picture.height - 1


def test_values_that_are_not_finite_leave_gaps() -> None:
    (curve,) = CURVES["diverged"]
    picture = learning_curve([curve], "x")
    dots = [item.title for item in picture.items if isinstance(item, Circle)]
    assert dots == ["epoch 1: 2", "epoch 4: 1", "epoch 1: 10", "epoch 2: 5", "epoch 4: 7"]
    lines = [item for item in picture.items if isinstance(item, Polyline)]
    assert [len(line.points) for line in lines] == [2], "only top-1 has two neighbours that are finite"


def test_curves_of_one_page_have_one_axis_but_for_one_that_rises_far() -> None:
    """Equal values stand at equal heights in all pictures."""
    low, high, far = [(1, 2.0, 10.0), (2, 1.0, 20.0)], [(1, 4.0, 30.0), (3, 2.0, 90.0)], [(1, 2.0, 5.0), (2, 4e6, 5.0)]
    unknown = [(1, float("nan"), 5.0)]
    assert comparable([low, high, far, unknown]) == [low, high]
    beside = comparable([low, high, far])

    def heights(picture: Picture) -> dict[str, float]:
        return {item.title.split(": ")[1]: item.y for item in picture.items if isinstance(item, Circle)}

    assert heights(learning_curve([low], "x", beside))["2"] == heights(learning_curve([high], "x", beside))["2"]
    assert heights(learning_curve([low], "x"))["2"] != heights(learning_curve([high], "x"))["2"]
    assert comparable([]) == []


def test_the_last_epoch_is_told() -> None:
    said = {text.text for text in texts(learning_curve([run(4), run(4, 1.0)], "x"))}
    assert "clip top-1 48.0 to 49.0 % after the last epoch, 2 repeats" in said
    assert {"1", "2", "3", "4", "epoch", "training loss", "clip top-1 (%)"} <= said


@pytest.mark.parametrize(("span", "most", "step"), [(4, 4, 1), (5, 4, 2), (40, 8, 5), (0.03, 4, 0.01), (1e6, 4, 5e5)])
def test_nice_steps(span: float, most: int, step: float) -> None:
    assert nice_step(span, most) == pytest.approx(step)


def confused(classes: int, seed: int = 0) -> np.ndarray:
    counts = np.random.default_rng(seed).multinomial(3, np.full(classes, 1 / classes), size=classes)
    return np.asarray(counts + 20 * np.eye(classes, dtype=int))


@pytest.mark.parametrize("classes", [1, 2, 4, 20, 21, 40, 41, 101, 400])
def test_confusion_matrices_are_tidy(classes: int) -> None:
    names = [f"class {n} with a name that is too long to be written" for n in range(classes)]
    picture = confusion_matrix(names, confused(classes), "MC3-18 on a set of clips")
    assert_tidy(picture)
    named = any(text.title == names[0] for text in texts(picture))
    assert named or classes > 40
    assert len(svg(picture)) < 1_000_000
    ET.fromstring(svg(picture))  # noqa: S314 - our own output


def test_cells_are_shaded_by_share_of_their_row() -> None:
    counts = np.array([[90, 10, 0], [1, 9, 0], [0, 0, 0]])
    picture = confusion_matrix(["a", "b", "c"], counts, "x")
    cells: dict[tuple[int, int], str] = {}
    frame = next(i for i in picture.items if isinstance(i, Rect) and i.stroke != "none")
    side = frame.width / 3
    for item in picture.items:
        if not isinstance(item, Tiles):
            continue
        for x, y, width, _ in item.boxes:
            if y < frame.y + frame.height:
                for step in range(round(width / side)):
                    cells[round((y - frame.y) / side), round((x - frame.x) / side) + step] = item.fill
    assert set(cells) == {(0, 0), (0, 1), (1, 0), (1, 1)}, "cells of 0 are not drawn"
    assert cells[0, 0] == cells[1, 1]
    assert cells[0, 1] == cells[1, 0]
    assert lightness(cells[0, 0]) < lightness(cells[0, 1]) - 40
    written = [text.text for text in texts(picture)]
    assert [written.count(number) for number in ("90", "10", "1", "9")] == [1, 1, 1, 1]
    assert "99 of 110 on the diagonal (90.0 %), 3 classes" in written


def test_four_hundred_dense_classes_stay_small() -> None:
    counts = np.random.default_rng(0).integers(0, 100, (400, 400))
    picture = confusion_matrix([f"class {n}" for n in range(400)], counts, "x")
    assert len(svg(picture)) < 4_000_000
    assert len(picture.items) < 1000
