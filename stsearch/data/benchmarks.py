"""``kinetics``, ``ucf101``, ``hmdb51`` and ``something``: the public sets, as their authors and mirrors lay them out.

What a search may look at is ``val``. UCF101 and HMDB51 come with training and test lists only;
choosing networks on a test list would spend it, so ``val`` is taken out of the training list, by
source video, and the official test list stays ``test``.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from stsearch.data.listing import SPLITS, Listing, Places, Row, check_lines, find_videos, folder_at, some, split_word
from stsearch.data.lists import Table, column_of, read_table
from stsearch.data.recipe import VideoRecipe
from stsearch.data.splits import chosen_classes, make_listing
from stsearch.errors import UserError, did_you_mean
from stsearch.texts import path_of, read_json, read_text, to_int

_KINETICS = ("label", "youtube_id")
_TEST_IS_VAL = "'val' is the official test list: networks are chosen on it, so it no longer tests them"
_UCF_NAME = re.compile(r"v_.+_(g\d+)_c\d+", re.IGNORECASE)
_HMDB_NAME = re.compile(r"(.+)_[a-z]_(?:cm|nm)_np\d+_(?:ba|fr|le|ri)_(?:bad|goo|med)_\d+", re.IGNORECASE)
"""source and class, then visible body, camera motion, people, viewpoint, quality, number"""
_PART = re.compile(r"(?:_part)?_?(?<!\d)\d{1,2}$", re.IGNORECASE)
"""numbers a part of a film, as in The_Matrix_2 and Hitch_Part_1; a year is none"""


class KineticsRecipe(VideoRecipe):
    """The ``data:`` section for Kinetics-400, -600 or -700; ``path`` is the folder of clips."""

    name: Literal["kinetics"]
    annotations: str
    """folder with ``train.csv``, ``val.csv`` and perhaps ``test.csv``, or one CSV file with a split column"""


class Ucf101Recipe(VideoRecipe):
    """The ``data:`` section for UCF101; ``path`` is the folder of videos."""

    name: Literal["ucf101"]
    annotations: str
    """folder with ``classInd.txt``, ``trainlist01.txt``, ``testlist01.txt``, ..."""
    split: Literal[1, 2, 3] = 1
    """which of the three official splits"""
    val: Literal["groups", "test"] = "groups"
    """a fifth of the training list by whole source videos, or the official test list"""


class Hmdb51Recipe(VideoRecipe):
    """The ``data:`` section for HMDB51; ``path`` is the folder of videos."""

    name: Literal["hmdb51"]
    annotations: str
    """folder with ``<class>_test_split1.txt``, ..."""
    split: Literal[1, 2, 3] = 1
    """which of the three official splits"""
    val: Literal["groups", "test"] = "groups"
    """a fifth of the training videos by whole films, or the official test videos"""


class SomethingRecipe(VideoRecipe):
    """The ``data:`` section for Something-Something v2; ``path`` is the folder of ``<id>.webm``."""

    name: Literal["something"]
    annotations: str
    """folder with ``labels.json``, ``train.json`` and ``validation.json``, under these or their older names"""


class _Listed(NamedTuple):
    """A clip that an annotation names; where it is, is looked up later."""

    stem: str
    """what its file is called, without suffix"""
    name: str
    label: str
    split: str
    group: str = ""
    other: str = ""
    """what its file may be called too"""


def list_kinetics(recipe: KineticsRecipe) -> Listing:
    """The clips that Kinetics' CSV files list and that are there.

    Clips disappear from YouTube: missing ones are counted in a note. Raises ``UserError`` if none
    or less than half of a split's clips are there (a ``test`` of which none is there is left out).
    """
    root = folder_at(recipe.path, "path", "the folder of the clips")
    listed, names, notes = _kinetics_lists(recipe)
    classes = chosen_classes(names, recipe, [clip.label for clip in listed])
    wanted = set(classes)
    listed = [clip for clip in listed if clip.label in wanted]
    rows = _placed(listed, find_videos(root))
    return make_listing(rows, classes, recipe, flip=True, notes=notes + _kinetics_gaps(listed, rows, root))


def _kinetics_lists(recipe: KineticsRecipe) -> tuple[list[_Listed], tuple[str, ...], list[str]]:
    """What the CSV files list, the classes of ``train``, and notes."""
    notes: list[str] = []
    listed: list[_Listed] = []
    faults: list[str] = []
    for split, file in _kinetics_files(path_of(recipe.annotations, "data.annotations: ")):
        table = read_table(file, "annotations", ("youtube_id",))
        if column_of(table.header or (), "label") is None and split == "test":
            notes.append(f"{file.name} has no labels and is passed over")
            continue
        listed += _kinetics_clips(table, split, faults)
    check_lines("annotations", faults)
    names = tuple(sorted({clip.label for clip in listed if clip.split == "train"}))
    strange = sorted({clip.label for clip in listed}.difference(names, recipe.exclude or ()))
    if strange:
        lines = [f"{name!r}.{did_you_mean(name, names)}" for name in strange]
        raise UserError(f"data.annotations: labels that 'train' has not: {some(lines)}")
    return listed, names, notes


def _kinetics_files(place: Path) -> list[tuple[str | None, Path]]:
    """The lists and their splits; ``None`` for a file that says the split in a column."""
    if not os.path.isdir(place):
        return [(None, place)]
    found: dict[str, Path] = {}
    for file in sorted(place.glob("*.csv")):
        split = next(filter(None, map(split_word, re.split(r"[^a-z]+", file.stem.lower()))), None)
        if split is not None and found.setdefault(split, file) != file:
            raise UserError(
                f"data.annotations: {str(place)!r} has two lists for {split!r}: {found[split].name!r} and {file.name!r}"
            )
    if "train" not in found:
        raise UserError(f"data.annotations: {str(place)!r} has no train.csv; expected train.csv and val.csv")
    return [(split, found[split]) for split in SPLITS if split in found]


def _kinetics_clips(table: Table, split: str | None, faults: list[str]) -> list[_Listed]:
    header = table.header or ()
    at = {name: column_of(header, name) for name in (*_KINETICS, "time_start", "time_end", "split")}
    absent = [name for name in (*_KINETICS, *([] if split else ["split"])) if at[name] is None]
    if absent:
        raise UserError(
            f"data.annotations: {str(table.file)!r} has no column {absent[0]!r}; it has {', '.join(header)}"
        )
    clips: list[_Listed] = []
    label_at, video_at, start_at, end_at, split_at = (-1 if place is None else place for place in at.values())
    for number, fields in table.lines(faults):
        fields.append("")  # what a column that there is not reads
        label, video = fields[label_at].strip(), fields[video_at].strip()
        stem = _kinetics_stem(video, fields[start_at], fields[end_at])
        part = split or split_word(fields[split_at])
        if stem is None or part is None or not label or not video:
            faults.append(f"{table.file.name} line {number}: {','.join(fields[:-1])!r}")
        else:
            clips.append(_Listed(stem, stem, label, part, video, video))
    return clips


def _kinetics_stem(video: str, start: str, end: str) -> str | None:
    """The name of a clip between two seconds, either of which may be left out; ``None`` if one is no number."""
    if not start or not end:
        return video
    try:
        return f"{video}_{int(float(start)):06d}_{int(float(end)):06d}"
    except (ValueError, OverflowError):
        return None


def _kinetics_gaps(listed: Iterable[_Listed], rows: Iterable[Row], root: Path) -> list[str]:
    """A note on clips that are not there; ``UserError`` if these are too many."""
    asked = Counter(clip.split for clip in listed)
    there = Counter(row.split for row in rows)
    gaps = [f"{asked[split] - there[split]:,} of {asked[split]:,} in {split!r}" for split in SPLITS if asked[split]]
    for split in SPLITS:
        if asked[split] and 2 * there[split] < asked[split] and (there[split] or split != "test"):
            raise UserError(
                f"data.path: {asked[split] - there[split]:,} of {asked[split]:,} clips of {split!r} are not below "
                f"{str(root)!r}; at least half are needed, named <youtube_id>_<start>_<end>.mp4 (six digits) or "
                "<youtube_id>.mp4. Where only some classes are there, name them in data.classes"
            )
    return [f"listed clips that are not there: {', '.join(gaps)}"] if asked != there else []


def _placed(listed: Iterable[_Listed], places: Places) -> list[Row]:
    """The clips that are there. Of several files of one name, one in a folder called like the class is best."""
    rows: list[Row] = []
    for clip in listed:
        stem = clip.stem if clip.stem in places.first else clip.other
        path = places.first.get(stem)
        if path is not None:
            if stem in places.more:
                path = _likeliest((path, *places.more[stem]), clip)
            rows.append(Row(path, clip.name, clip.label, clip.split, clip.group))
    return rows


def _likeliest(paths: Sequence[str], clip: _Listed) -> str:
    label, stem = _plain(clip.label), os.path.splitext(os.path.basename(clip.name))[0]

    def rank(path: str) -> tuple[bool, bool, bool]:
        *folders, name = path.split(os.sep)
        return (
            _plain(folders[-1]) != label,
            os.path.splitext(name)[0] != stem,
            clip.split not in map(split_word, folders),
        )

    return min(paths, key=rank)


def _plain(text: str) -> str:
    return text.replace("_", " ").casefold()


def list_ucf101(recipe: Ucf101Recipe) -> Listing:
    """UCF101 by one of its three official splits; ``val`` is taken from the training list by source videos (``gXX``).

    Raises ``UserError`` for lists that are not there or not as they should be and for missing videos.
    """
    folder = folder_at(recipe.annotations, "annotations", "a folder with classInd.txt, trainlist01.txt, testlist01.txt")
    numbered = [line.split(None, 1) for _, line in _lines(folder / "classInd.txt")]
    names = tuple(pair[-1] for pair in numbered)
    classes = chosen_classes(names, recipe)
    listed: list[_Listed] = []
    faults: list[str] = []
    for part, split in (("train", "train"), ("test", "val" if recipe.val == "test" else "test")):
        file = folder / f"{part}list0{recipe.split}.txt"
        for number, line in _lines(file):
            name = re.sub(r"\s+\d+$", "", line)
            label, _, clip = name.rpartition("/")
            stem = os.path.splitext(clip)[0]
            group = _UCF_NAME.fullmatch(stem)
            if label not in names:
                faults.append(f"{file.name} line {number}: {line!r}: no class {label!r}.{did_you_mean(label, names)}")
            elif group is None:
                faults.append(f"{file.name} line {number}: {line!r}: expected <class>/v_<class>_g01_c01.avi")
            else:
                listed.append(_Listed(stem.casefold(), name, label, split, f"{label} {group[1]}"))
    return _official(recipe, classes, listed, faults)


def list_hmdb51(recipe: Hmdb51Recipe) -> Listing:
    """HMDB51 by one of its three official splits; ``val`` is taken from the training videos by films.

    The film is what stands in a file's name before the class, less the number of its part. Films
    are shared between classes, and the official lists do not keep them apart (The_Matrix_2 tests
    kicks, The_Matrix_5 trains them): a note counts those in ``train`` and ``test``.
    Raises ``UserError`` as ``list_ucf101`` does.
    """
    ending = f"_test_split{recipe.split}.txt"
    folder = folder_at(recipe.annotations, "annotations", f"a folder with <class>{ending}")
    files = {path.name.removesuffix(ending): path for path in sorted(folder.glob(f"*{ending}"))}
    if not files:
        raise UserError(f"data.annotations: {str(folder)!r} has no files <class>{ending}")
    classes = chosen_classes(tuple(files), recipe)
    listed: list[_Listed] = []
    faults: list[str] = []
    parts = {"0": None, "1": "train", "2": "val" if recipe.val == "test" else "test"}
    for label in classes:
        for number, line in _lines(files[label]):
            name, _, part = line.rpartition(" ")
            stem = os.path.splitext(name.strip())[0]
            found = _HMDB_NAME.fullmatch(stem)
            split = parts.get(part)
            if found is None or part not in parts:
                faults.append(f"{files[label].name} line {number}: {line!r}")
            elif split is not None:
                listed.append(_Listed(stem.casefold(), f"{label}/{name}", label, split, _film(found[1], label)))
    return _official(recipe, classes, listed, faults)


def _film(source: str, label: str) -> str:
    """The film in ``source``, which ends with the class: parts of a film are one, in upper or lower case."""
    name = source.casefold().removesuffix(f"_{label.casefold()}")
    return _PART.sub("", name) or name


def _official(
    recipe: Ucf101Recipe | Hmdb51Recipe, classes: tuple[str, ...], listed: list[_Listed], faults: list[str]
) -> Listing:
    check_lines("annotations", faults)
    rows = _all_placed(recipe.path, classes, listed)
    return make_listing(rows, classes, recipe, flip=True, notes=[_TEST_IS_VAL] if recipe.val == "test" else [])


def _all_placed(path: str, classes: Iterable[str], listed: Iterable[_Listed]) -> list[Row]:
    """The clips of ``classes``; ``UserError`` if one is not below ``path``."""
    root = folder_at(path, "path", "the folder of the videos")
    wanted = set(classes)
    clips = [clip for clip in listed if clip.label in wanted]
    places = find_videos(root, str.casefold)
    absent = [clip.name for clip in clips if clip.stem not in places.first]
    if absent:
        raise UserError(
            f"data.path: {len(absent):,} of {len(clips):,} listed videos are not below {str(root)!r}: {some(absent)}. "
            "Where only some classes are there, name them in data.classes"
        )
    return _placed(clips, places)


def _lines(file: Path) -> list[tuple[int, str]]:
    """The lines of a list that are not empty, numbered from 1."""
    text = read_text(file, "data.annotations: ")
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def list_something(recipe: SomethingRecipe) -> Listing:
    """Something-Something v2: classes are templates, many of which mirroring would turn into others.

    There is a ``test`` where ``test-answers.csv`` is. Raises ``UserError`` for annotations that
    are not as they should be and for missing videos.
    """
    folder = folder_at(recipe.annotations, "annotations", "a folder with labels.json, train.json, validation.json")
    table = _json(folder, "labels")
    try:
        numbers = {_template(name): to_int(_word(number)) for name, number in table.items()}
    except (ValueError, AttributeError):
        raise UserError("data.annotations: labels.json should map templates to integers") from None
    names = tuple(sorted(numbers, key=lambda name: numbers[name]))
    classes = chosen_classes(names, recipe)
    known = set(names)
    listed: list[_Listed] = []
    faults: list[str] = []
    for split, number, video, label in _something_clips(folder):
        if label in known and video:
            listed.append(_Listed(video.casefold(), video, label, split))
        else:
            what = f"unknown template {label!r}.{did_you_mean(label, names)}" if video else "no id"
            faults.append(f"clip {number} of {split!r}: {what}")
    check_lines("annotations", faults)
    return make_listing(_all_placed(recipe.path, classes, listed), classes, recipe, flip=False)


def _something_clips(folder: Path) -> Iterator[tuple[str, int, str, str]]:
    """Split, number in its file counted from 1, id and template of every clip; empty where a clip lacks them."""
    for split, file in (("train", "train"), ("val", "validation")):
        clips = _json(folder, file)
        if not isinstance(clips, list):
            raise UserError(f"data.annotations: {file}.json should be a list of clips with id and template")
        for number, clip in enumerate(clips, 1):
            facts = clip if isinstance(clip, dict) else {}
            yield split, number, _word(facts.get("id")), _template(_word(facts.get("template")))
    answers = folder / "test-answers.csv"
    if answers.is_file():
        for number, line in _lines(answers):
            video, _, label = line.partition(";")
            yield "test", number, video.strip(), _template(label)


def _word(value: object) -> str:
    """A word or number of JSON as a word; empty for everything else."""
    return str(value) if isinstance(value, str | int) else ""


def _template(text: str) -> str:
    """The name of a template's class: without the brackets around its objects."""
    return text.replace("[", "").replace("]", "").strip()


def _json(folder: Path, name: str) -> Any:
    """``<name>.json``, or under its older name ``something-something-v2-<name>.json``."""
    file = folder / f"{name}.json"
    if not file.is_file():
        file = next(iter(sorted(folder.glob(f"*-{name}.json"))), file)
    return read_json(file, "data.annotations: ")
