"""The wheel where nothing else is installed than what it asks for: no test tools, no extras, not this repository."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT


def needed(requirements: list[str], extras: frozenset[str] = frozenset()) -> set[str]:
    """Names of all distributions that ``requirements`` bring, from the metadata of those that are installed."""
    found: set[str] = set()
    waiting = [(Requirement(text), extras) for text in requirements]
    while waiting:
        one, given = waiting.pop()
        if one.marker is not None and not any(one.marker.evaluate({"extra": extra}) for extra in (given or {""})):
            continue
        key = f"{one.name.lower()}[{','.join(sorted(one.extras))}]"
        if key in found:
            continue
        found.add(key)
        inner = importlib.metadata.distribution(one.name).requires or []
        waiting += [(Requirement(text), frozenset(one.extras) | {""}) for text in inner]
    return {key.partition("[")[0] for key in found}


def install(names: set[str], place: Path) -> None:
    """The distributions in ``place``, as links to where they are installed."""
    for name in names:
        files = importlib.metadata.distribution(name).files or []
        for top in {file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}:
            source = Path(str(importlib.metadata.distribution(name).locate_file(top)))
            if not (place / top).exists():
                (place / top).symlink_to(source)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment that holds the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("bare")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    (place,) = (folder / "venv" / "lib").glob("python*/site-packages")
    with zipfile.ZipFile(wheel) as inside:
        inside.extractall(place)
        (metadata,) = [name for name in inside.namelist() if name.endswith(".dist-info/METADATA")]
        lines = inside.read(metadata).decode().splitlines()
    asked = [line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist: ")]
    install(needed(asked), place)
    return folder / "venv" / "bin" / "python"


@pytest.mark.slow
def test_a_study_is_run_reported_and_read_with_nothing_but_the_wheel(bare: Path, tiny: Path) -> None:
    def call(*words: str) -> str:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [str(bare), "-P", "-m", "stsearch.cli", *words]
        ran = subprocess.run(command, capture_output=True, text=True, cwd=tiny.parent, env=environment)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    code = "import stsearch, importlib.util as u; print(stsearch.__file__, u.find_spec('pytest'))"
    found = subprocess.run(
        [str(bare), "-P", "-c", code],
        capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]},
    ).stdout.split()  # fmt: skip
    assert found[0].startswith(str(bare.parent.parent)), "it is the wheel that is run"
    assert found[1] == "None"
    assert "Next:" in call("run", str(tiny), "--set=search.trials=2", "--set=engine.workers=1", "--quiet")
    assert "front" in call("pareto", "tiny", "--plot", "front.png")
    assert "written: page.html" in call("report", "tiny", "-o", "page.html")
    assert "19,683" in call("space", "r18")
    environment = {**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, "PYTHONUNBUFFERED": "1"}
    command = [str(bare), "-P", "-m", "stsearch.cli", "dashboard", "tiny"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tiny.parent, env=environment) as dashboard:
        try:
            assert dashboard.stdout is not None
            address = re.search(r"http://127\.0\.0\.1:\d+/", dashboard.stdout.readline())
            assert address
            for path in ("", "dashboard"):  # ours, and optuna-dashboard behind it
                with urllib.request.urlopen(address[0] + path) as page:
                    assert page.status == 200
        finally:
            dashboard.terminate()


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_engine_says_what_to_install(bare: Path, tiny: Path, engine: str, package: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(bare), "-P", "-m", "stsearch.cli", "run", str(tiny), f"--set=engine={{name: {engine}}}"]
    command += ["--storage", "sqlite:///mine.db" if engine == "ray" else "postgresql://db.invalid/mine"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tiny.parent, env=environment)
    assert ran.returncode == 2
    assert ran.stderr == f"stsearch: engine {engine} needs {package}: pip install 'stsearch[{engine}]'\n"
    assert not (tiny.parent / "mine.db").exists()
