"""Figures as people read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from stsearch.report.words import seconds
from tests.conftest import Cli


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (160.0, "160"),
        (1234.5, "1,234"),
        (16.4, "16"),
        (9.94, "9.9"),
        (9.96, "10"),
        (1.6, "1.6"),
        (0.0123, "0.012"),
        (0.0, "0"),
    ],
)
def test_seconds_are_no_powers_of_ten(value: float, text: str) -> None:
    assert seconds(value) == text


def test_a_drawing_in_several_forms_at_once(tmp_path: Path, cli: Cli) -> None:
    drawn = cli("profile", "MC3-18", "rMC3-18", "--draw", "pair.svg", "--draw", "pair.png")
    assert drawn.returncode == 0, drawn.stderr
    assert "written: pair.svg\nwritten: pair.png" in drawn.stdout
    assert (tmp_path / "pair.svg").read_text().startswith("<svg")
    assert (tmp_path / "pair.png").read_bytes().startswith(b"\x89PNG")
