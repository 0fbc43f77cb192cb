"""What is answered to who writes what they know from elsewhere, or a proxy too small for the question."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from stsearch.data.cache import writing
from stsearch.data.durations import durations, lengths, mismatch
from stsearch.data.journal import Row
from stsearch.errors import SpecError, UserError, WorldError
from stsearch.nets.tensors import load_torch
from stsearch.resources import find
from stsearch.search.left import left_over
from stsearch.search.spec import StudySpec, load_study
from tests.conftest import Cli


@pytest.mark.parametrize(
    ("setting", "answer"),
    [
        ("budget={gflops: 30}", "unknown cost 'gflops'. Did you mean 'gmacs'?"),
        ("objectives={accuracy: maximize}", "unknown objective 'accuracy'. Did you mean 'video_top1'?"),
        ("objectives={Latency: minimize}", "unknown objective 'Latency'. Did you mean 'latency_ms'?"),
        ("budget={parameters: 1e6}", "unknown cost 'parameters'. Did you mean 'params'?"),
        ("budget={nothing_like_it: 3}", "unknown cost 'nothing_like_it'. Allowed"),
        ("trials=3", "unknown key 'trials'. Did you mean 'search.trials'?"),
        ("epochs=3", "unknown key 'epochs'. Did you mean 'evaluate.epochs'?"),
        ("span=2.0", "unknown key 'span'. Did you mean 'data.span'?"),
        ("workers=2", "unknown key 'workers'. Did you mean 'engine.workers'?"),
        ("serch={trials: 3}", "unknown key 'serch'. Did you mean 'search'?"),
    ],
)
def test_names_from_elsewhere(tiny: Path, setting: str, answer: str) -> None:
    with pytest.raises(SpecError) as one:
        load_study(str(tiny), [setting])
    assert answer in str(one.value)


def test_a_key_of_the_study_is_not_sent_into_a_section() -> None:
    assert not set(StudySpec.MEANT) & set(StudySpec.model_fields)
    assert StudySpec.MEANT["frames"] == "target.frames"


def test_a_file_without_its_ending(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "gestures.yaml").write_text("space: r18\n")
    with pytest.raises(UserError) as one:
        find("studies", "gestures")
    assert str(one.value) == "no study 'gestures', but a file gestures.yaml is here: give it with its ending"
    answer = cli("run", "gestures")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "give it with its ending" in answer.stderr


def test_a_file_that_is_nearly_there(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("space: r18\n")
    with pytest.raises(UserError, match=r"^no such file: 'mein\.yaml'\. Did you mean 'mine\.yaml'\?$"):
        find("studies", "mein.yaml")
    with pytest.raises(UserError, match=r"^no such file: 'quite/other\.yaml'$"):
        find("studies", "quite/other.yaml")


def test_a_folder_where_a_file_is_meant(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    with pytest.raises(UserError, match=r"^'clips' is a folder; a study is a YAML file that names a folder of clips"):
        find("studies", "clips")
    (tmp_path / "chosen").mkdir()
    (tmp_path / "chosen" / "weights.pt").write_bytes(b"")
    with pytest.raises(UserError, match=r"^'chosen' is a folder; its weights are 'chosen/weights\.pt'$"):
        load_torch(Path("chosen"))


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["train", "MC3-18"], "stsearch train: missing option '--out DIR': Folder of the result.\n"),
        (
            ["profile", "MC3-18", "--size", "112px"],
            "stsearch profile: invalid value for '--size': '112px' is not a valid integer range; "
            "expected a whole number of 1 to 65,536.\n",
        ),
    ],
)
def test_an_option_says_what_it_takes(words: list[str], answer: str, cli: Cli) -> None:
    given = cli(*words)
    assert (given.returncode, given.stdout, given.stderr) == (2, "", answer)


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("{frames: 4, size: 16, width: 0.125}", []),
        ("{frames: 8, size: 24, width: 0.0625}", []),
        ("{frames: 1, size: 16, width: 0.125}", ["leaves one frame of each clip"]),
        ("{frames: 4, size: 4, width: 0.125}", ["proxy.size 4 leaves a single pixel from conv3_x on, so 3 of 5"]),
        (
            "{frames: 4, size: 16, width: 0.01}",
            ["proxy.width 0.01 leaves 1, 1, 1, 3, 5 channels of 64, 64, 128, 256, 512"],
        ),
        ("{frames: 1, size: 8, width: 0.01}", ["one frame", "from conv4_x on, so 2 of 5", "channels"]),
    ],
)
def test_what_is_left_of_a_network(tiny: Path, proxy: str, said: list[str]) -> None:
    found = left_over(load_study(str(tiny), [f"proxy={proxy}"]))
    assert len(found) == len(said)
    for sentence, part in zip(found, said, strict=True):
        assert part in sentence
        assert "Take proxy." in sentence


@pytest.mark.slow
def test_a_run_says_what_is_left(tiny: Path, cli: Cli) -> None:
    ran = cli("run", str(tiny), "--set=proxy.frames=1", "--set=search.trials=1", "--set=engine.workers=1")
    assert ran.returncode == 0, ran.stderr
    assert "warning: proxy.frames 1 leaves one frame of each clip" in ran.stderr


@pytest.mark.parametrize(
    ("code", "answer"),
    [(errno.ENOSPC, "Free some space or set STSEARCH_CACHE"), (errno.EACCES, ". Set STSEARCH_CACHE")],
)
def test_a_disk_that_is_full_and_a_folder_of_others(tmp_path: Path, code: int, answer: str) -> None:
    import os

    with pytest.raises(WorldError) as one, writing(tmp_path):
        raise OSError(code, os.strerror(code))
    assert answer in str(one.value)
    assert ("space" in str(one.value).replace(os.strerror(code), "")) == (code == errno.ENOSPC)


def video(seconds: float, number: int = 0) -> Row:
    """Of so many seconds at 10 frames a second, the last frame's own time included."""
    return Row(number, f"{number}.mp4", frames=8, fps=10.0, seconds=seconds - 0.1)


@pytest.mark.parametrize(
    ("seconds", "span", "said"),
    [
        ([1.0, 1.0, 1.0], 1.0, ""),
        ([1.2, 1.2, 1.2], 1.0, ""),
        ([2.0, 2.0, 2.1], 1.0, "which is 50% of a video of 2.0 s"),
        ([10.0] * 5, 2.0, "which is 20% of a video of 10 s"),
        ([0.5, 2.0, 2.0, 2.0], 2.0, "1 of 4 videos are much shorter than a clip of 2.0 s"),
        ([0.5, *[2.0] * 19], 2.0, ""),
        ([], 1.0, ""),
    ],
)
def test_clips_that_cut_or_stretch_videos(seconds: list[float], span: float, said: str) -> None:
    found = mismatch(durations([video(one, number) for number, one in enumerate(seconds)]), span)
    assert len(found) == bool(said)
    assert said in "".join(found)


def test_lengths_of_videos() -> None:
    assert lengths(durations([video(1.5), video(2.0), video(12.0)])) == "videos last 1.5 to 12 s, 2.0 s in the middle"
    assert lengths(durations([Row(0, "a.mp4", unreadable="no video")])) == ""


def test_data_build_says_how_long_videos_are_and_that_a_split_lies_beside(clips: Path, cli: Cli) -> None:
    built = cli("data", "build", str(clips / "train"), "--frames=4", "--size=16", "--set=data.span=0.25", "--quiet")
    assert built.returncode == 0, built.stderr
    assert "videos last " in built.stdout
    assert "a clip covers 0.2 s (data.span)" in built.stdout
    assert "note: data.path is the folder 'train' alone, and val" in built.stdout
    asked = cli("data", "build", str(clips), "--frames=4", "--size=16", "--set=data.span=900", "--estimate")
    assert "12 of 12 videos are much shorter than a clip of 900 s (data.span)" in asked.stdout, asked.stderr
    whole = cli("data", "build", str(clips), "--frames=4", "--size=16", "--quiet")
    assert whole.returncode == 0, whole.stderr
    assert "alone" not in whole.stdout
