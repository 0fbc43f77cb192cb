"""Whatever is given (YAML, names, lists, JSON, ``--set``), nothing but stsearch's own errors comes out.

    python tests/fuzz.py --seconds 600 --seed 1      for so long
    python tests/fuzz.py --cases 500                 so many cases; the same seed gives the same ones

A failure is printed with its seed and its case, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import os
import random
import shutil
import signal
import string
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stsearch.errors import StsearchError

SEED = 13
SLOWEST_S = 30
"""of processor time for one case"""
_STUDY = """\
space: paper-18
target: {frames: 8, size: 32}
proxy: {frames: 4, size: 16, width: 0.125}
data: {name: folder, path: clips, classes: [a, b], span: 2.0}
evaluate: {name: train, epochs: 1, batch: 12}
search: {sampler: random, trials: 4, start_with: none}
engine: {workers: 1}
budget: {gmacs: 3.0}
seed: 1
"""
_SPACE = """\
name: x
block: basic
stem: {kind: [3d, 2d]}
stages: {s2: {kind: [2d, 3d], depth: 2}, s3: {kind: 2d, depth: 2}, s4: {kind: 2d, depth: [1, 2]},
  s5: {kind: 2d, depth: 2}}
"""
_LIST = "path,label,split,group\na/1.mp4,x,train,g1\na/2.mp4,y,train,g2\nb/3.mp4,x,val,g3\nb/4.mp4,y,val,g4\n"
_BARE = "a/1.mp4 0\na/2.mp4 1\nb c/3.mp4 0\n"
_KINETICS = "label,youtube_id,time_start,time_end,split\nabseiling,abcdefghijk,1,11,train\nzumba,bcdefghijkl,2,12,val\n"
_JSON = '{"block":"basic","stages":[["2d","2d"],["2d","3d"],["2d","2d"],["2d","2d"]],"stem":"3d","width":0.5}'
_LABELS = '{"Pushing [something]": "0", "Pulling [something]": "1"}'
_CLIPS = '[{"id": "1", "template": "Pushing [something]"}, {"id": "2", "template": "Pulling [something]"}]'
_TABLE = '{"format":1,"about":{"identity":{}},"trainings":{"a":[{"seed":1}]}}'
_WORDS = (
    "yes", "no", "null", "~", "~nouser", "*a", "&a", "<<: *a", "!!bool", "!!int", "!!timestamp", "!!binary", "!!set ",
    "!!omap", "!!pairs", "!!python/name:os.system", "---", "...", "%YAML", "# ", " #", "|", ">", "? ", "- ", ": ", "{",
    "}", "[", "]", ",", "'", '"', "\\", "\0", "\ud800", "\udce9", "\ufeff", "\u2028", "\x85", "\t", "\r", "\n", " ",
    "0x" + "f" * 50, "9" * 30, "1" + ":59" * 20, "1e400", ".nan", ".inf", "-1", "2001-13-45", "2001-01-01", "0o8",
    "1_0", "/dev/zero", "pipe", ".", "/", "..", "x" * 300, "(a+)+$", "(", "(a)", "\\ud800", "\\u0000", '"\\0"', "@",
    "@18", "#", "é", "2d", "3d", "2plus1d", "x9", "-", "=", "data.", "data.path=", "evaluate.epochs=", "name", "path",
    "classes", "label",
)  # fmt: skip


def mangled(dice: random.Random, text: str) -> str:
    """``text`` with a few changes: pieces removed, doubled, nested or replaced by ``_WORDS``."""
    for _ in range(dice.choice((0, 1, 1, 2, 3, 8))):
        begin = dice.randrange(len(text) + 1)
        end = min(len(text), begin + int(dice.expovariate(0.15)))
        kind = dice.randrange(6)
        if kind == 0:
            text = text[:begin] + text[end:]
        elif kind == 1:
            text = text[:begin] + text[begin:end] * dice.choice((2, 3, 100)) + text[end:]
        elif kind == 2:
            text = text[:begin] + dice.choice(_WORDS) * dice.choice((1, 1, 1, 2, 60, 3000)) + text[end:]
        elif kind == 3:
            text = text[:begin] + "".join(dice.choices(string.printable, k=dice.randrange(6))) + text[end:]
        elif kind == 4:
            text = text[:begin] + chr(dice.randrange(0x110000)) + text[end:]
        else:
            text = text[:begin] + dice.choice(_WORDS) + text[begin:]
    return text


def _file(dice: random.Random, name: str, text: str) -> None:
    content = mangled(dice, text).encode(errors="surrogatepass")
    if content and dice.random() < 0.05:
        place = dice.randrange(len(content))
        content = content[:place] + bytes([dice.randrange(256)]) + content[place + 1 :]
    Path(name).write_bytes(content)


def _study(dice: random.Random) -> None:
    from stsearch.search.spec import load_study

    _file(dice, "s.yaml", _STUDY)
    load_study("s.yaml")


def _space(dice: random.Random) -> None:
    from stsearch.space.search_space import load_space

    _file(dice, "space.yaml", _SPACE)
    load_space(Path("space.yaml"))


def _set(dice: random.Random) -> None:
    from stsearch.search.spec import load_study

    given = dice.choice(
        ("evaluate.epochs=8", "data.path=my clips #2", "data.classes=[a, b]", "budget={gmacs: 1}", "x=1")
    )
    Path("s.yaml").write_text(_STUDY)
    load_study("s.yaml", [mangled(dice, dice.choice(given))])


def _names(dice: random.Random) -> None:
    from stsearch.resources import find
    from stsearch.space.published import find_network

    given = dice.choice(
        ("R(2+1)D-18", "3d-3d-2d-2d-2d@18", "2d-3dx2-2dx2-2d.3d-2dx2@w0.5", "x.json", "paper-18", "x.yaml")
    )
    name = mangled(dice, given)
    with contextlib.suppress(StsearchError):
        find(dice.choice(("studies", "search_spaces")), name)
    find_network(name)


def _network_file(dice: random.Random) -> None:
    from stsearch.space.published import find_network

    _file(dice, "n.json", _JSON)
    find_network("n.json")


def _listed(dice: random.Random, name: str, **asked: Any) -> None:
    from stsearch.data.sources import DATASETS, open_data
    from stsearch.schema import validate

    given = {"name": name, "path": "clips", "max_unreadable": dice.choice((0.2, 1.0)), **asked}
    open_data(validate(DATASETS[name].recipe, given, "fuzz"))


def _list(dice: random.Random) -> None:
    bare = dice.random() < 0.3
    _file(dice, "list.csv", _BARE if bare else _LIST)
    asked = {"path": "list.csv", **({"group": mangled(dice, "(g[0-9])")} if dice.random() < 0.05 else {})}
    if dice.random() < 0.3:
        _file(dice, "names.txt", "x\ny\n")
        asked["class_names"] = dice.choice(("names.txt", mangled(dice, "names.txt")))
    if dice.random() < 0.2:
        asked[dice.choice(("path", "root", "val", "test"))] = mangled(dice, "list.csv")
    _listed(dice, "list", **asked)


def _kinetics(dice: random.Random) -> None:
    _file(dice, "kinetics.csv", _KINETICS)
    _listed(dice, "kinetics", annotations="kinetics.csv")


def _something(dice: random.Random) -> None:
    Path("something").mkdir(exist_ok=True)
    _file(dice, "something/labels.json", _LABELS)
    _file(dice, "something/train.json", _CLIPS)
    _file(dice, "something/validation.json", _CLIPS)
    _file(dice, "something/test-answers.csv", "1;Pushing something\n")
    _listed(dice, "something", annotations="something")


def _table(dice: random.Random) -> None:
    from stsearch.evaluate.replay import read_table

    read_table.cache_clear()
    packed = gzip.compress(mangled(dice, _TABLE).encode(errors="surrogatepass"))
    if dice.random() < 0.3:
        packed = mangled(dice, packed.decode("latin-1")).encode("utf-8", errors="replace")
    Path("table.json.gz").write_bytes(packed)
    read_table(Path("table.json.gz"))


KINDS: tuple[Callable[[random.Random], None], ...] = (
    _study, _space, _set, _names, _network_file, _list, _kinetics, _something, _table,
)  # fmt: skip


class _TooSlow(BaseException):
    """No ``Exception``: the code that is tried catches some of these."""


def _end(*_: object) -> None:
    raise _TooSlow


@contextlib.contextmanager
def place() -> Iterator[None]:
    """A folder of videos that are none, a pipe among them, in which the cases are tried."""
    before, folder = Path.cwd(), tempfile.mkdtemp(prefix="fuzz-")
    handler = signal.signal(signal.SIGPROF, _end)
    try:
        os.chdir(folder)
        os.mkfifo("pipe")
        for number, path in enumerate(("a/1", "a/2", "b/3", "b/4", "clips/x/1", "clips/y/2")):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(f"{path}.mp4").write_bytes(bytes([number]) * 100)
        yield
    finally:
        os.chdir(before)
        signal.signal(signal.SIGPROF, handler)
        shutil.rmtree(folder, ignore_errors=True)


def fault(seed: int, number: int) -> str | None:
    """What came out of a case that should not have; ``None`` where it was a result or an error of stsearch's own."""
    dice = random.Random(f"{seed} {number}")
    kind = dice.choice(KINDS)
    signal.setitimer(signal.ITIMER_PROF, SLOWEST_S)
    try:
        kind(dice)
    except StsearchError as error:
        text = str(error)
        if len(text) > 10_000 or text.count("\n") > 22:
            return f"{kind.__name__}: a message of {len(text):,} characters: {text[:300]!r}"
    except (Exception, _TooSlow):
        return f"{kind.__name__}: {traceback.format_exc()}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return None


def main() -> int:
    """Cases until one fails, or they or the time are over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--cases", type=int)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case, to try one again")
    asked = parser.parse_args()
    until, number, faults = time.monotonic() + asked.seconds, asked.first, 0
    with place():
        while number - asked.first < asked.cases if asked.cases else time.monotonic() < until:
            if found := fault(asked.seed, number):
                faults += 1
                print(f"seed {asked.seed}, case {number}: {found}", flush=True)
            number += 1
    print(f"{number - asked.first:,} cases of seed {asked.seed}: {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
