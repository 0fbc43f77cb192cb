"""YAML, ``--set``, lists and characters that nobody expects: one clear line each, at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import stsearch.cli
from stsearch.data.expressions import found_groups
from stsearch.data.sources import DATASETS, open_data
from stsearch.errors import SpecError, UserError
from stsearch.report.write import write_text
from stsearch.resources import find
from stsearch.schema import check, parse_yaml, read_yaml
from stsearch.search.overrides import apply_overrides
from stsearch.space.published import find_network
from tests.conftest import Cli

_LAUGHS = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [" + ",".join([f"*a{i - 1}"] * 10) + "]\n" for i in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (_LAUGHS, "line 5, column 18: it holds more than 50,000 values, each counted as often as an alias repeats it"),
        (_LAUGHS.replace("[", "{<<: [").replace("]", "]}").replace("[x,x,x,x,x,x,x,x,x,x]", "{x: 1}"), "it holds more"),
        ("x: " + "[" * 400 + "]" * 400, "line 1, column 53: it nests deeper than 50 levels"),
        ("- " * 100_000, "it nests deeper than 50 levels"),
        ("x: &a [*a]", "line 1, column 8: an alias stands inside of what it repeats"),
        ("x: " + "[" + "1," * 60_000 + "]", "it holds more than 50,000 values"),
        ("seed: 0x" + "f" * 5000, "line 1, column 7: an integer of 5,002 characters is too large"),
        ("seed: !!bool 112", "line 1, column 7: '112' is no !!bool"),
        ("name: !!timestamp x", "line 1, column 7: 'x' is no !!timestamp"),
        ("name: 2001-13-45", "is no !!timestamp: month must be in 1..12"),
        ("x: 1" + ":59" * 10_000, "is too large"),
        ("x: 1" + ":59" * 10_000 + ".0", "is no !!float"),
        ("x: {[a]: 1}", "found unhashable key"),
        ('x: "a\\0b"', "'\\x00' is no character of a text"),
        ('x: "\\ud800"', "'\\ud800' is no character of a text"),
        ("x: \x01", "the character '\\x01' is not allowed"),
        ("x: !!python/name:os.system", "could not determine a constructor"),
        ("a: {x: 1, y: 2, x: 3}", "line 1, column 17: the key 'x' is given twice"),
        ("b: &b {c: 1}\na: {<<: *b, <<: *b}", "the key '<<' is given twice; several mappings are merged by <<: [*one"),
    ],
)
def test_yaml_that_is_none_ends_in_one_line(text: str, answer: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_yaml(text, "x.yaml")
    assert answer in str(caught.value)
    assert "\n" not in str(caught.value)


def test_merge_keys() -> None:
    text = "base: &b {x: 1, y: 1}\nmore: &m {<<: *b, y: 2}\na: {<<: *m, x: 3}\nb: {z: 0, <<: [*m, {z: 9, w: 4}]}\nm: *m"
    assert parse_yaml(text, "x") == {
        "base": {"x": 1, "y": 1},
        "more": {"x": 1, "y": 2},
        "a": {"x": 3, "y": 2},
        "b": {"x": 1, "y": 2, "z": 0, "w": 4},
        "m": {"x": 1, "y": 2},
    }


def test_a_large_file_is_no_study(tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text("".join(f"k{i}: {i}\n" for i in range(100_000)))
    with pytest.raises(UserError, match="has more than 1 MB"):
        read_yaml(tmp_path / "keys.yaml")


def test_many_faults_are_counted() -> None:
    data = {f"k{i}": 1 for i in range(20_000)}
    valid, faults = check(DATASETS["folder"].recipe, data, "data.")
    assert valid is None
    assert len(faults) == 20_001
    message = str(SpecError("x.yaml", faults))
    assert message.endswith("\n  and 19,981 more")
    assert len(message) < 10_000


@pytest.mark.parametrize(
    ("classes", "hint"),
    [
        ("[yes, x]", "given True. YAML takes yes, no, on, off, true and false for truth values: put a text in quotes"),
        ("[x, no]", "given False. YAML takes yes, no, on, off, true and false for truth values: put a text in quotes"),
        ("[1, x]", "given 1. YAML takes it for no text: put a text in quotes, as '1'"),
        ("[2001-01-01, x]", "put a text in quotes, as '2001-01-01'"),
        ("[x, ~]", "given None. YAML takes null, ~ and an empty place for nothing: put a text in quotes, as 'null'"),
    ],
)
def test_words_that_yaml_takes_for_something_else_get_a_hint(classes: str, hint: str) -> None:
    data = parse_yaml(f"{{name: folder, path: clips, classes: {classes}}}", "x")
    _, faults = check(DATASETS["folder"].recipe, data, "data.")
    assert hint in "\n".join(faults)


def _set(text: str) -> Any:
    data: dict[str, Any] = {}
    apply_overrides(data, [f"x={text}"])
    return data["x"]


def test_values_of_set_are_taken_whole() -> None:
    for text in ("my clips #2", "#2", "st/day #1", "8 # eight", "caf\udce9", "a#b"):
        assert _set(text) == text
    assert [_set(text) for text in ("8", " 1e-4 ", "[a, b]", "", "'a #2'", '"#"', "{a: 1}", "yes", "!!str 8")] == [
        8, 1e-4, ["a", "b"], None, "a #2", "#", {"a": 1}, True, "8",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ('x="my" #2', "' #' begins a comment"),
        ("x=[a, b] # c", "' #' begins a comment"),
        ("x=&a b", "& an anchor"),
        ("x=" + "[" * 400, "it nests deeper than 50 levels"),
        ("x=0x" + "f" * 5000, "an integer of 5,002 characters is too large"),
        ("a." * 3000 + "a=1", "at most 50 keys; given 3,001"),
        ("x=@eaDir", "a text in quotes is taken as it is"),
        ("x" * 5000, "--set takes key=value"),
    ],
)
def test_values_of_set_that_are_refused(given: str, answer: str) -> None:
    with pytest.raises(UserError) as caught:
        apply_overrides({}, [given])
    assert answer in str(caught.value)
    assert len(str(caught.value)) < 700


def _list(**asked: Any) -> Any:
    return open_data(DATASETS["list"].recipe.model_validate({"name": "list", "path": "list.csv", **asked}))


def test_lists_that_are_none_end_in_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.csv")
    (tmp_path / "list.csv").write_text("a.mp4 0\nb.mp4 1\n")
    (tmp_path / "label.csv").write_text("a.mp4 " + "9" * 5000 + "\n")
    (tmp_path / "nul.csv").write_bytes(b"a.mp4 0\nx\0y/c.mp4 1\n")
    (tmp_path / "long.csv").write_text("a.mp4 0\nb" + " " * 100_000 + "x\n")
    for asked, answer in (
        ({"path": "fifo.csv"}, "is a pipe"),
        ({"path": "/dev/zero"}, "is a device"),
        ({"class_names": "/dev/zero"}, "is a device"),
        ({"path": "label.csv"}, "has more than 18 digits"),
        ({"path": "nul.csv", "max_unreadable": 1.0}, "NUL byte in line 2"),
        ({"path": "long.csv"}, "line 2: longer than 8,192 characters"),
        ({"path": "a\0b"}, "no path"),
        ({"path": "\ud800"}, "no path"),
        ({"path": "~nouser/x"}, "no home folder"),
        ({"root": "~nouser/x"}, "no home folder"),
        ({"root": "x" * 5000}, "is no folder"),
    ):
        with pytest.raises(UserError) as caught:
            _list(**asked)
        assert answer in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500


def test_names_of_any_length() -> None:
    for name in (
        "\0.json",
        "\ud800.json",
        "~nouser/x.json",
        "x" * 5000,
        "x" * 5000 + ".json",
        "3dx" + "9" * 5000 + "-2d" * 4,
    ):
        with pytest.raises(UserError):
            find_network(name)
    for name in ("x" * 5000, "x" * 5000 + ".yaml", "a\0", "\ud800.yaml"):
        with pytest.raises(UserError):
            find("search_spaces", name)


def test_an_expression_that_never_ends_is_ended() -> None:
    assert found_groups("(g[0-9]+)", ["g12", "x", "caf\udce9 g1"]) == ["g12", None, "g1"]
    with pytest.raises(UserError, match=r"does not end within 1 s on 'a{40}!' \(name 2 of 3\)"):
        found_groups("(a+)+$", ["ab", "a" * 40 + "!", "c"])


def test_a_page_with_half_a_character_is_written(tmp_path: Path) -> None:
    write_text(tmp_path / "a.html", "caf\udce9 \ud800")
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == "caf\ufffd \ufffd"


@pytest.mark.slow
def test_any_terminal_shows_any_table(cli: Cli) -> None:
    for encoding in ("ascii", "latin-1"):
        for command in (["space", "r18"], ["pareto", "published", "--effects"]):
            done = cli(*command, PYTHONIOENCODING=encoding)
            assert (done.returncode, done.stderr) == (0, "")
    bad = cli("data", "build", "caf\udce9.yaml", PYTHONIOENCODING="ascii")
    assert (bad.returncode, bad.stderr.count("\n")) == (2, 1)


def test_a_fault_of_our_own_is_one_line_and_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fails(**_: object) -> None:
        raise KeyError("mysql://me:hidden@host/db")

    monkeypatch.setattr(stsearch.cli, "main", fails)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(SystemExit) as caught:
        stsearch.cli.entry()
    assert caught.value.code == 1
    (file,) = tmp_path.glob("stsearch-*.txt")
    said = capsys.readouterr().err
    assert said.startswith("stsearch: a fault in stsearch itself: KeyError in test_input.py, line ")
    assert str(file) in said
    assert said.count("\n") == 1
    assert "hidden" not in said
    assert file.read_text().startswith("Traceback")
    assert file.stat().st_mode & 0o777 == 0o600
