"""The commands that look into networks and studies, and studies whose costs are measured."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import optuna
import pytest

from stsearch.errors import SpecError, UserError
from stsearch.search.attributes import SPEC, TRACE
from stsearch.search.reading import read_study
from stsearch.search.session import open_session
from stsearch.search.spec import load_study
from stsearch.search.storage import open_storage
from stsearch.search.worker import work
from tests.cli.test_cli import answer, data

SMALL = ("--frames", "2", "--size", "16", "--classes", "2", "--device", "cpu")
MEASURED = (
    "objectives={video_top1: maximize, latency_ms: minimize}",
    "budget={latency_ms: 1000000, peak_memory_mb: 1000000}",
)


def quiet(*_: object) -> None:
    """No progress."""


def run(file: Path, *settings: str) -> None:
    work(open_session(load_study(str(file), settings), quiet), quiet)


def changed(name: str, **values: Any) -> None:
    """The study's stored identity with other values, as another machine would have written it."""
    study = optuna.load_study(study_name=name, storage=open_storage(f"sqlite:///studies/{name}.db"))
    stored = study.user_attrs[SPEC]
    stored["identity"] |= values
    study.set_user_attr(SPEC, stored)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["profile"], "name a NETWORK, such as MC3-18"),
        (["profile", "MC3-18", "--summary", "."], "--summary reads a folder of traces and takes no NETWORK"),
        (["profile", "--summary", "nowhere"], "nowhere"),
        (["profile", "--open", "nowhere"], "no such folder: 'nowhere'"),
        (["profile", "--open", "."], "no trace (*.pt.trace.json or .gz) below '.'"),
        (["profile", "MC3-18", "--open", "."], "--open reads a folder of traces and takes no NETWORK; given MC3-18"),
        (["profile", "--open", ".", "--summary", "."], "give one of them"),
        (["profile", "MC3-18", "--port", "0"], "there is no --open"),
        (["profile", "--open", ".", "--port", "70000"], "70000 is not in the range 0<=x<=65535"),
        (["profile", "MC3-18", "--draw", "net.gif"], "'.gif'"),
        (["profile", "MC3-18", "--measure", "--device", "gpu"], "'gpu'"),
        (["profile", "MC3-18", "--measure", "--batch", "0", "--device", "cpu"], "0"),
        (["profile", "MC3-18", "--measure", "--precision", "fp8", "--device", "cpu"], "'fp8'"),
        (["profile", "MC3-18", "--measure", "--threads", "0", "--device", "cpu"], "0"),
        (["space", "r18", "--measure", "2"], "2 is not in the range 3<=x<=10000"),
        (["report", "quickstart", "-o", "report.html"], "has not been run here"),
        (["report", "quickstart", "--format", "pdf"], "unknown format 'pdf'. Allowed: html, md"),
        (["dashboard", "quickstrat"], "Did you mean 'quickstart'?"),
        (["dashboard", "quickstart", "--port", "70000"], "70000 is not in the range 0<=x<=65535"),
        (["pareto", "quickstart", "--effects"], "has not been run here"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(tmp_path: Path, arguments: list[str], part: str) -> None:
    code, text = answer(*arguments)
    assert code == 2, text
    assert part in text
    assert list(tmp_path.iterdir()) == []


def test_effects_of_the_papers_networks() -> None:
    shown = data("pareto", "published", "--effects")
    effects = shown["effects"]
    assert isinstance(effects, dict)
    assert effects["networks"] == 12
    code, text = answer("pareto", "published", "--effects")
    assert code == 0
    assert effects["paragraph"].split(".")[0] in " ".join(text.split())
    assert "effects" not in data("pareto", "published")


def test_two_networks_are_drawn_side_by_side() -> None:
    code, text = answer("profile", "MC3-18", "r2plus1d-18", "--draw", "pair.svg")
    assert code == 0
    assert "written: pair.svg" in text
    texts = "".join(ElementTree.fromstring(Path("pair.svg").read_text()).itertext())  # noqa: S314 - written here
    assert "MC3-18" in texts
    assert "R(2+1)D-18" in texts


def test_a_measurement_as_json() -> None:
    shown = data("profile", "MC3-18", "--measure", "--batch", "1", *SMALL)
    measured = shown["measured"]
    assert isinstance(measured, dict)
    text = json.dumps(measured)
    assert "median" in text
    assert "memory" in text


def test_a_trace_and_its_summary() -> None:
    code, text = answer("profile", "MC3-18", "--trace", "traces", "--mode", "forward", *SMALL)
    assert code == 0, text
    assert "stsearch profile --open traces" in text
    code, text = answer("profile", "--summary", "traces")
    assert code == 0, text
    assert "conv" in text


def test_flops_against_latency_of_a_space() -> None:
    shown = data("space", "paper-18", "--measure", "3", "--threads", "1", *SMALL)
    against = shown["flops_against_latency"]
    assert isinstance(against, dict)
    assert "3 networks are too few for an interval" in against["notes"][0]


def test_a_study_that_weighs_latency(tiny: Path) -> None:
    run(tiny, "search.trials=2", "evaluate.trace=all", *MEASURED)
    stored = read_study("tiny")
    assert len(stored.complete) == 2
    assert stored.feasible.all()
    for found in stored.attributes(["latency_ms", "peak_memory_mb", TRACE], stored.complete):
        assert found["latency_ms"] > 0
        assert found["peak_memory_mb"] > 0
        assert Path(found[TRACE]).is_file()
    code, text = answer("report", "tiny", "--format", "md")
    assert code == 0
    assert "latency" in text


def test_figures_of_two_machines_are_never_mixed(tiny: Path) -> None:
    run(tiny, "search.trials=1", *MEASURED)
    measured_on = read_study("tiny").identity["measured_on"]
    changed("tiny", measured_on={**measured_on, "device": "Another CPU"})
    with pytest.raises(UserError, match=r"measured_on\.device: 'Another CPU' -> "):
        open_session(load_study(str(tiny), MEASURED), quiet)


def test_what_is_measured_needs_a_worst_value_and_a_quiet_machine(tiny: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_study(str(tiny), [MEASURED[0], "engine.workers=2"])
    assert "objectives.latency_ms: is measured, so its worst value is not known beforehand" in str(caught.value)
    assert "engine.workers: latency_ms is measured while nothing else runs" in str(caught.value)


def test_a_study_of_a_preview_is_refused(tiny: Path) -> None:
    run(tiny, "search.trials=1")
    study = optuna.load_study(study_name="tiny", storage=open_storage("sqlite:///studies/tiny.db"))
    study.set_user_attr(SPEC, {key: value for key, value in study.user_attrs[SPEC].items() if key != "classes"})
    with pytest.raises(UserError, match="begun by a preview of stsearch"):
        read_study("tiny")
