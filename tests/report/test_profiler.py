"""The profiler's views in a real browser that finds no other machine: what they show is what the parser says."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stsearch.errors import UserError
from stsearch.profiling.device import Setting, choose_device
from stsearch.profiling.summary import Summary, summarise
from stsearch.profiling.trace import write_trace
from stsearch.report.profiler import end_loading, serve_traces
from stsearch.space.blueprint import ClipShape
from stsearch.space.published import NETWORKS
from tests.profiling.test_profiling import gpu_trace

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser import Open, Visit

pytest_plugins = ["tests.browser"]
pytestmark = pytest.mark.slow

OF_THE_VIEWER = ("slider-vertical", "WebComponentsV0 polyfill")
"""Warnings of the plugin's trace viewer about itself."""


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings of training steps on a CPU, and one on a GPU."""
    folder = tmp_path_factory.mktemp("traces")
    setting = Setting(choose_device("cpu"), threads=1)
    for name in ("MC3", "again"):
        clip = ClipShape(3, 2, 16, 16)
        write_trace(NETWORKS["MC3-18"], clip, 3, setting, folder, name=name, training=True, batch=2, steps=2)
    (folder / "on-gpu").mkdir()
    (folder / "on-gpu" / "cuda_0.1.pt.trace.json").write_text(json.dumps(gpu_trace()))
    return folder


@contextlib.contextmanager
def served(folder: Path, note: Callable[[str], None] = lambda text: None) -> Iterator[str]:
    """The address of the views of ``folder``."""
    server, address = serve_traces(folder, 0, note)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield address
    finally:
        end_loading()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def address(traces: Path) -> Iterator[str]:
    with served(traces) as address:
        yield address


def readers() -> list[multiprocessing.process.BaseProcess]:
    """Processes that read a trace."""
    return [child for child in multiprocessing.active_children() if not child.name.startswith("SyncManager")]


def test_files_are_read_a_few_at_once_and_one_whose_reader_is_killed_is_named(tmp_path: Path) -> None:
    few = max(2, os.cpu_count() or 1)
    paths = [tmp_path / f"w{number}.1.pt.trace.json" for number in range(few + 3)]
    for path in paths:
        path.write_text(json.dumps(gpu_trace()))
    notes: list[str] = []
    with served(tmp_path, notes.append) as address:
        most, killed = 0, False
        while not json.loads(urllib.request.urlopen(f"{address}runs").read())["runs"]:
            found = readers()
            most = max(most, len(found))
            if found and not killed:
                found[0].kill()
                killed = True
            time.sleep(0.01)
        assert most <= few
        while not notes:
            time.sleep(0.1)
        (note,) = notes
        (lost,) = (path for path in paths if repr(str(path)) in note)
        assert note == f"cannot read the trace {str(lost)!r}: it is not shown"
        workers = json.loads(urllib.request.urlopen(f"{address}workers?run={tmp_path.name}&view=Overview").read())
        assert sorted(workers) == sorted(path.name.partition(".")[0] for path in paths if path != lost)


RUNS, VIEWS = 0, 1
"""Lists at the left of the page."""


def choose(page: Page, which: int, name: str) -> None:
    """Choose of a list."""
    page.locator(".MuiDrawer-root .MuiSelect-root").nth(which).click()
    page.get_by_role("option", name=name, exact=True).click()
    page.wait_for_selector("[role=listbox]", state="detached")


@pytest.fixture
def visit(address: str, open_page: Open) -> Iterator[Visit]:
    """The page with all runs loaded; at the end nothing may have been asked elsewhere or complained of."""
    visit = open_page(address, height=1400)
    visit.page.get_by_text("Execution Summary").wait_for()
    visit.page.wait_for_function(
        "async () => { const { runs: all, loading } = await (await fetch('runs')).json(); return all[2] && !loading; }"
    )
    visit.page.reload()
    visit.page.get_by_text("Execution Summary").wait_for()
    yield visit
    assert visit.left == []
    assert [text for text in visit.errors if not any(known in text for known in OF_THE_VIEWER)] == []


def found(traces: Path, run: str) -> Summary:
    (summary,) = (one for one in summarise(traces) if one.run == run)
    return summary


def drawn(page: Page, count: int) -> list[dict[str, Any]]:
    """Traces of the plots, once there are ``count`` with an SVG that has something in it."""
    page.wait_for_function(
        "n => document.querySelectorAll('.js-plotly-plot:has(.main-svg path)').length === n",
        arg=count,
    )
    shown: list[dict[str, Any]] = page.evaluate(
        "[...document.querySelectorAll('.js-plotly-plot')].flatMap(p => p.data.map(d => JSON.parse(JSON.stringify(d))))"
    )
    return shown


def percentages(page: Page, plot: int = 0) -> list[float]:
    texts = page.locator(".js-plotly-plot").nth(plot).locator("text.slicetext").all_text_contents()
    return [float(text.rstrip("%")) for text in texts]


@pytest.mark.parametrize("width", [390, 1280])
def test_the_views_can_be_read_by_all(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 1000})
    choose(visit.page, RUNS, "MC3_training_batch2")
    visit.page.locator(".MuiDrawer-root .MuiSelect-root").nth(VIEWS).click()
    views = visit.page.get_by_role("option").all_inner_texts()
    visit.page.keyboard.press("Escape")
    visit.page.wait_for_selector("[role=listbox]", state="detached")
    assert {"Overview", "Operator", "Trace", "Memory"} <= set(views)
    for view in views:
        choose(visit.page, VIEWS, view)
        visit.page.locator("main iframe" if view == "Trace" else "main .js-plotly-plot .main-svg").first.wait_for()
        visit.page.wait_for_timeout(500)  # it goes on settling; what is still wrong after ten looks is wrong
        for _ in range(10):
            if not (faults := visit.unreadable()):
                break
            visit.page.wait_for_timeout(500)
        assert faults == [], view


def test_the_overview(visit: Visit, traces: Path) -> None:
    choose(visit.page, RUNS, "MC3_training_batch2")
    pie, *steps = drawn(visit.page, 2)
    summary = found(traces, "MC3_training_batch2")
    rows = [row.split("\t") for row in visit.page.locator("table").first.inner_text().splitlines()]
    assert [(name, float(us), float(share)) for name, us, share in rows[-len(summary.parts) :]] == [
        (part.name, part.us, part.percent) for part in summary.parts
    ]
    assert [label.rstrip("\u200b") for label in pie["labels"]] == [part.name for part in summary.parts]
    shown = sorted(part.percent for part in summary.parts)
    assert sorted(percentages(visit.page)) == pytest.approx(shown, abs=0.1)
    assert [one["name"] for one in steps] == [part.name for part in summary.parts]
    means = [sum(one["y"]) / summary.steps for one in steps]
    assert means == pytest.approx([part.us for part in summary.parts], abs=1)
    bar = visit.page.locator(".barlayer .trace").nth(1).locator(".point path").first
    bar.hover(force=True)  # plotly.js listens on a pane before it
    hint = visit.page.locator(".hoverlayer text").first
    hint.wait_for()
    assert f"CPU Exec: {steps[1]['y'][0]}us" in (hint.text_content() or "")


def test_operators(visit: Visit, traces: Path) -> None:
    choose(visit.page, RUNS, "MC3_training_batch2")
    choose(visit.page, VIEWS, "Operator")
    by_self, in_total = drawn(visit.page, 2)
    operators = found(traces, "MC3_training_batch2").operators
    longest = sorted((row.host_self_us for row in operators), reverse=True)[:10]
    assert by_self["values"] == pytest.approx(longest, abs=0.51)
    totals = sorted((row.host_total_us for row in operators), reverse=True)[:10]
    assert in_total["values"] == pytest.approx(totals, abs=0.51)
    assert max(percentages(visit.page)) == pytest.approx(100 * longest[0] / sum(longest), abs=0.1)
    first = visit.page.locator(".ant-table-tbody tr td").first.inner_text()
    assert first in {row.name for row in operators if row.host_self_us == longest[0]}


def test_kernels_of_a_gpu(visit: Visit, traces: Path) -> None:
    choose(visit.page, RUNS, "on-gpu")
    choose(visit.page, VIEWS, "GPU Kernel")
    kernels, _ = drawn(visit.page, 2)
    (kernel,) = found(traces, "on-gpu").kernels
    assert (kernels["hovertext"], kernels["values"]) == ([kernel.name], [kernel.total_us])
    row = visit.page.locator(".ant-table-tbody tr").first.inner_text()
    assert row.split()[:4] == [kernel.name, "No", str(kernel.calls), str(kernel.total_us)]


def test_the_trace_itself(visit: Visit) -> None:
    choose(visit.page, RUNS, "MC3_training_batch2")
    choose(visit.page, VIEWS, "Trace")
    viewer = visit.page.frame_locator("iframe").locator("#trace-viewer")
    viewer.get_by_text("PyTorch Profiler", exact=False).first.wait_for()
    titles = viewer.evaluate("it => [...wrap(it).model.getDescendantEvents()].map(event => event.title)")
    assert titles.count("conv2_x") == 2, "our labels of stages"
    assert {"ProfilerStep#1", "ProfilerStep#2", "aten::conv3d"} <= set(titles)


def test_memory_is_zoomed_and_a_row_marks_the_curve(visit: Visit, traces: Path) -> None:
    choose(visit.page, RUNS, "MC3_training_batch2")
    choose(visit.page, VIEWS, "Memory")
    visit.page.wait_for_function("() => document.querySelector('.js-plotly-plot')?.data?.[0].y?.length > 0")
    allocated = drawn(visit.page, 1)[0]
    (peak,) = (size for device, size in found(traces, "MC3_training_batch2").peak_bytes if device == "CPU")
    assert max(allocated["y"]) == pytest.approx(peak / 2**20, abs=0.01)
    assert visit.page.locator(".gtitle").text_content() == f"Peak Memory Usage: {peak / 2**20:.1f}MB"
    row = visit.page.locator(".ant-table-tbody tr").first
    row.scroll_into_view_if_needed()
    row.hover()
    marked = "document.querySelector('.js-plotly-plot').data.at(-1).x"
    visit.page.wait_for_function(f"() => {marked}.length > 0")
    at = float(row.locator("td").nth(2).inner_text())
    assert any(value == pytest.approx(at, abs=0.01) for value in visit.page.evaluate(marked))
    box = visit.page.locator(".nsewdrag").bounding_box()
    assert box is not None
    with visit.page.expect_response(lambda answer: "start_ts=" in answer.url and "/memory?" in answer.url):
        visit.page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 50)
        visit.page.mouse.down()
        visit.page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 60, steps=5)
        visit.page.mouse.up()


def test_two_recordings_are_set_against_each_other(visit: Visit) -> None:
    visit.page.get_by_role("tab", name="Diff").click()
    for which, name in enumerate(("MC3_training_batch2", "cpu_0", "1", "again_training_batch2", "cpu_0", "1")):
        choose(visit.page, which, name)
    one, other, *_, difference = (bar for bar in drawn(visit.page, 2) if bar["type"] == "bar")
    assert (one["name"], other["name"]) == ("Baseline", "Experiment")
    assert difference["y"] == pytest.approx([sum(b - a for a, b in zip(one["y"], other["y"], strict=True))])


HOSTILE = "<img src=x onerror=\"document.title='taken'\">"


def test_what_a_hostile_trace_says_is_shown_and_not_run(tmp_path: Path, open_page: Open) -> None:
    trace = gpu_trace()
    trace["deviceProperties"] = [{"id": 0, "name": HOSTILE, "computeMajor": 8, "computeMinor": HOSTILE}]
    (tmp_path / "hostile").mkdir()
    (tmp_path / "hostile" / "cuda_0.1.pt.trace.json").write_text(json.dumps(trace))
    with served(tmp_path) as address:
        visit = open_page(address, height=1400)
        visit.page.get_by_text(HOSTILE).first.wait_for()
        assert visit.page.get_by_text(HOSTILE).all_text_contents() == [HOSTILE, f"8.{HOSTILE}"]
        assert visit.page.title() != "taken"
        assert (visit.errors, visit.left) == ([], [])


@pytest.mark.parametrize("name", ["index.html", "trace_embedding.html"])
def test_html_that_got_into_a_page_all_the_same_runs_no_script(address: str, open_page: Open, name: str) -> None:
    visit = open_page(f"{address}{name}")
    script = "parent.document.title='taken'"
    inside = [
        HOSTILE,
        f'<iframe srcdoc="<script>{script}</script>"></iframe>',
        f'<iframe srcdoc="<script src=&quot;data:text/javascript,{script}&quot;></script>"></iframe>',
    ]
    visit.page.evaluate("text => document.body.insertAdjacentHTML('beforeend', text)", "".join(inside))
    while sum("Content Security Policy" in text for text in visit.errors) < len(inside):
        visit.page.wait_for_timeout(100)  # a test has a limit of its own
    assert visit.page.title() != "taken"


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    """``(status, policy)``."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method, headers=headers)) as answer:
            return answer.status, answer.headers.get("Content-Security-Policy", "")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


def test_it_answers_this_machine_alone_and_writes_nothing(address: str) -> None:
    for page in ("", "index.html", "trace_embedding.html"):
        status, policy = ask(f"{address}{page}")
        assert status == 200
        assert re.search(r"connect-src 'self' data: blob:", policy)
        assert re.search(r"script-src 'self'( 'sha256-\S+')+; script-src-attr 'none';", policy)
    assert ask(f"{address}runs", Host="evil.example:80")[0] == 403
    assert ask(f"{address}runs", method="POST")[0] == 405
    assert ask(f"{address}../library.py")[0] == 404
    assert ask(f"{address}views?run=none")[0] == 404


def test_a_port_that_is_taken_is_one_line(address: str, traces: Path) -> None:
    port = int(re.sub(r"\D", "", address.rpartition(":")[2]))
    with pytest.raises(UserError, match=rf"cannot listen at 127\.0\.0\.1:{port}: .*; --port 0 takes any free one"):
        serve_traces(traces, port, lambda text: None)


@pytest.mark.parametrize("package", ["tensorboard", "torch_tb_profiler"])
def test_what_is_not_installed_is_named(traces: Path, package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from stsearch.cli import entry; entry()"
    command = [sys.executable, "-c", code, "profile", "--open", str(traces)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert re.fullmatch(rf"stsearch: .* need {package}\S*: pip install torch-tb-profiler\n", ran.stderr)


@pytest.mark.parametrize(
    ("number", "send"),
    [
        (signal.SIGINT, os.killpg),  # as a terminal does: to all of them
        (signal.SIGHUP, os.killpg),
        (signal.SIGHUP, os.kill),
        (signal.SIGTERM, os.killpg),
        (signal.SIGTERM, os.kill),
    ],
)
def test_the_command_names_what_it_cannot_read_and_ends_in_order(
    traces: Path, tmp_path: Path, number: signal.Signals, send: Callable[[int, int], None]
) -> None:
    folder = tmp_path / "some"
    (folder / "broken").mkdir(parents=True)
    (folder / "broken" / "w.1.pt.trace.json").write_text("{")
    (folder / "whole").symlink_to(traces / "on-gpu")
    (folder / "copy").mkdir()
    (folder / "copy" / "cuda_0.1.pt.trace.json").write_text(json.dumps(gpu_trace()))
    command = [sys.executable, "-m", "stsearch.cli", "profile", "--open", str(folder)]
    asked = folder / "asked"
    browser = folder / "browser"
    browser.write_text(
        f'#!/bin/sh\necho "www-browser: not found" >&2\necho "$1" > {asked}.part\nmv {asked}.part {asked}\n'
    )
    browser.chmod(0o755)
    place = {**os.environ, "BROWSER": str(browser), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=place, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        said = re.fullmatch(r"traces in .*some: (http://127\.0\.0\.1:\d+/)  \(Ctrl-C ends it\)\n", line)
        assert said, line
        assert ask(said[1])[0] == 200
        note = process.stderr.readline()
        assert "cannot read the trace" in note
        assert "w.1.pt.trace.json" in note
        while not asked.exists():
            time.sleep(0.1)
        assert asked.read_text().strip() == said[1]
        send(process.pid, number)
        _, errors = process.communicate(timeout=240)
    assert (process.returncode, errors) == (0, "views closed\n")
    assert {path.name for path in tmp_path.iterdir()} <= {"some", "cache"}, "nothing is left"
    with contextlib.suppress(ProcessLookupError):
        while True:  # until no process is left; a test has a limit of its own
            os.killpg(process.pid, 0)
            time.sleep(0.1)
