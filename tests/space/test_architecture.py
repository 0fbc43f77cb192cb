"""Architectures are data: ids lose nothing, names are found again, faults are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stsearch.errors import UserError
from stsearch.space.architecture import Architecture, parse_placement, uniform
from stsearch.space.published import NETWORKS, PUBLISHED, find_network, name_of

KINDS = st.sampled_from(["2d", "3d", "2plus1d"])
ARCHITECTURES = st.builds(
    Architecture,
    stem=st.sampled_from(["2d", "3d", "2plus1d", "collapse"]),
    stages=st.tuples(*[st.lists(KINDS, min_size=1, max_size=5).map(tuple)] * 4),
    block=st.sampled_from(["basic", "bottleneck"]),
    width=st.one_of(st.just(1.0), st.floats(0.01, 8, allow_nan=False)),
)


@given(ARCHITECTURES)
def test_id_and_json_lose_nothing(architecture: Architecture) -> None:
    assert parse_placement(architecture.id) == architecture
    assert Architecture.from_json(architecture.to_json()) == architecture
    assert find_network(name_of(architecture)) == architecture


@pytest.mark.parametrize("name", NETWORKS)
def test_names_are_found_in_any_case(name: str) -> None:
    for text in (name, name.lower(), name.upper(), name.replace("R(2+1)D", "r2plus1d")):
        assert find_network(text) == NETWORKS[name]
    assert name_of(NETWORKS[name]) == name


def test_mc2_is_not_fr2d() -> None:
    assert NETWORKS["MC2-18"] != NETWORKS["f-R2D-18"]  # they differ in the stem alone
    assert NETWORKS["MC2-18"].stages == NETWORKS["f-R2D-18"].stages


def test_placement_with_layers() -> None:
    found = find_network("3d-3d-2d-2plus1d-2d@18")
    assert found.stem == "3d"
    assert found.stages == (("3d", "3d"), ("2d", "2d"), ("2plus1d", "2plus1d"), ("2d", "2d"))
    assert name_of(found) == "3d-3d-2d-2plus1d-2d@18"
    assert find_network("3d-3d*2-2d*2-2plus1d*2-2d*2") == found
    assert find_network("2plus1d-2plus1d-2plus1d-2plus1d-2plus1d@50") == NETWORKS["R(2+1)D-50"]
    mixed = find_network("2d-3d.2d-2d-2d-2d@w0.5")
    assert mixed.stages[0] == ("3d", "2d")
    assert mixed.width == 0.5


def test_a_json_file_is_a_network(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(NETWORKS["MC4-18"].to_json())
    assert find_network(str(file)) == NETWORKS["MC4-18"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("MC33-18", "unknown network 'MC33-18'. Did you mean 'MC3-18'?"),
        ("resnet", "unknown network 'resnet'"),
        ("3d-3d-2d-4d-2d@18", "unknown kind '4d'"),
        ("3d-3d-2d-2d-2d@19", "unknown number of layers '19'"),
        ("3d-3d-2d-2d@18", "names 5 groups, conv1 conv2_x conv3_x conv4_x conv5_x; given 4"),
        ("3d-3dx2-2d-2d-2d@18", "with '@18' every group is one kind"),
        ("3d-3dx999-2d-2d-2d", "at most 256 blocks"),
        ("3d-3d-2d-2d-2d@deep", "after '@' stand layers"),
        ("3d-3d-2d-2d-2d@w0", "width is a number above 0"),
        ("3d-3d-2d-2d-2d@\u00b2", "after '@' stand layers"),
        ("3d-3d-3d-3d-3d@bottleneck@18", "layers imply the block"),
        ("3d-3d-3d-3d-3d@18@34", "once"),
        ("missing.json", "cannot read the network 'missing.json'"),
    ],
)
def test_wrong_networks_are_answered(text: str, answer: str) -> None:
    with pytest.raises(UserError) as caught:
        find_network(text)
    assert answer in str(caught.value)


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        ("[1]", "is a JSON object with stem, stages, block, width; given list"),
        ("{", "not JSON"),
        ('{"stem": "2d"}', "'stages' is missing"),
        ('{"stem": "2d", "stages": [["2d"]], "blocks": 1}', "unknown field 'blocks'. Did you mean 'block'?"),
        ('{"stem": "2d", "stages": [["2d"]]}', "has 4 stages"),
        ('{"stem": ["2d"], "stages": [["2d"],["2d"],["2d"],["2d"]]}', "stem is a name; given ['2d']"),
        ('{"stem": "2d", "stages": [["2d"],["2d"],["2d"],[["2d"]]]}', "stages is a list of 4 lists"),
        ('{"stem": "2d", "stages": 3}', "stages is a list of 4 lists"),
        ('{"stem": "2d", "stages": [["2d"],["2d"],["2d"],["9d"]]}', "unknown kind '9d'"),
        ('{"stem": "2d", "stages": [["2d"],["2d"],["2d"],[]]}', "conv5_x has 1 to 256 blocks; given 0"),
        ('{"stem": "2d", "stages": [["2d"],["2d"],["2d"],["2d"]], "width": "1"}', "width is a number; given '1'"),
    ],
)
def test_wrong_json_is_answered(data: str, answer: str) -> None:
    with pytest.raises(UserError) as caught:
        Architecture.from_json(data)
    assert answer in str(caught.value)


def test_json_is_canonical() -> None:
    text = NETWORKS["rMC3-18"].to_json()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))


def test_uniform_needs_known_layers() -> None:
    with pytest.raises(UserError, match="unknown number of layers '20'"):
        uniform(("2d",) * 5, 20)


def test_published_table_is_whole() -> None:
    assert len(PUBLISHED) == 24
    assert {row.network for row in PUBLISHED} <= set(NETWORKS)
    best = max(PUBLISHED, key=lambda row: row.video_top1)
    assert (best.network, best.frames, best.video_top1) == ("R(2+1)D-18", 16, 68.0)
