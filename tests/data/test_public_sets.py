"""What Kinetics, UCF101, HMDB51 and Something-Something list, in folders laid out as theirs. No video is opened."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from stsearch.data.benchmarks import (
    Hmdb51Recipe,
    KineticsRecipe,
    SomethingRecipe,
    Ucf101Recipe,
    list_hmdb51,
    list_kinetics,
    list_something,
    list_ucf101,
)
from stsearch.data.listing import SPLITS, Listing
from tests.data.test_sources import fault, names, touch, write


def labelled(listing: Listing) -> set[tuple[str, str, str]]:
    return {(entry.split, entry.name, listing.classes[entry.label]) for entry in listing.entries}


def kinetics(root: Path, **values: Any) -> Listing:
    return list_kinetics(KineticsRecipe(name="kinetics", path=str(root / "clips"), annotations=str(root), **values))


KINETICS = "label,youtube_id,time_start,time_end,split,is_cc"


def test_kinetics(tmp_path: Path) -> None:
    clips = [("air drumming", "-3B32lodo2M", 59), ("abseiling", "_dbcJuKJQNs", 4), ("air drumming", "gone", 1)]
    write(
        tmp_path / "k400_train.csv",
        KINETICS,
        *(f'"{c}",{v},{t},{t + 10},train,0' for c, v, t in clips),
        "abseiling,whole,,,x,0",
    )
    write(tmp_path / "validate.csv", KINETICS, "abseiling,v1,0,10,val,0", "air drumming,v2,0.0,10.0,val,0")
    write(tmp_path / "test.csv", "youtube_id,time_start,time_end,split", "t,0,10,test")
    touch(
        tmp_path / "clips/train",
        "air_drumming/-3B32lodo2M_000059_000069.mp4",
        "_dbcJuKJQNs_000004_000014.webm",
        "whole.mkv",
    )
    touch(tmp_path / "clips/val", "abseiling/v1_000000_000010.mp4", "air drumming/v2.mp4", "abseiling/v2.mp4")
    listing = kinetics(tmp_path)
    assert listing.classes == ("abseiling", "air drumming")
    assert listing.flip
    assert {(entry.split, entry.path.name, entry.label) for entry in listing.entries} == {
        ("train", "-3B32lodo2M_000059_000069.mp4", 1), ("train", "_dbcJuKJQNs_000004_000014.webm", 0),
        ("train", "whole.mkv", 0), ("val", "v1_000000_000010.mp4", 0), ("val", "v2.mp4", 1),
    }  # fmt: skip
    assert listing.entries[-1].path.parent.name == "air drumming"
    assert listing.notes == (
        "test.csv has no labels and is passed over",
        "listed clips that are not there: 1 of 4 in 'train', 0 of 2 in 'val'",
    )
    write(tmp_path / "k.csv", KINETICS)
    assert len(kinetics(tmp_path).entries) == 5, "a list whose name says no split is passed over"
    write(tmp_path / "val.csv", KINETICS)
    assert "two lists for 'val': 'val.csv' and 'validate.csv'" in fault(kinetics, tmp_path)


def test_kinetics_in_one_file_with_videos_in_two_splits(tmp_path: Path) -> None:
    rows = [f"{label},{label}{n},{n},{n + 10},train,0" for label in "ab" for n in range(4)]
    clips = [f"{label}{n}_{n:06d}_{n + 10:06d}.mp4" for label in "ab" for n in range(4)]
    rows += ["a,a0,50,60,validate,0", "b,new,0,10,validate,0"]
    touch(tmp_path / "clips", *clips, "a0_000050_000060.mp4", "new.mp4")
    file = write(tmp_path / "all.csv", KINETICS, *rows)
    recipe = KineticsRecipe(name="kinetics", path=str(tmp_path / "clips"), annotations=file)
    listing = list_kinetics(recipe)
    assert len(names(listing, "val")) == 2
    assert listing.notes == ("1 group has videos in 'train' and in 'val', so accuracy on 'val' will flatter: a0",)
    for name in clips[:5]:
        (tmp_path / "clips" / name).unlink()
    assert "5 of 8 clips of 'train' are not below" in fault(list_kinetics, recipe)
    write(tmp_path / "all.csv", KINETICS, *rows, "a,x,one,2,train,0", "b,y,1,2,triain,0")
    assert "2 wrong lines: all.csv line 12: 'a,x,one,2,train,0'; all.csv line 13" in fault(list_kinetics, recipe)
    assert "has no column 'label'" in fault(
        lambda: list_kinetics(
            recipe.model_copy(update={"annotations": write(tmp_path / "x.csv", "youtube_id,split", "a,train")})
        )
    )
    assert "begins with 'nothing'; expected a header with the columns youtube_id" in fault(
        lambda: list_kinetics(recipe.model_copy(update={"annotations": write(tmp_path / "x.csv", "nothing")}))
    )


UCF = ("ApplyEyeMakeup", "HandstandPushups", "YoYo")


def ucf101(root: Path, **values: Any) -> Listing:
    return list_ucf101(Ucf101Recipe(name="ucf101", path=str(root / "v"), annotations=str(root), **values))


@pytest.fixture
def ucf(tmp_path: Path) -> Path:
    """Three classes of UCF101 in 25 groups of 2 clips; groups 1 to 7 test."""

    def clips(groups: Iterable[int]) -> list[tuple[str, int]]:
        stem = {name: name.replace("stand", "Stand") for name in UCF}
        return [
            (f"{c}/v_{stem[c]}_g{g:02d}_c0{n}.avi", label)
            for label, c in enumerate(UCF, 1)
            for g in groups
            for n in (1, 2)
        ]

    touch(tmp_path / "v", *(name for name, _ in clips(range(1, 26))))
    write(tmp_path / "classInd.txt", *(f"{number} {name}" for number, name in enumerate(UCF, 1)), end="\r\n")
    write(tmp_path / "trainlist01.txt", *(f"{name} {label}" for name, label in clips(range(8, 26))), end="\r\n")
    write(tmp_path / "testlist01.txt", *(name for name, _ in clips(range(1, 8))))
    return tmp_path


def test_ucf101_validates_on_groups_of_the_training_list(ucf: Path) -> None:
    listing = ucf101(ucf)
    assert listing.classes == UCF
    sizes = Counter((entry.split, entry.label) for entry in listing.entries)
    assert all(sizes["train", c] + sizes["val", c] == 36 and sizes["test", c] == 14 for c in range(3))
    assert all(6 <= sizes["val", c] <= 8 for c in range(3))
    groups = {split: {name.rsplit("_", 1)[0] for name in names(listing, split)} for split in SPLITS}
    assert not groups["train"] & groups["val"]
    assert len(listing.notes) == 1
    assert names(ucf101(ucf, seed=1), "val") != names(listing, "val")
    on_test = ucf101(ucf, val="test")
    assert (len(names(on_test, "train")), names(on_test, "val"), names(on_test, "test")) == (
        108,
        names(listing, "test"),
        [],
    )
    assert "official test list" in on_test.notes[0]


def test_ucf101_in_one_folder_with_other_suffixes(ucf: Path) -> None:
    before = labelled(ucf101(ucf))
    for path in sorted((ucf / "v").rglob("*.avi")):
        path.rename(ucf / "v" / f"{path.stem.replace('Stand', 'stand')}.mp4")
    assert labelled(ucf101(ucf)) == before
    (ucf / "v" / "v_YoYo_g09_c01.mp4").unlink()
    assert "1 of 150 listed videos are not below" in fault(ucf101, ucf)
    assert len(ucf101(ucf, classes=list(UCF[:2])).classes) == 2
    write(ucf / "testlist01.txt", "Yoyo/v_YoYo_g01_c01.avi", "YoYo/clip.avi")
    text = fault(ucf101, ucf)
    assert "line 1: 'Yoyo/v_YoYo_g01_c01.avi': no class 'Yoyo'. Did you mean 'YoYo'?; testlist01.txt line 2" in text
    assert "there is no file" in fault(lambda: ucf101(ucf, split=2))


HMDB = {
    "kick": ["American_History_X_kick_f_nm_np1_le_bad_37.avi 1 ", "The_Matrix_2_kick_f_cm_np1_le_med_6.avi 2 ",
             "The_Matrix_5_kick_f_cm_np1_fr_bad_16.avi 1 ", "The_Matrix_5_kick_f_cm_np1_le_med_13.avi 0 ",
             "THE_PROTECTOR_kick_f_cm_np1_ba_bad_37.avi 1 ", "kick__Bruce_Lee_Kick_kick_u_cm_np1_fr_med_0.avi 1 "],
    "ride_bike": ["#437_How_To_Ride_A_Bike_ride_bike_f_cm_np1_ba_med_0.avi 1 ",
                  "The_Matrix_4_ride_bike_f_cm_np1_ba_med_1.avi 1",
                  "1989_Tour_de_France_Final_Time_Trial_ride_bike_f_cm_np1_fr_med_6.avi 1",
                  "Fahrrad_ride_bike_f_cm_np1_le_med_0.avi 2"],
    "wave": ["American_History_X_wave_u_nm_np1_fr_med_16.avi 2 ", "21_wave_u_nm_np1_fr_goo_5.avi 1 ",
             "prelinger_LetsBeGo1953_wave_u_cm_np10_ba_med_2.avi 1 ", "Wie_man_winkt!!_wave_u_cm_np1_fr_med_0.avi 1"],
}  # fmt: skip


def test_hmdb51(tmp_path: Path) -> None:
    for label, lines in HMDB.items():
        write(tmp_path / f"{label}_test_split1.txt", *lines)
        touch(tmp_path / "v" / label, *(line.split()[0] for line in lines))

    def listed(**values: Any) -> Listing:
        return list_hmdb51(Hmdb51Recipe(name="hmdb51", path=str(tmp_path / "v"), annotations=str(tmp_path), **values))

    listing = listed()
    assert listing.classes == ("kick", "ride_bike", "wave")
    assert len(listing.entries) == 13, "what has a 0 is not used"
    assert {entry.label for entry in listing.entries if entry.split == "val"} == {0, 1, 2}
    matrix = {entry.split for entry in listing.entries if "Matrix" in entry.name and entry.split != "test"}
    assert len(matrix) == 1, "parts of a film are one group, in all classes"
    assert any("'test' will flatter" in note and "american_history_x" in note for note in listing.notes)
    assert len(names(listed(val="test"), "val")) == 3
    write(tmp_path / "wave_test_split1.txt", "21_wave_u_nm_np1_fr_goo_5.avi 3", "21.avi 1")
    assert "2 wrong lines: wave_test_split1.txt line 1" in fault(listed)
    assert "no files <class>_test_split3.txt" in fault(lambda: listed(split=3))


@pytest.mark.parametrize("prefix", ["", "something-something-v2-"])
def test_something(tmp_path: Path, prefix: str) -> None:
    templates = {"Pushing something from left to right": "1", "Dropping something onto something": "0"}
    clips = [
        {"id": str(n), "label": "Pushing a cup", "template": t}
        for n, t in enumerate(["Pushing [something] from left to right", "Dropping [something] onto [something]"] * 2)
    ]
    write(tmp_path / f"{prefix}labels.json", json.dumps(templates))
    write(tmp_path / f"{prefix}train.json", json.dumps(clips[:2]))
    write(tmp_path / f"{prefix}validation.json", json.dumps(clips[2:]))
    touch(tmp_path / "v", *(f"{n}.webm" for n in range(5)))
    recipe = SomethingRecipe(name="something", path=str(tmp_path / "v"), annotations=str(tmp_path))
    listing = list_something(recipe)
    assert listing.classes == ("Dropping something onto something", "Pushing something from left to right")
    assert [(e.path.name, e.label, e.split) for e in listing.entries] == [
        ("0.webm", 1, "train"), ("1.webm", 0, "train"), ("2.webm", 1, "val"), ("3.webm", 0, "val"),
    ]  # fmt: skip
    assert not listing.flip
    write(tmp_path / "test-answers.csv", "4;Dropping something onto something")
    assert names(list_something(recipe), "test") == ["4"]
    write(tmp_path / "test-answers.csv", "4;Dropping somthing onto something")
    assert "clip 1 of 'test': unknown template 'Dropping somthing" in (text := fault(list_something, recipe))
    assert "Did you mean 'Dropping something onto something'?" in text
    write(tmp_path / f"{prefix}train.json", "[{")
    assert "train.json' is no JSON" in fault(list_something, recipe)
    write(tmp_path / f"{prefix}labels.json", json.dumps(list(templates)))
    assert "labels.json should map templates to integers" in fault(list_something, recipe)
