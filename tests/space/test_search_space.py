"""Search spaces: YAML and its faults, the numbering, and vectorised costs against the closed form."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stsearch.errors import SpecError, UserError
from stsearch.resources import find, names
from stsearch.schema import parse_yaml
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import ClipShape
from stsearch.space.cost import COUNTS, network_cost
from stsearch.space.published import NETWORKS, paper_networks
from stsearch.space.search_space import SearchSpace, load_space, space_from_data
from stsearch.space.table import CostTable

SHIPPED = ("paper-18", "r18", "r34", "r50", "blockwise-18", "r18-kinds", "x3d-like")
CLIP = ClipShape(3, 8, 64, 64)


def shipped(name: str) -> SearchSpace:
    return load_space(find("search_spaces", name))


def stage(kind: list[str], depth: list[int]) -> dict[str, list[str] | list[int]]:
    return {"kind": kind, "depth": depth}


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    kinds = st.lists(st.sampled_from(["2d", "3d", "2plus1d"]), min_size=1, max_size=3, unique=True)
    depths = st.lists(st.integers(1, 3), min_size=1, max_size=2, unique=True)
    return space_from_data(
        {
            "name": "drawn",
            "block": draw(st.sampled_from(["basic", "bottleneck"])),
            "width": draw(st.sampled_from([1.0, 0.5, [0.25, 0.5, 1.0]])),
            "granularity": draw(st.sampled_from(["stage", "block"])),
            "stem": {"kind": draw(kinds)},
            "stages": {f"conv{n}_x": stage(draw(kinds), draw(depths)) for n in (2, 3, 4, 5)},
        }
    )


def test_what_ships() -> None:
    assert set(SHIPPED) == set(names("search_spaces"))
    assert {name: shipped(name).size for name in SHIPPED} == {
        "paper-18": 243,
        "r18": 19683,
        "r34": 19683,
        "r50": 19683,
        "blockwise-18": 19683,
        "r18-kinds": 7203,
        "x3d-like": 13122,
    }


def test_spaces_contain_the_papers_networks_but_r2d() -> None:
    for name, layers in (("paper-18", 18), ("r18", 18), ("blockwise-18", 18), ("r34", 34)):
        space = shipped(name)
        missing = {n for n, architecture in paper_networks(layers).items() if architecture not in space}
        assert missing == {f"R2D-{layers}"}
    assert NETWORKS["R(2+1)D-50"] in shipped("r50")


@given(spaces(), st.integers(0, 2**32))
def test_numbering_and_encoding_are_inverses(space: SearchSpace, number: int) -> None:
    architecture = space.architecture(number % space.size)
    assert space.index(architecture) == number % space.size
    assert space.decode(space.encode(architecture)) == architecture
    assert architecture in space
    allowed = {parameter.name: parameter.values for parameter in space.parameters}
    assert all(value in allowed[name] for name, value in space.encode(architecture).items())


@given(spaces())
def test_table_is_the_closed_form(space: SearchSpace) -> None:
    table = CostTable(space, CLIP, 7)
    rng = random.Random(0)
    chosen = [space.architecture(rng.randrange(space.size)) for _ in range(5)]
    costs = table.costs(np.array([space.digits(a) for a in chosen]))
    for row, architecture in enumerate(chosen):
        total = network_cost(architecture, CLIP, 7).total
        assert {name: int(costs[name][row]) for name in COUNTS} == {name: getattr(total, name) for name in COUNTS}


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("cost", ["gmacs", "params", "activations"])
def test_extremes_are_those_of_the_enumeration(name: str, cost: str) -> None:
    table = CostTable(shipped(name), CLIP, 10)
    digits, whole = table.population()
    assert whole
    values = table.costs(digits)["macs" if cost == "gmacs" else cost]
    scale = 1e9 if cost == "gmacs" else 1
    assert table.cost_of(table.extreme(cost))[cost] == values.min() / scale
    assert table.cost_of(table.extreme(cost, largest=True))[cost] == values.max() / scale


def test_enumeration_holds_every_architecture_once() -> None:
    space = shipped("paper-18")
    assert len({a.id for a in space.enumerate()}) == space.size


def test_more_3d_is_not_always_dearer() -> None:
    # A 2D group leaves time alone, so all that follows works on more frames (MC3 > R3D).
    table = CostTable(shipped("paper-18"), ClipShape(), 400)
    assert table.cost_of(NETWORKS["MC3-18"])["gmacs"] > table.cost_of(NETWORKS["R3D-18"])["gmacs"]


def test_neighbours_differ_in_one_decision() -> None:
    space = shipped("r18")
    here = NETWORKS["MC3-18"]
    around = space.neighbours(here)
    assert len(around) == 5 * 2 + 4 * 2  # five kinds with two others each, four depths one step up or down
    assert all(other != here and other in space for other in around)
    values = space.encode(here)
    assert all(sum(values[k] != v for k, v in space.encode(other).items()) == 1 for other in around)


def test_budget_that_nothing_keeps_names_the_cheapest() -> None:
    table = CostTable(shipped("r18"), ClipShape(), 400)
    with pytest.raises(UserError, match=r"keeps the budget gmacs <= 5: the cheapest, 2d-2d-3d-3d-2d, has 11\.2107"):
        table.check_budget({"gmacs": 5})
    table.check_budget({"gmacs": 11.3})


def test_a_space_too_large_to_enumerate_is_sampled_and_its_extremes_are_exact() -> None:
    kinds = ["2d", "3d", "2plus1d"]
    space = space_from_data(
        {
            "name": "large", "granularity": "block", "stem": {"kind": kinds},
            "stages": {f"conv{n}_x": stage(kinds, [4]) for n in (2, 3, 4, 5)},
        }
    )  # fmt: skip
    assert space.size == 3**17
    table = CostTable(space, CLIP, 10)
    digits, whole = table.population()
    assert not whole
    macs = table.costs(digits)["macs"] / 1e9
    assert table.cost_of(table.extreme("gmacs"))["gmacs"] <= macs.min()
    assert table.cost_of(table.extreme("gmacs", largest=True))["gmacs"] >= macs.max()


def test_fingerprint_is_of_the_content() -> None:
    first, second = shipped("paper-18"), shipped("r18")
    data = parse_yaml(find("search_spaces", "paper-18").read_text(), "x") | {"name": "other"}
    assert space_from_data(data).fingerprint == first.fingerprint != second.fingerprint


def test_all_faults_of_a_space_at_once(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\nblok: basic\nstem: {kind: [2d, 4d]}\nstages:\n"
        "  conv2_x: {kind: 2d, depth: 0}\n  conv3_x: {kind: 2d, depth: two}\n"
        "  conv4_x: {kind: [3d, 3d], depth: 1}\n"
    )
    with pytest.raises(SpecError) as caught:
        load_space(file)
    assert sorted(caught.value.faults) == [
        "blok: unknown key 'blok'. Did you mean 'block'? "
        "Allowed: name, block, width, granularity, stem, stages, plugins.",
        "stages.conv2_x.depth: a depth is 1 to 256 blocks; given 0",
        "stages.conv3_x.depth: should be a valid integer or a valid list; given 'two'",
        "stages.conv4_x.kind: values must differ; given ['3d', '3d']",
        "stages.conv5_x: is missing",
        "stem.kind: unknown stem kind '4d'. Allowed: 2d, 3d, 2plus1d.",
    ]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("a: [1", "line 1, column 6"),
        ("- 1", "expected a mapping of keys to values; given list"),
        ("", "expected a mapping of keys to values; given nothing"),
        ("name: a\nname: b", "line 2, column 1: the key 'name' is given twice"),
    ],
)
def test_yaml_that_is_none(text: str, answer: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_yaml(text, "file.yaml")
    assert answer in str(caught.value)


def test_a_stage_with_too_many_forms_is_refused() -> None:
    kinds = ["2d", "3d", "2plus1d"]
    data = {
        "name": "huge", "granularity": "block", "stem": {"kind": kinds},
        "stages": {f"conv{n}_x": stage(kinds, [20]) for n in (2, 3, 4, 5)},
    }  # fmt: skip
    with pytest.raises(SpecError, match="3,486,784,401 forms of one stage"):
        space_from_data(data)


def test_a_plugin_that_is_not_there_is_a_fault() -> None:
    data = parse_yaml(find("search_spaces", "paper-18").read_text(), "x") | {"plugins": ["no_such_module"]}
    with pytest.raises(SpecError, match=r"plugins\[0\]: cannot import 'no_such_module'"):
        space_from_data(data)


def test_membership_needs_block_and_width() -> None:
    space = shipped("paper-18")
    inside = NETWORKS["MC3-18"]
    assert inside in space
    assert inside.scaled(0.5) not in space
    assert Architecture(inside.stem, inside.stages, "bottleneck") not in space
    with pytest.raises(UserError, match="does not contain"):
        space.index(NETWORKS["R2D-18"])


@pytest.mark.parametrize(
    "code", ["def broken(:", "raise ValueError('no')", "from stsearch import kind\nkind('2d')(None)"]
)
def test_a_plugin_that_breaks_is_a_fault(tmp_path: Path, code: str) -> None:
    module = f"broken_{abs(hash(code))}"
    (tmp_path / f"{module}.py").write_text(code)
    data = parse_yaml(find("search_spaces", "paper-18").read_text(), "x") | {"plugins": [module]}
    with pytest.raises(SpecError, match=rf"plugins\[0\]: cannot import '{module}': (SyntaxError|ValueError)"):
        space_from_data(data, str(tmp_path))


def test_costs_beyond_64_bits_are_refused() -> None:
    with pytest.raises(UserError, match="costs do not fit in 64 bits"):
        CostTable(shipped("r18"), ClipShape(3, 65536, 65536, 65536), 400)
