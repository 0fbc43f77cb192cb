"""The documentation as a site: built strictly, without a network; its reference has every key, option and metric."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from pydantic import BaseModel

from docs.tools.reference import docstrings, pages, rows, sections, walk
from stsearch.cli import main
from stsearch.data.sources import DATASETS
from stsearch.evaluate.evaluators import EVALUATORS
from stsearch.evaluate.whole import WholeRecipe
from stsearch.search.engines import RayEngine, SlurmEngine
from stsearch.search.metrics import METRICS
from stsearch.search.spec import StudySpec
from stsearch.space.search_space import SpaceSpec
from tests.conftest import ROOT

if TYPE_CHECKING:
    from tests.browser import Open

pytest_plugins = ["tests.browser"]

_OFFLINE = """
import socket, sys
def refuse(*arguments): raise OSError("the build asked for a network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from mkdocs.__main__ import cli
cli()
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does, but where no socket can be connected."""
    place = tmp_path_factory.mktemp("site")
    command = ["build", "--quiet", "--strict", "-f", str(ROOT / ".mkdocs.yml"), "-d", str(place)]
    built = subprocess.run([sys.executable, "-c", _OFFLINE, *command], capture_output=True, text=True, cwd=ROOT)
    assert built.returncode == 0, built.stdout + built.stderr
    return place


class _Loads(HTMLParser):
    """What a browser fetches by itself for a page; links that a reader may follow are none of it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video", "embed"):
            self.found.append(given.get("src") or "")
        if tag == "link" and given.get("rel") in ("stylesheet", "preload", "icon", "preconnect"):
            self.found.append(given.get("href") or "")


def test_every_page_is_built_and_loads_nothing_from_elsewhere(site: Path) -> None:
    sources = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    made = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    for page in [*map(str, sources), *pages()]:
        name = page.removesuffix(".md")
        assert f"{name.removesuffix('README') + 'index' if name.endswith('README') else name}.html" in made
    for name in made:
        loads = _Loads()
        loads.feed((site / name).read_text())
        assert loads.found, name
        assert not [one for one in loads.found if re.match(r"(https?:)?//", one)], name
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", style.read_text()), style.name


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", ["index", "tutorial", "first-study", "reference/yaml", "reference/commands"])
def test_a_page_can_be_read_by_all(site: Path, open_page: Open, page: str, scheme: str) -> None:
    visit = open_page((site / f"{page}.html").as_uri())
    visit.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    for width in (1280, 390):
        visit.page.set_viewport_size({"width": width, "height": 900})
        visit.page.evaluate("localStorage.clear()")  # where the theme keeps what it began with
        visit.page.reload()
        assert (
            visit.page.evaluate("document.body.dataset.mdColorScheme") == {"light": "default", "dark": "slate"}[scheme]
        )
        assert visit.unreadable() == [], width


def test_every_page_is_in_the_navigation(site: Path) -> None:
    shown = html.unescape((site / "index.html").read_text())
    for path in (ROOT / "docs").glob("*.md"):
        assert f'href="{path.stem}.html"' in shown, path.name


MODELS = [
    StudySpec,
    SpaceSpec,
    WholeRecipe,
    SlurmEngine,
    RayEngine,
    *(DATASETS[name].recipe for name in DATASETS),
    *(EVALUATORS[name].recipe for name in EVALUATORS if name not in {"replay", "simulated"}),  # tests' own
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_has_a_type_and_a_meaning_on_the_page(model: type[BaseModel], site: Path) -> None:
    page = html.unescape((site / "reference" / "yaml.html").read_text())
    for part in [model, *sections(model)]:
        listed = rows(part)
        assert [row[0] for row in listed] == [f"`{key}`" for key in part.model_fields]
        for key, may_be, default, meaning in listed:
            assert may_be, f"{part.__name__}.{key}: no type"
            assert default, f"{part.__name__}.{key}: no default"
            assert meaning, f"{part.__name__}.{key}: write a docstring below it"
            assert f"<td><code>{key.strip('`')}</code></td>" in page


def test_a_key_says_type_limits_default_and_meaning() -> None:
    by_key = {row[0]: row for row in rows(EVALUATORS["train"].recipe)}
    assert by_key["`batch`"][1:3] == ("whole number, 2 to 65,536", "`32`")
    assert by_key["`epochs`"][1:3] == ("whole number, 1 to 1,000,000 or `auto`", "`auto`")
    assert by_key["`optimizer`"][1:3] == ("`muon`, `adamw`, `sgd`", "`muon`")
    assert by_key["`augment`"][1] == "a section, see [augment](#section-augment)"
    found = {row[0]: row for row in rows(DATASETS["folder"].recipe)}
    assert found["`classes`"][1:3] == ("whole number, 2 to 65,536 or list of text", "none")
    assert found["`span`"][1:3] == ("number, above 0 to 3,600", "`1`")
    assert docstrings(StudySpec)["storage"] == "default: `sqlite:///studies/<name>.db`"


def test_every_command_option_and_metric_is_on_its_page(site: Path) -> None:
    page = html.unescape((site / "reference" / "commands.html").read_text())
    for path, command in walk(main, "stsearch"):
        assert f"<code>{path}</code>" in page
        for option in command.params:
            if isinstance(option, click.Option):
                assert all(f"<code>{name}</code>" in page for name in option.opts), (path, option.name)
                assert option.help, (path, option.name)
    page = (site / "reference" / "metrics.html").read_text()
    for name in METRICS:
        assert f"<code>{name}</code>" in page
    page = (site / "reference" / "python.html").read_text()
    for name in ("stsearch.space.kinds.kind", "stsearch.report.pareto.pareto_of", "stsearch.testing.KindSuite"):
        assert f'id="{name}"' in page


def words(path: str) -> int:
    """Words that are read: of a link its text, nothing of a picture's address or a table's rules."""
    text = re.sub(r"\]\([^)]*\)", "]", (ROOT / path).read_text())
    return len([word for word in re.split(r"[\s|]+", text) if re.search(r"\w", word)])


def test_a_new_user_reads_little_before_a_study_of_their_own() -> None:
    assert words("README.md") <= 500
    assert words("README.md") + words("docs/first-study.md") <= 1200


def test_the_picture_of_a_terminal_is_of_commands_that_there_are_and_loads_nothing() -> None:
    picture = html.unescape((ROOT / "docs" / "terminal.svg").read_text()).replace("\xa0", " ")
    assert "@font-face" not in picture
    assert "@import" not in picture
    typed = re.findall(r"stsearch (\w+) small", picture)
    assert typed
    assert set(typed) <= set(main.commands)
