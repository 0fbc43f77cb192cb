"""Study files: all faults at once, overrides, and what may not change on resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stsearch.errors import SpecError, UserError
from stsearch.resources import find, names
from stsearch.search.fitting import difference
from stsearch.search.overrides import apply_overrides
from stsearch.search.spec import load_study, study_from_data
from stsearch.space.published import NETWORKS
from tests.conftest import TINY


def study(**changes: Any) -> Any:
    data: dict[str, Any] = {
        "space": "paper-18",
        "data": {"name": "motions"},
        "evaluate": {"name": "train"},
        **changes,
    }
    return study_from_data(data, "test.yaml", "test")


def test_what_ships_is_valid() -> None:
    assert "quickstart" in names("studies")
    for name in names("studies"):
        assert load_study(name).name == name


def test_four_faults_at_once(tmp_path: Path) -> None:
    file = tmp_path / "four.yaml"
    file.write_text(
        "space: r81\ntarget: {frames: 0, size: 112}\ndata: {name: motoins}\n"
        "evaluate: {name: train, epoch: 3}\nserach: {trials: 3}\nobjectives: {gmacs: maximize}\n"
    )
    with pytest.raises(SpecError) as caught:
        load_study(str(file))
    faults = caught.value.faults
    assert len(faults) == 6
    for part in (
        "data.name: unknown data set 'motoins'. Did you mean 'motions'?",
        "evaluate.epoch: unknown key 'epoch'. Did you mean 'epochs'?",
        "target.frames: should be greater than or equal to 1; given 0",
        "objectives: gmacs can only be minimized; given 'maximize'",
        "serach: unknown key 'serach'. Did you mean 'search'?",
        "space: unknown search space 'r81'. Did you mean 'r18'?",
    ):
        assert any(fault.startswith(part) for fault in faults), part
    assert str(caught.value).startswith(f"{file}: 6 faults\n  ")


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"search": {"sampler": "tpee"}}, "search.sampler: unknown sampler 'tpee'. Did you mean 'tpe'?"),
        ({"search": {"trials": 0}}, "search.trials: should be greater than or equal to 1; given 0"),
        ({"search": {"trials": "3"}}, "search.trials: should be a valid integer; given '3'"),
        ({"search": {"start_with": ["MC33-18"]}}, "search.start_with: unknown network 'MC33-18'. Did you mean"),
        ({"search": {"start_with": ["MC3-34"]}}, "does not contain 3d-3dx3-2dx4-2dx6-2dx3"),
        ({"budget": {"gmac": 3}}, "budget: unknown cost 'gmac'. Did you mean 'gmacs'?"),
        ({"budget": {"gmacs": -1.0}}, "budget: a cap is above 0; given gmacs: -1.0"),
        ({"budget": {"gmacs": float("nan")}}, "budget: a cap is above 0"),
        ({"objectives": {}}, "objectives: at least one objective is needed"),
        ({"objectives": {"latency": "minimize"}}, "objectives: unknown objective 'latency'"),
        ({"data": None}, "data: is missing"),
        ({"data": "motions"}, "data: should be a mapping; given 'motions'"),
        ({"data": {}}, "data.name: is missing. Allowed: motions, graded, folder, list,"),
        ({"evaluate": {"name": "train", "schedule": "cosin"}}, "given 'cosin'. Did you mean 'cosine'?"),
        ({"evaluate": {"name": "halving", "epochs": 9}}, "unknown key 'epochs'. Did you mean 'rungs'?"),
        ({"engine": {"workers": 0}}, "engine.workers: should be greater than or equal to 1 or auto; given 0"),
        ({"name": "a/b"}, "name: a study's name is of letters, digits and ' .+=@~_-' and is not 'published'; given"),
        ({"space": "nowhere.yaml"}, "space: no such file: 'nowhere.yaml'"),
        ({"seed": -1}, "seed: should be greater than or equal to 0; given -1"),
    ],
)  # fmt: skip
def test_wrong_values_are_answered(changes: dict[str, Any], answer: str) -> None:
    with pytest.raises(SpecError) as caught:
        study(**changes)
    assert answer in str(caught.value)


def test_faults_of_the_space_are_part_of_the_list(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("name: x\nstem: {kind: 2d}\nstages: {}\n")
    with pytest.raises(SpecError) as caught:
        study(space=str(tmp_path / "space.yaml"), seed=-1)
    assert len(caught.value.faults) == 5
    assert any("stages.conv2_x: is missing" in fault for fault in caught.value.faults)


def test_overrides() -> None:
    data: dict[str, Any] = {"evaluate": {"epochs": 1}, "seed": 0}
    apply_overrides(
        data, ["evaluate.epochs=8", "evaluate.lr=1e-4", "search.trials=3", "budget={gmacs: 4.5}", "name=null"]
    )
    assert data == {
        "evaluate": {"epochs": 8, "lr": 0.0001}, "seed": 0, "search": {"trials": 3}, "budget": {"gmacs": 4.5},
        "name": None,
    }  # fmt: skip
    for wrong, answer in (("epochs", "--set takes key=value"), ("seed.x=1", "'seed' is a value, not a section"),
                          ("a=[", "the value is no YAML")):  # fmt: skip
        with pytest.raises(UserError, match=answer):
            apply_overrides(data, [wrong])


def test_proxy_defaults_to_the_target() -> None:
    found = study(target={"frames": 8, "size": 64})
    assert found.proxy_clip() == found.target_clip()
    assert found.spec.proxy.width == 1.0
    assert found.storage_url == "sqlite:///studies/test.db"


def test_identity_is_what_results_depend_on() -> None:
    base = study().identity()
    for same in ({"search": {"trials": 99}}, {"engine": {"workers": 3}}, {"name": "x"}, {"storage": "sqlite:///x.db"}):
        assert difference(base, study(**same).identity()) == []
    for changes, line in (
        ({"seed": 1}, "seed: 0 -> 1"),
        ({"target": {"frames": 8}}, "target.frames: 16 -> 8"),
        ({"evaluate": {"name": "train", "epochs": 9}}, "evaluate.epochs: 4 -> 9"),
        ({"data": {"name": "motions", "seed": 3}}, "data.seed: 0 -> 3"),
        ({"space": "r18"}, "space.name: 'paper-18' -> 'r18'"),
        ({"budget": {"gmacs": 30.0}}, "budget.gmacs: None -> 30.0"),
    ):
        assert line in difference(base, study(**changes).identity())


def test_classes_left_out_are_of_the_identity_only_where_there_are_some() -> None:
    data: dict[str, Any] = {"name": "folder", "path": "clips"}
    assert "exclude" not in study(data=data).identity()["data"], "studies begun before there was such a key go on"
    assert study(data={**data, "exclude": []}).identity() == study(data=data).identity()
    changed = study(data={**data, "exclude": ["idle"]}).identity()
    assert difference(study(data=data).identity(), changed) == ["data.exclude: None -> ['idle']"]
    assert study(data={**data, "stream": True}).identity() == study(data=data).identity(), "it changes no result"
    assert "stream" not in study(data=data).identity()["data"]


def test_start_networks() -> None:
    assert len(study().start_networks()) == 11
    assert study(search={"start_with": "none"}).start_networks() == []
    assert study(search={"start_with": ["r3d-18", "MC2-18"]}).start_networks() == [
        NETWORKS["R3D-18"],
        NETWORKS["MC2-18"],
    ]
    assert study().references() == {"R2D-18": NETWORKS["R2D-18"]}
    assert set(study(space="r34").references()) == {"R2D-34"}
    assert study(space="r50").references() == {}
    assert study(search={"start_with": ["r3d-18"]}).references() == {}


def test_names_are_found_beside_the_user_first(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "quickstart.yaml").write_text(TINY)
    assert find("studies", "quickstart") == Path("studies/quickstart.yaml")
    assert load_study("quickstart").spec.search.trials == 4
