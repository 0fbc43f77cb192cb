"""What the sources of videos list: class folders and lists. No video is opened."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stsearch.data.folder import FolderRecipe, list_folder
from stsearch.data.listing import SPLITS, Listing
from stsearch.data.lists import ListRecipe, list_videos
from stsearch.errors import UserError


def touch(root: Path, *names: str) -> Path:
    """Empty files."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def write(path: Path, *lines: str, end: str = "\n", encoding: str = "utf-8") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode(encoding))
    return str(path)


def names(listing: Listing, split: str) -> list[str]:
    return [entry.name for entry in listing.entries if entry.split == split]


def fault(call: Callable[..., Listing], *arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text


def folder(root: Path, **values: Any) -> Listing:
    return list_folder(FolderRecipe(path=str(root), **values))


def csv_list(path: Path | str, **values: Any) -> Listing:
    return list_videos(ListRecipe(path=str(path), **values))


# --- class folders


def test_class_folders_below_splits(tmp_path: Path) -> None:
    touch(tmp_path, "train/wave/a.mp4", "train/wave/b.MTS", "train/jump/a.avi", "train/jump/notes.txt", ".git/x.mp4")
    touch(tmp_path, "validation/wave/c.webm", "validation/jump/d.gif", "validation/jump/._d.gif", "test/jump/e.mpeg")
    listing = folder(tmp_path)
    assert listing.classes == ("jump", "wave")
    assert names(listing, "train") == ["train/jump/a.avi", "train/wave/a.mp4", "train/wave/b.MTS"]
    assert names(listing, "val") == ["validation/jump/d.gif", "validation/wave/c.webm"]
    assert names(listing, "test") == ["test/jump/e.mpeg"]
    assert all(entry.path == tmp_path / entry.name for entry in listing.entries)
    assert [SPLITS.index(entry.split) for entry in listing.entries] == [0, 0, 0, 1, 1, 2]
    assert listing.notes[0].startswith("files passed over")
    assert listing.notes[0].endswith(": 1")
    assert (listing.flip, folder(tmp_path, flip=True).flip) == (False, True)
    assert len(folder(tmp_path, classes=["wave", "jump"]).classes) == 2


def test_class_folders_without_splits_are_split_at_random_and_that_is_said(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{c}/{n}.mp4" for c, count in (("a", 10), ("b", 20), ("train", 2)) for n in range(count)))
    listing = folder(tmp_path)
    assert Counter(listing.classes[e.label] for e in listing.entries if e.split == "val") == {
        "a": 2,
        "b": 4,
        "train": 1,
    }
    assert "7 of 32 training videos are taken for it, drawn at random" in listing.notes[0]
    assert "data.group" in listing.notes[0]
    assert folder(tmp_path) == listing
    assert names(folder(tmp_path, seed=1), "val") != names(listing, "val")
    touch(tmp_path, "b/new.mp4")
    assert len(set(names(folder(tmp_path), "val")) ^ set(names(listing, "val"))) <= 2, "a new file shuffles no others"


def test_groups_of_a_folder_stay_together(tmp_path: Path) -> None:
    touch(
        tmp_path, *(f"{c}/{person}_{n}.mp4" for c in "ab" for person in ("ann", "bo", "cy", "di", "ed") for n in "123")
    )
    listing = folder(tmp_path, group=r"([a-z]+)_\d")
    people = {split: {name[2:].split("_")[0] for name in names(listing, split)} for split in SPLITS}
    assert len(people["val"]) == 1
    assert not people["train"] & people["val"]
    assert "whole groups, 1 of 5" in listing.notes[0]
    assert "finds nothing in 30 names: 'a/ann_1.mp4'" in fault(lambda: folder(tmp_path, group="(x)"))
    assert "one (group) is needed" in fault(lambda: folder(tmp_path, group="[a-z]+"))
    assert "no regular expression" in fault(lambda: folder(tmp_path, group="("))
    assert "'a' (in 1 group)" in fault(lambda: folder(tmp_path, group="(.)/"))


def test_train_and_test_without_val(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{s}/{c}/{p}{n}.mp4" for s in ("train", "test") for c in "ab" for n in range(5) for p in "xyz"))
    listing = folder(tmp_path, group=r"([xyz])\d")
    assert len(names(listing, "test")) == 30
    assert {Path(name).name[0] for name in names(listing, "val")}.isdisjoint(
        Path(name).name[0] for name in names(listing, "train")
    )
    assert any("2 groups have videos in 'train' and in 'test'" in note for note in listing.notes)


def test_folders_that_are_wrong(tmp_path: Path) -> None:
    assert "is no folder; expected {train,val}/<class>" in fault(folder, tmp_path / "nowhere")
    assert "has no folder 'train' and no class folders" in fault(folder, tmp_path)
    touch(tmp_path, "train/wave/a.mp4", "train/jump/a.mp4", "val/wave/b.mp4", "val/jumb/b.mp4")
    assert "classes in 'val' that 'train' has not: jumb. Did you mean 'jump'?" in fault(folder, tmp_path)
    (tmp_path / "val/jumb").rename(tmp_path / "val/jump")
    (tmp_path / "train/idle").mkdir()
    assert "1 of 3 classes have no videos in 'train': 'idle'" in fault(folder, tmp_path)
    assert len(folder(tmp_path, classes=["wave", "jump"]).entries) == 4
    (tmp_path / "valid").mkdir()
    assert "two folders for 'val'" in fault(folder, tmp_path)
    assert "has no folder 'train'" in fault(folder, touch(tmp_path / "other", "val/a/1.mp4", "val/b/2.mp4"))
    assert "only the folder 'data'" in fault(folder, touch(tmp_path / "nested", "data/a/1.mp4"))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("nowhere", path)])
def test_what_is_named_like_a_video_and_is_none(tmp_path: Path, make: Callable[[Path], None]) -> None:
    touch(tmp_path, *(f"{s}/{c}/1.mp4" for s in ("train", "val") for c in "ab"))
    os.symlink(tmp_path / "train/a/1.mp4", tmp_path / "train/a/2.mp4")
    assert len(folder(tmp_path).entries) == 5
    make(tmp_path / "train/a/odd.mp4")
    assert "train/a/odd.mp4" in names(folder(tmp_path), "train"), "it is left out, by name, when videos are decoded"


SYSTEMS = ("@eaDir", "__MACOSX", "lost+found", ".Trash-1000", "$RECYCLE.BIN", "System Volume Information", "#recycle")


def test_folders_of_systems_are_no_classes(tmp_path: Path) -> None:
    for name in SYSTEMS:
        touch(tmp_path, f"{name}/a.mp4", f"train/{name}/a.mp4", f"train/wave/{name}/a.mp4", f"plain/{name}/x.mp4")
    touch(tmp_path, *(f"{s}/{c}/{n}.mp4" for s in ("train", "val", "plain") for c in ("wave", "jump") for n in "12"))
    assert folder(tmp_path).classes == folder(tmp_path / "plain").classes == ("jump", "wave")


def test_classes_that_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{s}/{c}/1.mp4" for s in ("train", "val") for c in ("wave", "jump", "idle")), "val/other/2.mp4")
    assert "that 'train' has not: other" in fault(folder, tmp_path)
    listing = folder(tmp_path, exclude=["other", "idle"])
    assert listing.classes == ("jump", "wave")
    assert len(listing.entries) == 4
    assert folder(tmp_path, exclude=["other"], classes=2).classes != ()
    for given, expected in (
        ({"exclude": ["idel"]}, "none of the 4 classes is called 'idel'. Did you mean 'idle'?"),
        ({"exclude": ["idle"], "classes": ["idle", "wave"]}, "in data.classes or left out, not both; given 'idle'"),
        ({"exclude": ["idle", "wave", "other"]}, "at least 2 of the 3 classes are needed; it leaves 1"),
    ):  # fmt: skip
        assert expected in fault(lambda given=given: folder(tmp_path, **given))
    train = write(tmp_path / "t.csv", "path,label", *(f"train/{c}/1.mp4,{c}" for c in ("wave", "jump", "idle")))
    val = write(
        tmp_path / "v.csv", "path,label", *(f"val/{c}/1.mp4,{c}" for c in ("wave", "jump")), "val/other/2.mp4,odd"
    )
    assert csv_list(train, val=val, exclude=["odd", "idle"]).classes == ("jump", "wave")
    assert "is called 'odt'. Did you mean 'odd'?" in fault(lambda: csv_list(train, val=val, exclude=["odt", "odd"]))


# --- lists

CLIPS = ("a 1, so.mp4", "b.mp4", "c.mp4", "d.mp4")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_csv_list(tmp_path: Path, delimiter: str, encoding: str, end: str) -> None:
    touch(tmp_path, *CLIPS)
    rows = zip(CLIPS, ("wäve", "jump", "wäve", "jump"), ("train", "Train", "validation", "val"), strict=True)
    lines = [delimiter.join((f'"{clip}"', label, split)) for clip, label, split in rows]
    path = write(
        tmp_path / "clips.csv", delimiter.join(("Path", "label", "split")), "", *lines, end=end, encoding=encoding
    )
    listing = csv_list(path)
    assert listing.classes == ("jump", "wäve")
    assert names(listing, "train") == ["a 1, so.mp4", "b.mp4"]
    assert names(listing, "val") == ["c.mp4", "d.mp4"]
    assert all(entry.path == tmp_path / entry.name for entry in listing.entries)
    assert listing.notes == ()


def test_lists_of_lines_with_integer_labels(tmp_path: Path) -> None:
    touch(tmp_path / "videos", "my clips/a b.mp4", "c.mp4", "d 7.mp4", "e.mp4", "f.mp4")
    train = write(tmp_path / "train.csv", "my clips/a b.mp4 0", "c.mp4  10", "")
    val = write(tmp_path / "lists/val.txt", '"d 7.mp4" 0', f"{tmp_path}/videos/e.mp4,10", end="\r\n")
    test = write(tmp_path / "test.txt", "f.mp4 10")
    root = str(tmp_path / "videos")
    listing = csv_list(train, val=val, test=test, root=root)
    assert listing.classes == ("0", "10")
    assert names(listing, "val") == ["d 7.mp4", f"{root}/e.mp4"]
    assert names(listing, "test") == ["f.mp4"]
    named = write(tmp_path / "names.txt", *(f"class {n}" for n in range(11)))
    assert "9 of 11 classes have no videos in 'train'" in fault(
        lambda: csv_list(train, val=val, root=root, class_names=named)
    )
    listing = csv_list(train, val=val, root=root, class_names=named, classes=["class 10", "class 0"])
    assert listing.classes == ("class 0", "class 10")


@pytest.mark.parametrize("between", [",", ", ", " , ", ";", " ; ", "\t", " \t ", " ", "   "])
@pytest.mark.parametrize("quoted", ["none", "path", "all"])
@pytest.mark.parametrize("header", [False, True])
def test_blanks_and_quotes_around_what_divides(tmp_path: Path, between: str, quoted: str, header: bool) -> None:
    if header and not between.strip(" "):
        return  # a header is divided by commas, semicolons or tabs
    clips = ["v/a 1.mp4", "v/b, 2.mp4" if quoted != "none" else "v/b_2.mp4", "v/c.mp4", "v/d;x 4.mp4"]
    touch(tmp_path, *clips)
    around = {"none": ("", ""), "path": ('"', ""), "all": ('"', '"')}[quoted]
    if quoted == "none" and header:
        clips[3:] = []
    lines = [
        between.join(mark + field + mark for mark, field in zip(around, (clip, str(number % 2)), strict=True))
        for number, clip in enumerate(clips)
    ]
    top = [between.join((f"{around[0]}path{around[0]}", f"{around[1]}label{around[1]}"))] if header else []
    train = write(tmp_path / "list.txt", *top, *lines)
    touch(tmp_path, "v/x.mp4", "v/y.mp4")
    val = write(tmp_path / "val.csv", "path,label", "v/x.mp4,0", "v/y.mp4,1")
    assert sorted(names(csv_list(train, val=val), "train")) == sorted(clips)


def test_a_list_of_kinetics_is_recognised(tmp_path: Path) -> None:
    for header in ("label,youtube_id,time_start,time_end,split", '"youtube_id","label"'):
        path = write(tmp_path / "train.csv", header, "waving,abc,1,11,train")
        assert f"{{name: kinetics, path: CLIPS, annotations: {path!r}}}" in fault(csv_list, path)


def test_all_wrong_lines_of_lists_at_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4", "c.avi", "sub/d.mp4")
    train = write(
        tmp_path / "t.csv", "path,label,split", "a.mp4,wave,train", "b.mp4,jump,trian", "c.mp4,jump,train", "x"
    )
    assert fault(csv_list, train) == (
        "data.path: 3 wrong lines: t.csv line 3: unknown split 'trian'; allowed: train, val, test; "
        "t.csv line 5: 1 fields; the header has 3; "
        f"t.csv line 4: there is no file '{tmp_path}/c.mp4'. Did you mean 'c.avi'?"
    )
    train = write(tmp_path / "t.csv", "path,label", "a.mp4,wave", "b.mp4,jump")
    val = write(tmp_path / "v.csv", "path,label", "c.avi,wawe", "sub/e.mp4,jump", "no/e.mp4,jump", ",jump")
    text = fault(lambda: csv_list(train, val=val))
    assert "4 wrong lines: v.csv line 5: no path; v.csv line 2: unknown label 'wawe': no training video has it." in text
    assert "Did you mean 'wave'?; v.csv line 3: there is no file" in text
    assert text.endswith("and 1 more")
    bare = write(tmp_path / "bare.txt", "a.mp4 0", "b.mp4 one", "b.mp4 1", "c.avi 0", "sub\\d.mp4 1")
    assert "bare.txt line 2: 'b.mp4 one' is not 'path label'" in fault(csv_list, bare)
    named = write(tmp_path / "names.txt", "x")
    bare = write(tmp_path / "bare.txt", "a.mp4 0", "b.mp4 1")
    assert "unknown label '1': there are 1 names in" in fault(lambda: csv_list(bare, class_names=named))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"path,lable\na.mp4,x\n", "begins with 'path,lable'; expected a header with the columns path and label"),
        (b"path,lable\na.mp4,x\n", "Did you mean 'label'?"),
        (b"\n\n", "is empty"),
        ("path,label\nä.mp4,x\n".encode("latin-1"), "is no text in UTF-8"),
        (b"path,label\n", "at least 2 classes are needed; given 0"),
        (b"path,label\na.mp4,x\nb.mp4,x\n", "at least 2 classes are needed; given 1 (x)"),
        (b"path,label\na.mp4,x\nb.mp4,y\nb.mp4,x\n", "'b.mp4' is listed as 'y' and as 'x'"),
        (b"path,label,split\na.mp4,x,train\n./a.mp4,x,val\n", "'./a.mp4' is in 'train' and in 'val'"),
        (b"path,label,split\na.mp4,x,train\nb.mp4,y,train\n", "2 of 2 classes have no videos in 'val': 'x'; 'y'"),
    ],
)
def test_lists_that_are_wrong(tmp_path: Path, content: bytes, expected: str) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "list.csv").write_bytes(content)
    assert expected in fault(csv_list, tmp_path / "list.csv")


def test_lists_that_are_not_there(tmp_path: Path) -> None:
    assert "data.path: there is no file" in fault(csv_list, tmp_path / "list.csv")
    assert "is a folder; expected a file" in fault(csv_list, tmp_path)
    path = write(tmp_path / "a.csv", "path,label", "a.mp4,x")
    assert "data.val: there is no file" in fault(lambda: csv_list(path, val="nowhere.csv"))
    assert "data.root: 'nowhere' is no folder" in fault(lambda: csv_list(path, root="nowhere"))
    twice = write(tmp_path / "names.txt", "x", "x")
    assert "names 'x' twice" in fault(lambda: csv_list(path, class_names=twice))


def test_groups_of_a_list(tmp_path: Path) -> None:
    clips = [(f"{person}{n}.mp4", label, person) for person in "abcdefghij" for n, label in enumerate(("x", "y", "y"))]
    touch(tmp_path, *(clip for clip, _, _ in clips))
    path = write(
        tmp_path / "l.csv", "path,label,who,group", *(f"{clip},{y},{p},{p}" for clip, y, p in clips), "a0.mp4,x,a,a"
    )
    by_column = csv_list(path)
    assert len({name[0] for name in names(by_column, "val")}) == 2
    assert {name[0] for name in names(by_column, "val")}.isdisjoint(name[0] for name in names(by_column, "train"))
    assert "lines that repeat a file, which counts once: 1" in by_column.notes
    assert csv_list(path, group="who").entries == csv_list(path, group="([a-j])").entries == by_column.entries
    assert "no column of every list and no regular expression with one (group). Did you mean 'who'?" in fault(
        lambda: csv_list(path, group="whom")
    )
    both = write(
        tmp_path / "both.csv",
        "path,label,split,group",
        "a0.mp4,x,train,a",
        "b1.mp4,y,train,b",
        "a1.mp4,y,val,a",
        "c0.mp4,x,val,",
    )
    assert csv_list(both).notes == ("1 group has videos in 'train' and in 'val', so accuracy on 'val' will flatter: a",)


def test_a_list_of_real_clips(real_videos: Path) -> None:
    listing = csv_list(real_videos / "avletters" / "clips.csv")
    assert Counter(entry.split for entry in listing.entries) == {"train": 468, "val": 156, "test": 156}
    assert len(listing.classes) == 26
    assert listing.notes == ()
    assert [(e.path, e.label, e.split) for e in listing.entries] == [
        (e.path, e.label, e.split) for e in folder(real_videos / "avletters").entries
    ]
    torn = csv_list(real_videos / "avletters" / "clips.csv", group="fps").notes
    assert [note.partition(",")[0] for note in torn] == [
        f"1 group has videos in {first!r} and in {second!r}"
        for first, second in (("train", "val"), ("train", "test"), ("val", "test"))
    ]
