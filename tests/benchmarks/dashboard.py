"""What the dashboard costs: a run whose page is reloaded all the time, and its page on very many trials.

    python tests/benchmarks/dashboard.py reloads --folder /tmp/reloads   # needs Chromium and playwright
    python tests/benchmarks/dashboard.py size --folder /tmp/many         # a folder of many_trials.py
    python tests/benchmarks/dashboard.py start --folder /tmp/many        # the same: until our page is there

`reloads` trains one study to its end or to Ctrl-C. Meanwhile a browser reloads the dashboard's page for
some seconds, rests as long on a blank page, and so on. Epochs of the same network that fell into the one
and the other are compared, so other load on the machine, which changes more slowly, meets both alike.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

from stsearch.search.reading import StoredStudy, read_study
from stsearch.search.state import State

STUDY = """\
space: paper-18
target: {frames: 8, size: 32}
proxy: {frames: 8, size: 32, width: 0.125}
data: {name: motions, classes: 4, clips: 48, val_clips: 10}
evaluate: {name: train, epochs: 40, batch: 16, video_clips: 1}
search: {sampler: random, trials: 200, start_with: none}
engine: {workers: 1}
"""
RELOADING_S, RESTING_S = 6.0, 5.0
Run = subprocess.Popen[bytes]
Phase = tuple[float, float, bool]
"""From, to (seconds since 1970), and whether the page was reloaded."""


def dashboard(study: str) -> tuple[subprocess.Popen[str], str]:
    """A dashboard process and the address of the study, the first of its storage, in optuna-dashboard."""
    command = [sys.executable, "-m", "stsearch.cli", "dashboard", study]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert process.stdout is not None
    found = re.search(r"http://\S+", process.stdout.readline())
    assert found is not None
    return process, f"{found[0]}dashboard/studies/1"


def requests_of(page: Any, address: str) -> list[str]:
    """What the page asks for when it is loaded."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.startswith("http") else None)
    page.goto(address)
    page.get_by_text("Pareto Front").first.wait_for()
    page.wait_for_timeout(3000)
    return asked


def ask(urls: list[str]) -> None:
    """Ask for them as a browser on another machine would."""
    for url in urls:
        with urllib.request.urlopen(url) as answer:
            answer.read()


def reload(load: Callable[[], object], rest: Callable[[], object], count: int, pause: float, run: Run) -> list[Phase]:
    """``load`` the page in every other phase, ``count`` times in all; the phases."""
    phases: list[Phase] = []
    done = 0
    for busy in itertools.cycle((False, True)):
        begun = time.time()
        while time.time() - begun < (RELOADING_S if busy else RESTING_S):
            assert run.poll() is None, "the run ended before the last reload"
            if busy and done < count:
                load()
                done += 1
                time.sleep(pause)
            elif busy:
                break
            else:
                rest()
                time.sleep(RESTING_S)
        phases.append((begun, time.time(), busy))
        if done == count and not busy:
            return phases
    raise AssertionError


def ratios(stored: StoredStudy, phases: list[Phase]) -> list[tuple[float, int, int]]:
    """Of every network with epochs in both: median time of an epoch with over without, epochs with and without.

    The first and the last epoch are left out, and those in which a phase changed.
    """
    _, ended = stored.times()
    found = []
    for row, seconds, record in zip(
        stored.complete,
        (one["seconds"] for one in stored.attributes(["seconds"], stored.complete)),
        stored.details(stored.complete),
        strict=True,
    ):
        at = datetime.fromisoformat(ended[row]).replace(tzinfo=UTC).timestamp() - seconds
        spent: dict[bool, list[float]] = {True: [], False: []}
        for epoch in record["trainings"][0]["curve"]:
            phase = [busy for begin, end, busy in phases if begin + 0.2 < at and at + epoch["seconds"] < end]
            if phase and epoch["epoch"] > 1:
                spent[phase[0]].append(epoch["seconds"])
            at += epoch["seconds"]
        if min(map(len, spent.values())) >= 3:
            middle = {busy: statistics.median(times) for busy, times in spent.items()}
            found.append((middle[True] / middle[False], len(spent[True]), len(spent[False])))
    return found


def processor_s() -> float:
    """Of the children that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def reloads(folder: Path, count: int, pause: float, workers: int, *, browser: bool) -> None:
    """Train, reload ``count`` times, stop, and compare."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.chdir(folder)
    Path("reload.yaml").write_text(STUDY)
    command = [sys.executable, "-m", "stsearch.cli", "run", "reload.yaml", "--quiet", f"--set=engine.workers={workers}"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(20)  # its first network is in training
    shown, address = dashboard("reload")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = chromium.new_page()

        def load() -> None:
            page.goto(address)
            page.get_by_text("Pareto Front").first.wait_for()

        urls = list(requests_of(page, address))
        page.goto("about:blank")
        begun = time.time()
        if browser:
            phases = reload(load, lambda: page.goto("about:blank"), count, pause, run)
        else:
            chromium.close()
            phases = reload(lambda: ask(urls), lambda: None, count, pause, run)
        wall = time.time() - begun
        if browser:
            chromium.close()
    of_browser = processor_s()
    shown.terminate()
    shown.wait()
    of_dashboard = processor_s() - of_browser
    run.send_signal(signal.SIGINT)
    assert run.wait() == 130, "the run did not end as one that was stopped"
    stored = read_study("reload")
    failed = len(stored.ended(State.FAILED))
    print(f"{count} reloads of {len(urls)} requests in {wall:.0f} s beside {workers} workers")
    print(f"{len(stored.complete)} networks trained, {failed} failed")
    print(f"processor time: dashboard {of_dashboard:.1f} s, browser {of_browser:.1f} s")
    tell(ratios(stored, phases))


def tell(found: list[tuple[float, int, int]]) -> None:
    """What the ratios of the networks come to."""
    logs = np.log([ratio for ratio, *_ in found])
    rng = np.random.default_rng(0)
    low, high = np.exp(np.percentile(rng.choice(logs, (10_000, len(logs))).mean(1), (2.5, 97.5)))
    with_, without = (sum(counts) for counts in zip(*((w, o) for _, w, o in found), strict=True))
    print(f"epochs of {len(found)} networks: {with_} with and {without} without reloads")
    print(f"time of an epoch, with over without: {np.exp(logs.mean()):.3f}, 95 % interval {low:.3f} to {high:.3f}")


def size(folder: Path) -> None:
    """First answer for the whole study, and the time until the page shows its front."""
    os.chdir(folder)
    stored = read_study("many")
    shown, address = dashboard("many")
    try:
        for number in range(3):
            begun = time.perf_counter()
            with urllib.request.urlopen(address.replace("/dashboard/", "/api/")) as answer:
                body = answer.read()
            print(f"answer {number}: {time.perf_counter() - begun:.2f} s, {len(body) / 1e6:.1f} MB")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            page = browser.new_page()
            begun = time.perf_counter()
            page.goto(address)
            page.get_by_text("Best Trials").first.wait_for(timeout=120_000)
            print(f"page of {len(stored.complete):,} trials: {time.perf_counter() - begun:.2f} s")
            browser.close()
    finally:
        shown.terminate()


def start(folder: Path, study: str) -> None:
    """Seconds until the address is printed and until our page has come, and the processor's until then."""
    os.chdir(folder)
    for number in range(5):
        before, begun = processor_s(), time.perf_counter()
        shown, address = dashboard(study)
        printed = time.perf_counter() - begun
        with urllib.request.urlopen(address.partition("dashboard/")[0]) as answer:
            answer.read()
        there = time.perf_counter() - begun
        shown.terminate()
        shown.wait()
        print(f"start {number}: address {printed:.2f} s, page {there:.2f} s, processor {processor_s() - before:.2f} s")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["reloads", "size", "start"])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--count", type=int, default=50, help="reloads")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds from one loading to the next")
    parser.add_argument("--study", default="many", help="whose page is waited for after a start")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--requests", action="store_true", help="ask for what the page asks for, without a browser")
    asked = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}")
    if asked.what == "reloads":
        reloads(asked.folder, asked.count, asked.pause, asked.workers, browser=not asked.requests)
    elif asked.what == "size":
        size(asked.folder)
    else:
        start(asked.folder, asked.study)


if __name__ == "__main__":
    main()
