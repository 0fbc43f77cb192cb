"""What others wrote, read one way: files, JSON, numbers, paths, and how a value is shown."""

from __future__ import annotations

import gzip
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from stsearch.errors import SpecError, UserError, brief, did_you_mean, unknown, writable
from stsearch.texts import parse_json, path_of, read_json, read_text, to_int, unpacked


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for name, answer in {
            "pipe": "is a pipe",
            "loop": "is no file",
            "socket": "is no file",
            "/dev/zero": "is a device",
            ".": "is a folder",
            "none": "there is no file",
            "none/x": "there is no file",
            "x" * 5000: "is no file",
            "a\0b": "is no path",
            "\ud800": "is no path",
        }.items():
            with pytest.raises(UserError, match=f"^data.path: .*{answer}") as caught:
                read_text(tmp_path / name, "data.path: ")
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 400


def test_text_is_utf_8_of_a_limited_size(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n")
    assert read_text(file) == "a\nb\nc\n"
    assert read_text(file, limit=10) == "a\nb\nc\n"
    with pytest.raises(UserError, match="has more than"):
        read_text(file, limit=9)
    file.write_bytes("café".encode("latin-1"))
    with pytest.raises(UserError, match="is no text in UTF-8: unexpected end of data at byte 3"):
        read_text(file)
    file.write_bytes(b"a\nb\0\n")
    with pytest.raises(UserError, match="there is a NUL byte in line 2"):
        read_text(file)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "9" * 5000, '{"a": -1' + "0" * 40 + "}", '["\\uD800"]', "", "{", "[1,]"]
)
def test_json_of_any_kind_is_a_value_or_one_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_json(text)
    assert "\n" not in str(caught.value)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match="is no JSON"):
        read_json(tmp_path / "a.json")


def test_whole_characters_of_json_are_read() -> None:
    assert parse_json('["\\ud83d\\ude00", -12, 1.5]') == ["\U0001f600", -12, 1.5]


def test_integers_have_at_most_18_digits() -> None:
    assert to_int(" -12 ") == -12
    assert to_int("9" * 18) == 10**18 - 1
    for text in ("9" * 19, "9" * 5000, "", "-", "1.0", "²", "1_0", "+1"):
        with pytest.raises(ValueError, match="is no integer of at most 18 digits"):
            to_int(text)


def test_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert path_of("~/clips") == Path("/home/someone/clips")
    assert path_of("caf\udce9") == Path("caf\udce9")  # a byte that is no UTF-8 in a file's name
    for text in ("~nouser/x", "a\0b", "\ud800"):
        with pytest.raises(UserError, match=r"^data\.path: "):
            path_of(text, "data.path: ")


def test_unpacking_has_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(b"x" * 1000)
    assert unpacked(packed) == b"x" * 1000
    for content in (b"", b"x", packed[:-9], packed[:15] + b"\xff" + packed[16:]):
        if content:
            with pytest.raises(ValueError, match="no gzip"):
                unpacked(content)
    monkeypatch.setattr("stsearch.texts.UNPACKED_BYTES", 999)
    with pytest.raises(ValueError, match="gigabyte"):
        unpacked(packed)


class _Silent:
    def __repr__(self) -> str:
        raise KeyError("no")


def _endless() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


def _laughs() -> list[Any]:
    value: list[Any] = ["x"] * 10
    for _ in range(30):
        value = [value] * 10
    return value


def test_any_value_is_shown_in_200_characters() -> None:
    for value in ("a", 1, -1.5, None, True, [], {}, (), (1,), [1, "b"], {"a": {"b": (1, 2)}}, set(), {1}, b"x", ""):
        assert brief(value) == repr(value)
    for huge in (
        _endless(),
        _laughs(),
        "x" * 10**6,
        {str(n): n for n in range(10**5)},
        1 << 10**6,
        [1 << 10**6] * 10**5,
    ):
        assert len(brief(huge)) <= 200
    assert brief(1 << 30_000) == "an integer of about 9,031 digits"
    assert brief(_Silent()) == "a _Silent"
    assert len(unknown("study", "x" * 5000, ["a", "b"])) < 300


def test_a_long_name_is_compared_with_none() -> None:
    assert did_you_mean("x" * 10**6, ["x" * 10**6]) == ""


def test_at_most_20_faults_are_told() -> None:
    faults = [f"k{n}: wrong" for n in range(12_345)]
    error = SpecError("a.yaml", faults)
    assert error.faults == faults
    lines = str(error).split("\n")
    assert lines[0] == "a.yaml: 12,345 faults"
    assert len(lines) == 22
    assert lines[-1] == "  and 12,325 more"


def test_half_characters_become_replacement_signs() -> None:
    assert writable("caf\udce9 ä \U0001f600") == "caf\ufffd ä \U0001f600"
