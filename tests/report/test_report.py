"""The report: what it says of every state of a study, and that its page works in a real browser, offline."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import TrialState, create_trial

from stsearch.errors import UserError
from stsearch.report import collect
from stsearch.report import html as page_writer
from stsearch.report.collect import report_of
from stsearch.report.confidence_text import shown_volume
from stsearch.report.effort import duration
from stsearch.report.html import html
from stsearch.report.library import library_version, packed_library
from stsearch.report.markdown import markdown
from stsearch.report.records import Table
from stsearch.report.sections import classes
from stsearch.report.strips import strip
from stsearch.report.words import plain, table
from stsearch.report.write import render, write_report
from stsearch.search.attributes import (
    ARCHITECTURE,
    CONSTRAINT,
    NETWORK,
    RECORD,
    REFERENCE_POINT,
    REPEAT_OF,
    REPEATS,
    SPEC,
)
from stsearch.search.metrics import direction_of
from stsearch.search.reading import StoredStudy, read_study
from stsearch.search.records import plain as as_json
from stsearch.search.session import open_session
from stsearch.search.spec import Study, load_study
from stsearch.search.state import State
from stsearch.search.storage import open_storage
from stsearch.search.worker import work
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import ClipShape
from stsearch.space.cost import COSTS, network_cost
from stsearch.space.published import find_network, name_of
from stsearch.stats.front import hypervolume, minimised
from stsearch.stats.proportions import difference
from tests.conftest import TINY

if TYPE_CHECKING:
    from tests.browser import Open, Visit

pytest_plugins = ["tests.browser"]

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>|`{{7*7}}"
STATES = {state.name.lower(): state for state in TrialState}


def begin(folder: Path, settings: str = "", name: str = "made", url: str = "") -> tuple[Study, optuna.Study]:
    """An empty study, its attributes as the command line writes them."""
    file = folder / "made.yaml"
    file.write_text(TINY + settings)
    study = load_study(str(file))
    optuna_study = optuna.create_study(
        storage=open_storage(url or f"sqlite:///{folder}/made.db"), study_name=name,
        directions=[direction_of(name) for name in study.spec.objectives],
    )  # fmt: skip
    identity = {**study.identity(), "data_fingerprint": "feed"}
    space = {"name": study.space.name, "plugins": [], "folder": "."}
    resolved = study.spec.model_dump(exclude={"storage"})
    spec = {"format": 1, "identity": identity, "resolved": resolved, "space": space, "classes": ["left", "right"]}
    optuna_study.set_user_attr(SPEC, as_json(spec))
    worst = {"video_top1": 0.0, "clip_top1": 0.0, "gmacs": 2.0, "params": 4e7, "latency_ms": 99.0}
    optuna_study.set_user_attr(REFERENCE_POINT, {name: worst[name] for name in study.spec.objectives})
    return study, optuna_study


def record_of(accuracy: float, number: int) -> dict[str, Any]:
    curve = [{"epoch": e, "lr": 0.1, "train_loss": 1 / e, "clip_top1": accuracy, "seconds": 1.0} for e in (1, 2)]
    training = {"clip_top1": accuracy, "video_top1": accuracy, "curve": curve, "confusion": [[0, 0, 3], [1, 0, 2]]}
    provenance = {"python": "3", "torch": "2", "device": "none"}
    return {"trainings": [training], "seeds": [number], "seconds": 2.0, "device": "cpu", "provenance": provenance}


def add(
    study: Study, optuna_study: optuna.Study, architecture: Architecture, accuracy: float = 50.0,
    state: str = "complete", record: Any = None, **attributes: Any,
) -> None:  # fmt: skip
    """A trial as a worker leaves it."""
    total = network_cost(architecture, study.target_clip(), 2).total
    costs = {name: measure(total) for name, measure in COSTS.items()}
    number = len(optuna_study.trials)
    metrics = {"video_top1": accuracy, "clip_top1": accuracy - 1, **costs, **attributes}
    begun = datetime(2026, 1, 31, 12) + timedelta(minutes=number)
    known = {ARCHITECTURE: architecture.id, NETWORK: name_of(architecture), "seconds": 2.0, "clips_per_second": 100.0}
    trial = create_trial(
        state=STATES[state],
        values=[metrics[name] for name in study.spec.objectives] if state == "complete" else None,
        user_attrs={**known, **metrics},
        system_attrs={
            RECORD: record or record_of(accuracy, number),
            **{f"{CONSTRAINT}{name}": metrics[name] - cap for name, cap in study.spec.budget.items()},
        },
    )
    trial.datetime_start = begun
    trial.datetime_complete = None if state == "running" else begun + timedelta(seconds=30)
    optuna_study.add_trial(trial)


def stored(optuna_study: optuna.Study) -> StoredStudy:
    url = str(optuna_study._storage._backend.engine.url)  # type: ignore[attr-defined]
    return read_study(optuna_study.study_name, url)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> StoredStudy:
    """A real study: the paper's twelve networks and one more, really trained."""
    folder = tmp_path_factory.mktemp("trained")
    settings = "budget: {gmacs: 1.3}\nname: trained\n"
    text = TINY.replace("trials: 4, start_with: none", "trials: 12, start_with: paper-all")
    (folder / "trained.yaml").write_text(f"{text}{settings}storage: sqlite:///{folder}/trained.db\n")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    study = load_study(str(folder / "trained.yaml"))
    work(open_session(study, lambda *_: None), lambda _: None)
    torch.set_num_threads(threads)
    return read_study("trained", study.storage_url)


@pytest.fixture(scope="module")
def written(trained: StoredStudy) -> Path:
    """Its page."""
    file = Path(trained.url.removeprefix("sqlite:///")).with_name("r.html")
    write_report(trained, file)
    return file


# What it says


@pytest.mark.slow
def test_a_real_study_says_everything(trained: StoredStudy) -> None:
    report = report_of(trained, "stsearch report trained -o r.html")
    assert report.complete == 12
    assert report.states == {State.COMPLETE: 12}
    assert report.effort.trainings == 13, "R2D too"
    assert report.effort.timed == 13
    assert report.effort.workers == 1
    assert len(report.paper) == 12
    assert report.class_names == tuple(trained.class_names)
    assert all(network.curves and network.confusion(2) is not None for network in report.networks)
    assert report.growth[-1] == pytest.approx((12, report.pareto.hypervolume))
    assert {what: value for what, value, _ in report.versions}["torch"] == torch.__version__
    best = report.front[-1]
    (_, command), *_ = report.steps(best)
    assert command.startswith(f"stsearch profile 'trained#{best.record.trial}' --storage ")
    text = markdown(report)
    assert f"| {best.record.trial} | {best.record.network} |" in text
    assert report.result in text


def test_markdown_has_no_html_and_survives_hostile_names(tmp_path: Path) -> None:
    study, made = begin(tmp_path, name=HOSTILE)
    add(study, made, find_network("MC3-18"), network=HOSTILE)
    add(study, made, find_network("R3D-18"), state="fail", reason=HOSTILE)
    text = render(stored(made), "md")
    assert "\\</script\\>" in text
    assert not re.search(r"(?<!\\)[<>]", text)
    (row,) = [line for line in text.splitlines() if line.startswith("| 0 |")]
    assert len(re.findall(r"(?<!\\)\|", row)) == len(re.findall(r"\|", text.split("| trial ")[1].splitlines()[0])) + 1


def test_markdown_escapes_only_what_means_something() -> None:
    assert plain("conv2_x _em_ *b* `c`\n# [a](b)") == r"conv2_x \_em\_ \*b\* \`c\` \# \[a\](b)"
    assert table(("a", "b"), [("x|y", "1")]) == "| a | b |\n| --- | --: |\n| x\\|y | 1 |"


@pytest.mark.parametrize("objectives", ["video_top1: maximize, gmacs: minimize", "video_top1: maximize",
                                        "video_top1: maximize, gmacs: minimize, params: minimize"])  # fmt: skip
@pytest.mark.parametrize("networks", [0, 1, 9])
def test_every_size_and_number_of_objectives(tmp_path: Path, objectives: str, networks: int) -> None:
    study, made = begin(tmp_path, f"objectives: {{{objectives}}}\n")
    for index in range(networks):
        add(study, made, study.space.architecture(20 * index), 40.0 + 7 * index % 30)
    report = report_of(stored(made))
    page, text = html(report), markdown(report)
    assert report.complete == networks
    for said in (page, text):
        assert ("No network has finished" in said) == (networks == 0)
        assert ("1 network trained, so there is nothing to compare it with" in said) == (networks == 1)
    assert ('id="plot-front"' in page) == (networks > 0 and "," in objectives)
    assert "With one objective there is no front" in page or networks == 0 or "," in objectives
    if networks:
        values = minimised(stored(made).values, study.spec.objectives.values())
        worst = minimised([list(report.pareto.reference_point.values())], study.spec.objectives.values())
        assert report.growth[-1] == pytest.approx((networks, hypervolume(values, worst[0])))


def test_hypervolume_grows_in_order_of_completion(tmp_path: Path, database: str) -> None:
    study, made = begin(tmp_path, url=database)
    rng = np.random.default_rng(0)
    chosen = rng.choice(study.space.size, 60, replace=False)
    for index in chosen:
        add(study, made, study.space.architecture(int(index)), float(rng.uniform(20, 90)))
    report, found = report_of(stored(made)), stored(made)
    values = minimised(found.values, ["maximize", "minimize"])
    assert report.growth[0][0] == 1
    assert len(report.growth) == 60
    for count, volume in report.growth[::7]:
        assert volume == pytest.approx(hypervolume(values[:count], np.array([0.0, 2.0])))


def test_running_failed_pruned_and_over_budget(tmp_path: Path, database: str) -> None:
    study, made = begin(tmp_path, "budget: {gmacs: 0.001}\n", url=database)
    for number in range(3):
        add(
            study, made, study.space.architecture(number), state="fail", reason=f"the loss is nan in epoch {number % 2}"
        )
    add(study, made, study.space.architecture(5), state="fail", reason="interrupted: stopped", interrupted=True)
    failures = render(stored(made), "html")
    assert "No network has finished training yet; 0 in training, 3 failed." in failures
    assert "the loss is nan in epoch 0" in failures
    add(study, made, study.space.architecture(6), state="running")
    add(study, made, study.space.architecture(7), 60.0)
    add(study, made, study.space.architecture(8), state="pruned", reason="worse than cheaper ones after epoch 1")
    report = report_of(stored(made))
    assert report.standing == "Still running when this was written: 1 of 4 networks trained."
    assert (len(report.loss.failed), report.loss.interrupted) == (3, 1)
    assert report.loss.pruned_seconds == 30
    assert report.loss.saved == 0, "30 s were spent where the others took 2"
    page = html(report)
    assert "1 network pruned, that is not trained, or not to the end; 30 s went into finding that out." in page
    assert "an estimate" in page
    assert "the loss is nan in epoch 0 (3 networks, with other figures)" in page


def test_constraints_leave_an_empty_front(tmp_path: Path) -> None:
    study, made = begin(tmp_path, "budget: {gmacs: 0.001}\n")
    add(study, made, study.space.architecture(7), 60.0)
    found = stored(made)
    over = replace(found, feasible=np.zeros(1, dtype=bool))
    assert "none of them keeps the budget" in render(over, "html")
    assert "none of them keeps the budget" in render(over, "md")


def test_latency_is_held_against_flops_also_of_pruned_networks(tmp_path: Path) -> None:
    study, made = begin(tmp_path)
    for index in range(12):
        state, slow = (
            ("pruned", {"reason": f"not trained: latency_ms {30 - index}, budget 25"})
            if index < 4
            else ("complete", {})
        )
        add(study, made, study.space.architecture(19 * index), 40.0 + index, state, latency_ms=30.0 - index, **slow)
    report = report_of(stored(made))
    assert report.latency is not None
    assert report.latency.n == 12
    page = html(report)
    assert 'id="plot-latency"' in page
    assert "not trained: latency_ms 30, budget 25 (4 networks, with other figures)" in page
    assert "latency (ms)" in markdown(report)


def test_of_many_networks_some_are_drawn_and_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "MOST", 6)
    monkeypatch.setattr(page_writer, "MOST", 6)
    monkeypatch.setattr(page_writer, "DRAWN", 3)
    study, made = begin(tmp_path)
    for index in range(21):
        add(study, made, study.space.architecture(index), 99.0 if index == 0 else 40.0, gmacs=1 + index / 100)
    report = report_of(stored(made))
    assert [record.trial for record in report.pareto.dominated] == [1, 5, 9, 13, 17]
    page = html(report).replace("&#39;", "'")
    assert "Of 21 networks the front, the paper's and 5 evenly chosen others are drawn." in page
    data = json.loads(page.split('id="networks">')[1].split("</script>")[0])
    assert len(data["networks"]) == 7, "one is on the front, f-R2D is the paper's"
    packed = page.split('id="drawings">')[1].split("</script>")[0]
    drawings = json.loads(gzip.decompress(base64.b64decode(packed)))
    assert set(drawings) < set(data["networks"])
    assert {network.record.architecture for network in report.networks} < set(drawings)
    assert all(svg.startswith("<svg ") for svg in drawings.values())


def test_strip_names_mixed_groups() -> None:
    cells = strip(find_network("3d-3d.2d-2dx2-2plus1dx3-2dx2"))
    assert [cell.label for cell in cells] == ["3D", "mix", "2D", "(2+1)D", "2D"]
    assert cells[1].about == "3D, 2D"
    assert cells[3].about == "(2+1)D x3"


@pytest.mark.parametrize(("seconds", "said"), [(0.5, "0.5 s"), (57, "57 s"), (600, "10 min"), (9000, "2.5 h"),
                                               (400_000, "4.6 days")])  # fmt: skip
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


# Where it is written


def test_it_is_written_whole_or_not_at_all(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    trained = stored(begin(tmp_path_factory.mktemp("study"))[1])
    with pytest.raises(UserError, match=r"-o r\.txt: unknown suffix '\.txt'\. .*Allowed: \.html, \.md\."):
        write_report(trained, Path("r.txt"))
    with pytest.raises(UserError, match=r"-o r\.html is a file of the form html; given --format md"):
        write_report(trained, Path("r.html"), "md")
    file = tmp_path / "deep" / "r.md"
    write_report(trained, file)
    assert file.read_text().startswith("# made\n")
    assert [entry.name for entry in file.parent.iterdir()] == ["r.md"]
    with pytest.raises(UserError, match=r"^cannot write .*: (Not a directory|File exists)$"):
        write_report(trained, file / "r.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(UserError, match=r"^cannot write .*: Is a directory$"):
        write_report(trained, tmp_path / "folder.html")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["deep", "folder.html"]


def test_a_failed_report_leaves_the_old_one(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    trained = stored(begin(tmp_path_factory.mktemp("study"))[1])
    file = tmp_path / "r.html"
    file.write_text("old")
    broken = replace(trained, user_attributes={**trained.user_attributes, REFERENCE_POINT: {}})
    with pytest.raises(KeyError):
        write_report(broken, file)
    assert file.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.html"]


# In a browser


def opened(open_page: Open, file: Path, width: int = 1400) -> Visit:
    visit = open_page(file.resolve().as_uri(), width)
    visit.page.wait_for_selector("html[data-ready]")
    return visit


def calm(visit: Visit) -> None:
    assert visit.errors == []
    assert visit.left == []


def column(visit: Visit, number: int) -> list[str]:
    found: list[str] = visit.page.evaluate(
        f"[...document.querySelectorAll('#table tbody tr')].map(r => r.cells[{number}].innerText.trim())"
    )
    return found


@pytest.mark.slow
def test_the_page_works_offline(written: Path, open_page: Open) -> None:
    visit = opened(open_page, written)
    page = visit.page
    page.context.set_offline(True)
    assert page.locator("details[open]").count() == 0, "the answer alone"
    page.get_by_role("button", name="Open all").click()
    for name in ("front", "forest", "growth"):
        page.locator(f"#plot-{name} .main-svg").first.wait_for()
        assert page.locator(f"#plot-{name} .main-svg").count() > 0, name
    heads = page.locator("#table thead th")
    gmacs = [heads.nth(n).inner_text() for n in range(heads.count())].index("multiply-adds (GMACs)")
    button = heads.nth(gmacs).locator("button")
    button.click()
    rising = [float(text) for text in column(visit, gmacs)]
    assert len(rising) == 13
    assert rising == sorted(rising)
    assert heads.nth(gmacs).get_attribute("aria-sort") == "ascending"
    button.focus()
    page.keyboard.press("Enter")
    assert [float(text) for text in column(visit, gmacs)] == rising[::-1]
    page.locator("#table tbody button", has_text="MC3-18").first.click()
    page.wait_for_selector("#panel .drawing svg[aria-label^='MC3-18']")
    assert page.locator("#panel").get_attribute("data-network") == find_network("MC3-18").id
    assert page.locator("#panel .drawing svg").count() == 2, "its drawing and its learning curve"
    dearer = page.get_by_role("button", name="dearer")
    seen: list[str] = []
    while page.locator("#panel .steps button", has_text="dearer").is_enabled():
        dearer.focus()
        page.keyboard.press("Enter")
        page.wait_for_function("id => document.getElementById('panel').dataset.network !== id",
                               arg=seen[-1] if seen else find_network("MC3-18").id)  # fmt: skip
        seen.append(str(page.locator("#panel").get_attribute("data-network")))
    costs = [network_cost(find_network(key), ClipShape(3, 8, 32, 32), 2).total.macs for key in seen]
    assert costs == sorted(costs)
    calm(visit)


@pytest.mark.slow
def test_pointing_at_a_network_shows_it_and_a_click_keeps_it(written: Path, open_page: Open) -> None:
    visit = opened(open_page, written)
    page = visit.page
    wanted = [find_network("R3D-18").id, find_network("f-R2D-18").id]
    where = """id => {
      const plot = document.getElementById('plot-front'), box = plot.getBoundingClientRect();
      const across = plot._fullLayout.xaxis, up = plot._fullLayout.yaxis;
      const trace = plot.data.find((t) => (t.customdata || []).includes(id)), n = trace.customdata.indexOf(id);
      return [box.x + across._offset + across.d2p(trace.x[n]), box.y + up._offset + up.d2p(trace.y[n])];
    }"""
    page.locator("#plot-front").scroll_into_view_if_needed()

    def point(identity: str) -> bool:
        """Move to a network, as a hand does: again if the page was still settling; whether the panel shows it."""
        x, y = page.evaluate(where, identity)
        page.mouse.move(x - 3, y)
        page.mouse.move(x, y)
        page.wait_for_timeout(300)
        return page.locator(f"#panel[data-network='{identity}'] .drawing svg").count() >= 1

    for identity in wanted:
        assert any(point(identity) for _ in range(60))
    page.mouse.down()
    page.mouse.up()
    x, y = page.evaluate(where, wanted[0])
    page.mouse.move(x - 3, y)
    page.mouse.move(x, y)
    page.wait_for_selector(f"#panel[data-network='{wanted[0]}']")
    page.mouse.move(5, 5)
    page.wait_for_selector(f"#panel[data-network='{wanted[1]}'] .drawing svg")
    calm(visit)


@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_sticks_out_and_it_prints(written: Path, open_page: Open, width: int) -> None:
    visit = opened(open_page, written, width)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    plotted = visit.page.evaluate("document.querySelector('#plot-front .main-svg').clientWidth")
    assert 0.6 * min(width, 800) < plotted < width
    if width > 1000:
        visit.page.evaluate("addEventListener('beforeprint', () => { window.open_at_print = "
                            "document.querySelectorAll('details:not([open])').length; })")  # fmt: skip
        still_open = "[...document.querySelectorAll('details[open]')].map(d => d.innerText.slice(0, 40))"
        before = visit.page.evaluate(still_open)
        pdf = visit.page.pdf(format="A4", print_background=True)
        assert pdf.startswith(b"%PDF")
        assert visit.page.evaluate("window.open_at_print") == 0, "all is open on paper"
        assert visit.page.evaluate(still_open) == before, "and as it was afterwards"
    calm(visit)


CONTRASTS = """() => {
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    paint.fillStyle = colour;
    paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const behind = (text, x, y) => {
    const under = [...text.closest("svg").querySelectorAll("rect, path, polygon")].filter((shape) => {
      if (shape.closest("defs")) return false;
      const { fill, fillOpacity } = getComputedStyle(shape), matrix = shape.getScreenCTM();
      const clear = /^none$|^rgba.*, 0(.[0-4][0-9]*)?.$/.test(fill) || fillOpacity < 0.5;
      if (clear || !matrix || !(shape.compareDocumentPosition(text) & 4)) return false;
      return shape.isPointInFill(new DOMPoint(x, y).matrixTransform(matrix.inverse()));
    });
    const last = under.at(-1), card = getComputedStyle(text.closest(".figure")).backgroundColor;
    return rgb(last ? getComputedStyle(last).fill : card);
  };
  const texts = [...document.querySelectorAll(".figure svg text")].filter((text) => text.getBoundingClientRect().width);
  return texts.map((text) => {
    const box = text.getBoundingClientRect();
    const back = behind(text, box.left + box.width / 2, box.top + box.height / 2);
    const levels = [luminance(rgb(getComputedStyle(text).fill)), luminance(back)].sort((a, b) => a - b);
    return [text.textContent, (levels[1] + 0.05) / (levels[0] + 0.05), Math.max(...back)];
  });
}"""
"""Of every text of a picture: the contrast to what lies behind it (WCAG), and how light that is, of 255."""


@pytest.mark.slow
def test_pictures_are_dark_in_the_dark_and_light_on_paper(written: Path, open_page: Open) -> None:
    visit = opened(open_page, written)
    page, back = visit.page, "getComputedStyle(document.querySelector('#plot-front .main-svg')).backgroundColor"
    assert page.evaluate(back) == "rgb(255, 255, 255)"
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.get_by_role("button", name="Open all").or_(page.get_by_role("button", name="Close all")).first.wait_for()
        if page.locator("details.section:not([open])").count():
            page.get_by_role("button", name="Open all").click()
        page.wait_for_function("[...document.querySelectorAll('.plot')].every(plot => plot.querySelector('.main-svg'))")
        page.wait_for_selector("#panel .drawing svg")
        found = page.evaluate(CONTRASTS)
        assert len(found) > 100
        assert [one for one in found if one[1] < 4 and one[0].strip()] == [], scheme
    assert page.evaluate(back) == "rgb(30, 36, 41)"
    assert sum(light < 80 for *_, light in found) > 0.5 * len(found)
    page.evaluate(f"addEventListener('beforeprint', () => {{ window.at_print = {back}; }})")
    page.pdf(format="A4", print_background=True)
    assert page.evaluate("window.at_print") == "rgb(255, 255, 255)"
    assert page.evaluate(back) == "rgb(30, 36, 41)", "and as it was afterwards"
    calm(visit)


@pytest.mark.slow
def test_hostile_texts_are_only_texts(tmp_path: Path, open_page: Open) -> None:
    study, made = begin(tmp_path, name=HOSTILE)
    spec: Mapping[str, Any] = made.user_attrs[SPEC]
    changed = {"classes": [HOSTILE, "right"], "resolved": {**spec["resolved"], "data": {"name": HOSTILE}}}
    made.set_user_attr(SPEC, {**spec, **changed, "identity": {**spec["identity"], "data": {"name": HOSTILE}}})
    for number, name in enumerate(("MC3-18", "R3D-18", "f-R2D-18", "3d-2d-3d-2d-2d@18")):
        add(study, made, find_network(name), 40.0 + 3 * number, latency_ms=5.0 + number, network=HOSTILE)
    add(study, made, study.space.architecture(8), state="fail", reason=HOSTILE)
    file = tmp_path / "r.html"
    write_report(stored(made), file)
    visit = opened(open_page, file)
    page = visit.page
    assert page.locator("h1").inner_text() == HOSTILE
    page.get_by_role("button", name="Open all").click()
    assert page.locator("#lost li").first.inner_text().startswith(HOSTILE)
    page.locator("#table tbody button").first.click()
    page.wait_for_selector("#panel .drawing svg")
    assert page.locator("img[src='x']").count() == 0
    assert page.locator("script").count() == 6, "the page's own, and the library unpacked"
    page.wait_for_timeout(200)
    calm(visit)


@pytest.mark.slow
def test_pages_without_a_front_work_too(tmp_path: Path, open_page: Open) -> None:
    study, made = begin(tmp_path)
    write_report(stored(made), tmp_path / "empty.html")
    add(study, made, find_network("MC3-18"))
    write_report(stored(made), tmp_path / "one.html")
    for name in ("empty", "one"):
        calm(opened(open_page, tmp_path / f"{name}.html"))


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 700, 1280])
def test_names_in_the_plot_do_not_lie_on_one_another(written: Path, open_page: Open, width: int) -> None:
    visit = opened(open_page, written, width)
    assert visit.names_apart("#plot-front") > 2
    calm(visit)


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_names_beside_the_papers_points_do_not_lie_on_one_another_either(
    written: Path, open_page: Open, width: int
) -> None:
    visit = opened(open_page, written, width)
    assert visit.page.locator("#plot-paper .annotation").count() == 0, "it is drawn when it is seen"
    visit.page.get_by_role("button", name="Open all").click()
    visit.page.locator("#plot-paper .annotation-text-g").last.wait_for(state="attached")
    assert visit.names_apart("#plot-paper") > 6
    said = visit.page.locator("#plot-paper .annotation:not([style*=hidden])").all_text_contents()
    assert "R(2+1)D" in said, "of the front, so it stays"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_can_be_read_by_all(written: Path, open_page: Open, width: int, scheme: str) -> None:
    visit = opened(open_page, written, width)
    visit.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    assert visit.unreadable() == []
    visit.page.get_by_role("button", name="Open all").click()
    visit.page.locator("#plot-growth .main-svg").first.wait_for()
    assert visit.unreadable() == []


@pytest.mark.slow
def test_what_cannot_be_read_is_noticed(written: Path, open_page: Open) -> None:
    """The test above can fail."""
    visit = opened(open_page, written, 390)
    visit.page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<p style=\"color: #888; background: #fff; width: 500px\">pale"
        '</p><button></button><div style="overflow: auto; height: 9px"><p>one</p><p>two</p></div>\')'
    )
    faults = visit.unreadable()
    for kind in ("the page is", "no name", "contrast", "scrolls by a pointer alone"):
        assert any(fault.startswith(kind) for fault in faults), kind


@pytest.mark.slow
def test_an_address_with_the_name_of_a_section_opens_it(written: Path, open_page: Open) -> None:
    visit = open_page(f"{written.resolve().as_uri()}#growth")
    visit.left.clear()  # the fragment is no other page
    visit.page.wait_for_selector("html[data-ready]")
    visit.page.locator("#plot-growth .main-svg").first.wait_for()
    assert visit.page.locator("details.section[open]").count() == 1
    calm(visit)


# What it is made of


@pytest.mark.slow
def test_the_page_is_small_and_answers_first(trained: StoredStudy, written: Path) -> None:
    assert written.stat().st_size < 1_200_000
    report = report_of(trained)
    assert 1 <= len(report.answer) <= 3
    assert all(sentence.endswith(".") and ". " not in sentence for sentence in report.answer)
    page = written.read_text()
    assert page.index(report.answer[0].split("±")[0]) < page.index('id="plot-front"') < page.index("<details")


def test_the_chart_library_is_the_one_that_figures_are_made_for() -> None:
    """As published: its version is that of the library that plotly, which writes the figures, brings along."""
    from plotly.offline import get_plotlyjs_version

    assert library_version().split(".")[0] == get_plotlyjs_version().split(".")[0]
    text = gzip.decompress(base64.b64decode(packed_library())).decode()
    assert text.startswith(f"/**\n* plotly.js (basic - minified) v{library_version()}\n")
    assert "Licensed under the MIT license" in text[:300]
    assert "</script" not in text


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [  # table II of Newcombe (1998), method 10
        ((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090), ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926), ((0, 10), (0, 20), -0.1611, 0.2775), ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)  # fmt: skip
def test_differences_of_shares(first: tuple[int, int], second: tuple[int, int], low: float, high: float) -> None:
    (a, m), (b, n) = first, second
    assert difference(a / m, m, b / n, n) == pytest.approx((low, high), abs=6e-5)


def test_classes_differ_by_so_many_videos_however_often_they_were_trained(tmp_path: Path) -> None:
    """Three videos right of three against none of three, in one training or in two: the interval is the same."""
    said = []
    for repeats in (1, 2):
        folder = tmp_path / str(repeats)
        folder.mkdir()
        study, made = begin(folder)
        for network, right, accuracy in (("f-R2D-18", 0, 40.0), ("R3D-18", 3, 90.0)):
            record = record_of(accuracy, 0)
            confusion = [[0, 0, right], [0, 1, 3 - right], [1, 1, 2]]
            record["trainings"] = repeats * [{**record["trainings"][0], "confusion": confusion}]
            add(study, made, find_network(network), accuracy, record=record)
        report = report_of(stored(made))
        (table,) = [part for part in classes(report).parts if isinstance(part, Table)]
        said.append([[cell.text for cell in row.cells] for row in table.rows])
    assert said[0] == said[1]
    low, high = (f"{100 * end:+.0f}" for end in difference(1, 3, 0, 3))
    assert said[0][0] == ["left", "3", "0.0", "100.0", f"+100 ({low} to {high})"]


def test_repeats_are_inside_its_period(tmp_path: Path) -> None:
    study, made = begin(tmp_path)
    add(study, made, find_network("MC3-18"), 60.0)
    again = optuna.create_study(storage=made._storage, study_name=made.study_name + REPEATS, directions=["maximize"])
    known = {REPEAT_OF: 0, "video_top1": 62.0, "clip_top1": 61.0, "seconds": 2.0}
    late = create_trial(state=TrialState.COMPLETE, value=62.0, user_attrs=known)
    late.datetime_start, late.datetime_complete = datetime(2026, 1, 31, 13), datetime(2026, 1, 31, 14, 30)
    again.add_trial(late)
    report = report_of(stored(made))
    assert report.effort.repeats == 1
    assert report.effort.when == "2026-01-31 12:00 to 14:30 UTC"
    assert report.effort.span == 2.5 * 3600


@pytest.mark.parametrize(
    ("volume", "interval", "said"),
    [
        (522.969, (497.18, 549.69), "523 % x GMACs (95 % interval of the true one 497 to 550)"),
        (5229.69, (4000.0, 6000.0), "5200 % x GMACs (95 % interval of the true one 4000 to 6000)"),
        (5.22969, (5.17, 5.2944), "5.23 % x GMACs (95 % interval of the true one 5.17 to 5.29)"),
    ],
)
def test_a_hypervolume_has_its_unit_and_the_digits_that_its_interval_deserves(
    tmp_path: Path, volume: float, interval: tuple[float, float], said: str
) -> None:
    study, made = begin(tmp_path)
    for number in range(4):
        add(study, made, study.space.architecture(number), 40.0 + number)
    pareto = report_of(stored(made)).pareto
    assert pareto.confidence is not None
    pareto = replace(pareto, hypervolume=volume, confidence=replace(pareto.confidence, hypervolume=interval))
    assert shown_volume(pareto) == said
