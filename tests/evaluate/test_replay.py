"""A table of trainings: written, merged, and searched in place of training."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stsearch.errors import UserError
from stsearch.evaluate.replay import Recorded, Table, merged, read_table
from stsearch.search.reading import read_study
from stsearch.search.recorded import table_of
from tests.conftest import ROOT, Cli

IDENTITY = {"space": "paper-18", "seed": 0, "evaluate": {"epochs": 2}}


def recorded(seed: int, top1: float = 50.0) -> Recorded:
    return Recorded(seed, (25.0, top1), (1.5, 1.0), (0.1, 0.0), top1, 90.0, (top1, None), 12.0, 3.0, 100.0)


def table(trainings: dict[str, tuple[Recorded, ...]], provenance: str = "here", **identity: Any) -> Table:
    return Table({"identity": {**IDENTITY, **identity}, "provenance": [{"machine": provenance}]}, trainings)


def test_what_is_written_is_read_and_the_same_table_is_the_same_file(tmp_path: Path) -> None:
    whole = table({"b": (recorded(1), recorded(2)), "a": (recorded(3),)})
    whole.write(tmp_path / "one.json.gz")
    assert read_table(tmp_path / "one.json.gz") == whole
    table(dict(reversed(list(whole.trainings.items())))).write(tmp_path / "other.json.gz")
    assert (tmp_path / "one.json.gz").read_bytes() == (tmp_path / "other.json.gz").read_bytes()


def test_pieces_merge_and_a_training_counts_once() -> None:
    first = table({"a": (recorded(1), recorded(2))})
    second = table({"a": (recorded(2), recorded(3)), "b": (recorded(4),)}, "elsewhere", seed=1)
    whole = merged([first, second, first])
    assert {name: [one.seed for one in some] for name, some in whole.trainings.items()} == {"a": [1, 2, 3], "b": [4]}
    assert whole.about["provenance"] == [{"machine": "here"}, {"machine": "elsewhere"}]
    assert merged([whole, second]) == whole
    with pytest.raises(UserError, match="they differ in evaluate"):
        merged([first, table({}, evaluate={"epochs": 3})])
    with pytest.raises(UserError, match="no table to merge"):
        merged([])


def test_files_that_are_no_table(tmp_path: Path) -> None:
    path = tmp_path / "t.json.gz"
    with pytest.raises(UserError, match="cannot read the table"):
        read_table(path)
    path.write_bytes(b"{}")
    with pytest.raises(UserError, match="cannot read the table"):
        read_table(path)


@pytest.mark.slow
def test_a_study_is_searched_again_without_training(tiny: Path, cli: Cli, tmp_path: Path) -> None:
    """The same networks have the same accuracies; one that the table lacks fails with its reason."""
    assert cli("run", "tiny.yaml", "--quiet").returncode == 0
    page = (ROOT / "docs" / "fidelities.md").read_text()
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[1]
    code = code.replace('("placements", "placements-more-seeds")', '("tiny",)').replace("placements.json", "table.json")
    subprocess.run([sys.executable, "-c", code], check=True)
    kept = table_of(read_study("tiny"))
    assert read_table(tmp_path / "table.json.gz").trainings == kept.trainings
    (tmp_path / "again.yaml").write_text("name: again\nblock: basic\nplugins: [stsearch.testing]\n" + PLACEMENTS)
    settings = ["space=again.yaml", "name=again", "evaluate={name: replay, table: table.json.gz}", "search.trials=4"]
    ran = cli("run", "tiny.yaml", *(f"--set={text}" for text in settings), "--format", "json")
    assert ran.returncode == 0, ran.stderr
    fresh = json.loads(cli("pareto", "tiny", "--format", "json").stdout)
    again = json.loads(ran.stdout)
    assert [row["video_top1"] for row in again["front"]] == [row["video_top1"] for row in fresh["front"]]
    assert again["hypervolume"] == fresh["hypervolume"]
    assert table_of(read_study("again")).trainings == kept.trainings


PLACEMENTS = """\
stem: {kind: [2d, 3d, 2plus1d]}
stages:
  conv2_x: {kind: [2d, 3d, 2plus1d], depth: 2}
  conv3_x: {kind: [2d, 3d, 2plus1d], depth: 2}
  conv4_x: {kind: [2d, 3d, 2plus1d], depth: 2}
  conv5_x: {kind: [2d, 3d, 2plus1d], depth: 2}
"""
