"""Without NNI everything else works, and asking for it says what to install: one line, nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TINY

SAID = "NNI is not installed here: pip install 'stsearch[nni]'"
ABSENT = "import sys; sys.modules['nni'] = None; sys.argv = ['stsearch', *sys.argv[1:]]; "
"""Also where NNI is installed, this process has none."""


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = ABSENT + "from stsearch.cli import entry; entry()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "tiny.yaml", "--set=search.sampler=nni-random"),
        ("run", "tiny.yaml", "--set=search.sampler=nni-regularized-evolution"),
        ("run", "tiny.yaml", "--set=evaluate={name: nni-oneshot}"),
        ("space", "paper-18", "--check", "nni"),
    ],
)
def test_asking_for_nni_says_what_to_install(arguments: tuple[str, ...], tiny: Path, tmp_path: Path) -> None:
    ran = call(*arguments)
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr.startswith(f"stsearch: {SAID}")
    assert ran.stderr.count("\n") == 1
    assert ran.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_importing_the_bridge_says_what_to_install() -> None:
    code = ABSENT + "import stsearch.nni"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert f"UserError: {SAID}" in ran.stderr


def test_everything_else_works(tiny: Path) -> None:
    assert call("space", "paper-18").returncode == 0
    ran = call("run", "tiny.yaml", "--set=search.trials=1")
    assert ran.returncode == 0, ran.stderr
    assert call("pareto", "tiny").returncode == 0


def test_a_recipe_is_checked_without_nni(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(TINY)
    ran = call("run", "wrong.yaml", "--set=evaluate={name: nni-oneshot, strategy: enas}")
    assert ran.returncode == 2
    assert "evaluate.strategy: should be random or darts; given 'enas'" in ran.stderr
    ran = call("run", "wrong.yaml", "--set=search.sampler=nni-evolution")
    assert "Did you mean 'nni-regularized-evolution'?" in ran.stderr
