"""Which network of a front a rule picks, on fronts that can be drawn, and what is typed next."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import numpy as np
import pytest

from stsearch.errors import UserError
from stsearch.report.confidence import Confidence, Noise, Pair
from stsearch.report.pareto import Pareto, published
from stsearch.report.pick import picked, train_command
from stsearch.report.pool import Pool
from stsearch.search.reading import Record
from tests.conftest import Cli

# video@1   80 |                     e
#           79 |           d
#           78 |     c                        the knee is c
#           60 |  b
#           50 | a
#               ------------------------ GMACs
#               1  2  3     6         20
FRONT = {"a": (1, 50), "b": (2, 60), "c": (3, 78), "d": (6, 79), "e": (20, 80)}


def front(names: str = "abcde", **chances: float) -> Pareto:
    """Of ``FRONT``, with ``p(front)`` where it is given: then every network was trained again."""
    records = [
        Record(number, f"id {name}", name, {"video_top1": FRONT[name][1], "gmacs": FRONT[name][0]}, True)
        for number, name in enumerate(names)
    ]
    bare = replace(published(8), study="drawn", front=tuple(records))
    if not chances:
        return bare
    probabilities = np.array([chances.get(name, 1.0) for name in names])
    expected = np.array([FRONT[name][1] - (3.0 if name in chances else 0.0) for name in names])
    pairs = (Pair(records[2], records[3], 0.4),) if len(names) > 3 else ()
    counts = np.full(len(names), 2)
    sure = Confidence(
        pool=Pool(np.arange(len(names)), (), counts, {}, len(names), 2 * len(names)),
        posteriors={},
        errors={"video_top1": np.ones(len(names))},
        expected={"video_top1": expected},
        probabilities=probabilities,
        likely=(),
        pairs=pairs,
        hypervolume=(0.0, 1.0),
        band=None,
        noise=Noise(1.0, len(names), 2 * len(names), 100, 1.0, len(names), 0.1),
    )
    return replace(bare, confidence=sure)


@pytest.mark.parametrize(
    ("rule", "names", "found"),
    [
        ("knee", "abcde", "c"),
        ("knee", "ae", "e"),
        ("knee", "a", "a"),
        ("max-accuracy", "abcde", "e"),
        ("gmacs<=6", "abcde", "d"),
        (" gmacs <= 5.9 ", "abcde", "c"),
        ("gmacs<=1e3", "abcde", "e"),
    ],
)
def test_rules(rule: str, names: str, found: str) -> None:
    pick = picked(front(names), rule)
    assert pick.record.network == found
    assert pick.why[-1].endswith(".")


def test_luck_is_not_picked() -> None:
    """A network that is on the front by luck does not count, and the accuracy to expect decides among the others."""
    assert picked(front(c=0.2), "knee").record.network != "c"
    lucky = picked(front(e=0.9), "max-accuracy")
    assert lucky.record.network == "d"  # 79 against 80 - 3
    assert any("c (3.00 GMACs) costs less" in text and "0.40" in text for text in lucky.why)
    left = picked(front(e=0.1), "max-accuracy")
    assert "1 network of the front with p(front) below 0.5 did not count." in left.why
    assert picked(front("a", a=0.1), "max-accuracy").record.network == "a"  # where none remains, all count


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("elbow", "--pick is knee, max-accuracy or COST<=NUMBER, as in 'gmacs<=20'; given 'elbow'"),
        ("gmacs<20", "--pick is knee"),
        ("gmac<=20", "unknown cost 'gmac'. Did you mean 'gmacs'?"),
        ("gmacs<=0.5", "no network of the front has gmacs <= 0.5; the least is 1"),
        ("latency_ms<=15", "latency_ms of these networks was not measured"),
    ],
)
def test_what_cannot_be_picked(rule: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        picked(front(), rule)
    assert said in str(refused.value)


def test_a_better_network_outside_the_space_is_named() -> None:
    """R2D is trained beside a placement space, which does not hold it, and may be cheaper and better."""
    better = Record(None, "id R2D", "R2D-18", {"video_top1": 92.0, "gmacs": 0.25}, True)
    worse = Record(None, "id r", "r", {"video_top1": 10.0, "gmacs": 0.2}, True)
    beside = replace(front(), references=(better, worse, front().front[0]))
    (said,) = [text for text in picked(beside, "knee").why if "outside" in text]
    assert said == (
        "But R2D-18, which is outside the space, was measured nowhere worse and somewhere better: 92.0 %, 0.25 GMACs; "
        "`train R2D-18` trains that one."
    )
    with pytest.raises(UserError, match=r"the least is 1\. R2D-18, outside the space, has 0\.25\. r, outside"):
        picked(beside, "gmacs<=0.5")
    assert "It is the only one." in picked(front("a"), "max-accuracy").why
    assert "1 network makes no knee: it is the most accurate one." in picked(front("a"), "knee").why[0]


def test_what_to_type_next(cli: Cli) -> None:
    record = front().front[2]
    assert shlex.split(train_command("stsearch", "studies/my own.yaml", record, ["--storage", "sqlite:///a.db"])) == [
        "stsearch", "train", "studies/my own.yaml#2", "--storage", "sqlite:///a.db", "--out", "my own-2",
    ]  # fmt: skip
    shown = cli("pareto", "published", "--pick", "gmacs<=20")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("pick (gmacs<=20): R2D-18.")
    assert shown.stdout.rstrip().splitlines()[-1] == "  stsearch train R2D-18 --data SOURCE --out R2D-18"
    plain = json.loads(cli("pareto", "published", "--pick", "knee", "--format", "json").stdout)
    assert plain["pick"]["network"] in {row["network"] for row in plain["front"]}
    assert plain["pick"]["next"].startswith("stsearch train ")
    assert cli("pareto", "published", "--pick", "knee", "--format", "csv").returncode == 2
