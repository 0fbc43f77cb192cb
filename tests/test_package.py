"""The package as a user gets it: the wheel, the documentation's examples, the plug-in of the docs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from stsearch.data.sources import DATASETS
from stsearch.resources import find, names
from stsearch.schema import parse_yaml, validate
from stsearch.search.spec import study_from_data
from stsearch.space.architecture import parse_placement
from stsearch.space.blueprint import ClipShape
from stsearch.space.cost import network_cost
from stsearch.space.search_space import space_from_data
from tests.conftest import ROOT, Cli

PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.mark.slow
def test_the_wheel_holds_studies_and_spaces_and_types(tmp_path: Path) -> None:
    """Of these YAML alone, also where a study was run in the checkout: its database, checkpoints and pictures stay."""
    checkout = tmp_path / "checkout"
    left_out = shutil.ignore_patterns(".*", "tests", "docs", "*.db*", "__pycache__")
    shutil.copytree(ROOT, checkout, ignore=left_out)
    for name in ("quickstart.db", "quickstart.db.lock", "mine.checkpoints/a.pt", "notes.txt"):
        (checkout / "studies" / name).parent.mkdir(exist_ok=True)
        (checkout / "studies" / name).write_text("a user's own")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=checkout, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    inside = zipfile.ZipFile(wheel)
    listed = set(inside.namelist())
    shipped = {f"stsearch/shipped/{kind}/{name}.yaml" for kind in ("studies", "search_spaces") for name in names(kind)}
    assert {name for name in listed if name.startswith("stsearch/shipped/")} == shipped
    assert "stsearch/py.typed" in listed
    for folder, script in (("plotlyjs", "plotly-basic.min.js"), ("webcomponents", "webcomponents.min.js")):
        brought = {f"stsearch/report/{folder}/{script}", f"stsearch/report/{folder}/LICENSE"}
        assert brought <= listed, "what our pages run of others, with its licence"
        assert any(name.endswith(f".dist-info/licenses/stsearch/report/{folder}/LICENSE") for name in listed)
    notice = "stsearch/report/webcomponents/NOTICE"
    assert notice in listed
    assert any(name.endswith(f".dist-info/licenses/{notice}") for name in listed)
    header = re.findall(
        r"^ \* ([^@\n]+)$", inside.read("stsearch/report/webcomponents/webcomponents.min.js").decode(), re.M
    )
    said = inside.read(notice).decode().splitlines()
    assert {f"  {line}" for line in header} <= set(said), "what the script says of itself"
    inside.extractall(tmp_path / "installed")
    code = "from stsearch.search.spec import load_study; print(load_study('quickstart').space.size)"
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "installed"), "PATH": ""},
    )  # fmt: skip
    assert ran.stdout == "19683\n", ran.stderr


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_documented_studies_are_valid(clips: Path) -> None:
    mine, sections = blocks("docs/your-videos.md", "yaml")
    for line in sections.splitlines():
        (section,) = parse_yaml(line, "your-videos.md").values()
        validate(DATASETS[section["name"]].recipe, section, line)
    study = study_from_data(parse_yaml(mine, "your-videos.md"), "your-videos.md", "mine")
    assert study.spec.data.name == "folder"
    (whole,) = blocks("docs/cli.md", "yaml")
    assert study_from_data(parse_yaml(whole, "cli.md"), "cli.md", "mine").name == "mine"


def test_documented_space_is_valid() -> None:
    (text,) = blocks("docs/search-space.md", "yaml")
    assert space_from_data(parse_yaml(text, "search-space.md")).size > 1


def documented_commands(page: Path) -> list[str]:
    """The commands of a page that need no study; those of one page go on from each other."""
    return [
        command
        for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
        for command in re.findall(
            r"^\$ (stsearch (?:profile|space|pareto published).*?)(?:\s+#.*)?$", block, re.MULTILINE
        )
        if "mine.yaml" not in command
    ]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if documented_commands(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_documented_commands_run(page: Path, cli: Cli) -> None:
    import shlex

    for command in documented_commands(page):
        result = cli(*shlex.split(command)[1:])
        assert result.returncode == 0, f"{command}: {result.stderr}"


@pytest.mark.slow
def test_the_documented_plugin_works_in_one_function_and_one_test(tmp_path: Path, tiny: Path, cli: Cli) -> None:
    """The files of docs/plugins.md as they stand: the suite, a profile, a search in two processes."""
    kind, test, _ = blocks("docs/plugins.md", "python")
    space, _ = blocks("docs/plugins.md", "yaml")
    (tmp_path / "my_kinds.py").write_text(kind)
    (tmp_path / "test_my_kinds.py").write_text(test)
    (tmp_path / "mine.yaml").write_text(space)
    suite = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "test_my_kinds.py"], capture_output=True, text=True, timeout=240
    )
    assert "5 passed" in suite.stdout, suite.stdout + suite.stderr
    assert cli("profile", "3d-3d-dw3d-dw3d-dw3d@18", "--plugin", "my_kinds").returncode == 0
    settings = ["--set=space=mine.yaml", "--set=engine.workers=2", "--set=search.trials=6"]
    ran = cli("run", str(tiny), *settings)
    assert ran.returncode == 0, ran.stderr
    shown = cli("pareto", "tiny", "--format", "csv")
    assert shown.returncode == 0, shown.stderr
    assert "dw3d" in shown.stdout


@pytest.mark.slow
def test_the_documented_metrics_are_objective_cap_column_axis_and_note(tmp_path: Path, tiny: Path, cli: Cli) -> None:
    """One module of docs/plugins.md, and nothing else touched: a closed form and a measured one."""
    *_, metrics = blocks("docs/plugins.md", "python")
    _, asked = (parse_yaml(text, "docs/plugins.md") for text in blocks("docs/plugins.md", "yaml"))
    (tmp_path / "my_metrics.py").write_text(metrics)
    (tmp_path / "mine.yaml").write_text(find("search_spaces", "paper-18").read_text() + "plugins: [my_metrics]\n")
    settings = [f"--set={key}={json.dumps(value)}" for key, value in asked.items()]
    wrong = cli("run", str(tiny), "--set=space=mine.yaml", "--set=objectives={half_gb: minimize}")
    assert wrong.returncode == 2
    assert "Did you mean 'half_mb'" in wrong.stderr
    ran = cli("run", str(tiny), "--set=space=mine.yaml", "--set=engine.workers=1", "--set=search.trials=4", *settings)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(cli("pareto", "tiny", "--format=json", "--plot=front.svg").stdout)
    assert found["objectives"] == {"video_top1": "maximize", "half_mb": "minimize"}
    for network in found["front"]:
        total = network_cost(parse_placement(network["architecture"]), ClipShape(3, 8, 32, 32), 2).total
        assert network["half_mb"] == 2 * (total.params + total.activations) / 1e6
        assert 0 < network["build_ms"] <= 60_000
    assert "half-precision memory (MB)" in cli("pareto", "tiny", COLUMNS="200").stdout
    cli("report", "tiny", "-o", "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "half-precision memory (MB)" in page
    assert "time to build (ms)" in page
    code = (
        "from stsearch.report.notes import study_note, trial_note\n"
        "from stsearch.report.pareto import pareto_of\n"
        "from stsearch.search.reading import read_study\n"
        "stored = read_study('tiny')\n"
        "print(study_note(stored, pareto_of(stored)))\n"
        "print(trial_note(stored, 0, 'COMPLETE', stored.attributes(['architecture', 'half_mb', 'build_ms'])[0], {}))\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "Budget: half-precision memory <= 500 MB, time to build <= 60000 ms." in said
    assert said.count("half-precision memory") >= 3


def test_the_repository_names_no_machine_of_ours() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".yaml"} and path.is_file() and path != Path(__file__):
            assert f"/{'work'}/" not in path.read_text(), name


@pytest.mark.slow
def test_real_clips_are_searched_from_the_documented_study(real_videos: Path, tmp_path: Path, cli: Cli) -> None:
    mine = blocks("docs/your-videos.md", "yaml")[0]
    (tmp_path / "mine.yaml").write_text(mine)
    (tmp_path / "clips").symlink_to(real_videos / "weizmann")
    quick = ["evaluate.epochs=2", "search.trials=4", "proxy={frames: 4, size: 16, width: 0.125}"]
    ran = cli("run", "mine.yaml", *(f"--set={text}" for text in quick))
    assert ran.returncode == 0, ran.stderr
    assert "front" in ran.stdout
    assert "R2D-18" in ran.stdout
