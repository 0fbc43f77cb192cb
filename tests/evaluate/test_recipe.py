"""Optimisers, common random numbers, and lengths that the data ask for."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
import torch
from torch import nn

from stsearch.data.motions import MotionsRecipe, load_motions
from stsearch.errors import SpecError, UserError
from stsearch.evaluate.epochs import CLIPS_PER_CLASS, epochs_for
from stsearch.evaluate.evaluators import Task, begun
from stsearch.evaluate.optimiser import Optimiser
from stsearch.evaluate.recipe import OF_OPTIMIZERS, TrainRecipe
from stsearch.evaluate.results import Training
from stsearch.evaluate.train import train
from stsearch.nets.build import build
from stsearch.search.attributes import SPEC
from stsearch.search.session import open_session
from stsearch.search.spec import load_study
from stsearch.space.blueprint import ClipShape
from stsearch.space.published import NETWORKS
from tests.conftest import Cli

CLIP = ClipShape(3, 4, 16, 16)


def quiet(*_: object) -> None: ...


def network(name: str = "R(2+1)D-18", *, last: bool = True) -> nn.Module:
    made = build(NETWORKS[name].scaled(0.125), CLIP, 4, generator=torch.Generator().manual_seed(0))
    return made.to(memory_format=torch.channels_last_3d) if last else made  # type: ignore[call-overload]


def graded(one: nn.Module, seed: int = 1) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in one.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator)


def convolutions(one: nn.Module) -> list[torch.Tensor]:
    return [module.weight for module in one.modules() if isinstance(module, nn.Conv3d)]


@pytest.mark.parametrize("last", [True, False])
def test_muon_moves_every_convolution_along_an_orthogonal_matrix(last: bool) -> None:
    one = network(last=last)
    optimiser = Optimiser(one, TrainRecipe(momentum=0.0))
    graded(one)
    grads = [weight.grad for weight in convolutions(one)]
    before = [weight.detach().clone() for weight in convolutions(one)]
    optimiser.step(0.03)
    for weight, old, grad in zip(convolutions(one), before, grads, strict=True):
        assert grad is not None
        scaled = old * len(old) ** 0.5 / old.norm()
        step = (scaled - weight.detach()).flatten(1)
        u, _, v = torch.linalg.svd(grad.flatten(1), full_matrices=False)
        shape = max(1.0, step.shape[0] / step.shape[1]) ** 0.5
        assert torch.nn.functional.cosine_similarity(step.flatten(), (u @ v).flatten(), dim=0) > 0.95
        values = torch.linalg.svdvals(step) / (0.03 * shape)
        assert values.min() > 0.5
        assert values.max() < 1.3


def test_each_optimiser_trains_all_weights_and_goes_on_from_its_state() -> None:
    for optimizer in OF_OPTIMIZERS:
        recipe = TrainRecipe.model_validate({"optimizer": optimizer})
        whole, first = network(), network()
        begin = [weight.detach().clone() for weight in whole.parameters()]
        through, half = Optimiser(whole, recipe), Optimiser(first, recipe)
        for seed in (1, 2):
            graded(whole, seed)
            through.step(recipe.lr)
        graded(first, 1)
        half.step(recipe.lr)
        second = network()
        second.load_state_dict(first.state_dict())
        again = Optimiser(second, recipe)
        again.load_state_dict(half.state_dict())
        graded(second, 2)
        again.step(recipe.lr)
        for was, one, other in zip(begin, whole.parameters(), second.parameters(), strict=True):
            assert not torch.equal(was, one), optimizer
            assert torch.equal(one, other), optimizer


def test_a_recipe_says_what_its_optimiser_asks_for() -> None:
    assert TrainRecipe().optimizer == "muon"
    for optimizer, known in OF_OPTIMIZERS.items():
        recipe = TrainRecipe.model_validate({"optimizer": optimizer, "momentum": 0.5})
        assert {**known, "momentum": 0.5}.items() <= recipe.model_dump().items()
    assert OF_OPTIMIZERS["muon"].items() <= TrainRecipe().model_dump().items()


@pytest.mark.parametrize(("name", "channels"), [("R(2+1)D-18", [20, 8]), ("R3D-18", [8]), ("R2D-18", [8])])
def test_a_narrow_factorised_stem_is_trained_wider_and_no_other(name: str, channels: list[int]) -> None:
    data = load_motions(MotionsRecipe(name="motions", classes=2, clips=10, val_clips=10), 4, 16)
    proxy = NETWORKS[name].scaled(0.125)

    def widths(**said: object) -> list[int]:
        recipe = TrainRecipe.model_validate({"name": "train", **said})
        made, _ = begun(Task(proxy, CLIP, data, recipe, 0, torch.device("cpu")), 0)
        stem = made.get_submodule("stages.conv1")
        return [module.out_channels for module in stem.modules() if isinstance(module, nn.Conv3d)]

    assert widths() == channels
    assert widths(stem_channels=1) == widths(optimizer="sgd") == [5, 8][2 - len(channels) :]
    assert widths(stem_channels=33)[:-1] == [33][: len(channels) - 1]


def test_networks_of_a_study_see_the_same_clips_and_repeats_see_others() -> None:
    data = load_motions(MotionsRecipe(classes=2, clips=24, val_clips=10), 4, 16)

    def drawn(name: str, repeat: int, paired: bool = True) -> int:
        task = Task(NETWORKS[name].scaled(0.125), CLIP, data, TrainRecipe(paired=paired), 0, torch.device("cpu"))
        return int(torch.randint(0, 2**40, (), generator=begun(task, repeat)[1]))

    assert drawn("MC3-18", 0) == drawn("R3D-18", 0) != drawn("R3D-18", 1)
    assert drawn("MC3-18", 0, False) != drawn("R3D-18", 0, False)


@pytest.mark.parametrize("optimizer", list(OF_OPTIMIZERS))
def test_training_keeps_losses_and_predictions(optimizer: str) -> None:
    data = load_motions(MotionsRecipe(classes=4, clips=24, val_clips=20), 4, 16)
    recipe = TrainRecipe.model_validate({"optimizer": optimizer, "epochs": 2, "batch": 8})

    def once() -> Training:
        generator = torch.Generator().manual_seed(0)
        made = network("MC3-18")
        return train(made, data, recipe, frames=4, size=16, generator=generator, device=torch.device("cpu"))

    found, again = once(), once()
    assert found.predictions == again.predictions
    labels = data.splits["val"].labels.tolist()
    right = sum(said == label for (said, _), label in zip(found.predictions, labels, strict=True))
    assert found.video_top1 == pytest.approx(5.0 * right)
    for epoch in found.curve:
        assert epoch.steps == 3
        assert 0 <= (epoch.train_top1 or 0) <= 100
        assert (epoch.val_loss or 0) > 0


def test_the_length_of_a_training_is_the_datas_where_nobody_says_it(tiny: Path) -> None:
    assert epochs_for(2000, 10) == 3
    assert epochs_for(500, 17) == -(-CLIPS_PER_CLASS * 17 // 500)
    assert epochs_for(10**6, 400) == 3
    tiny.write_text(tiny.read_text().replace("epochs: 1, ", "epochs: auto, "))
    session = open_session(load_study(str(tiny)), quiet)
    assert session.study.spec.evaluate.epochs == epochs_for(24, 2)
    again = open_session(load_study(str(tiny)), quiet)
    assert again.study.spec.evaluate.epochs == epochs_for(24, 2)
    with pytest.raises(UserError, match=r"evaluate\.epochs"):
        open_session(load_study(str(tiny), ["evaluate.epochs=2"]), quiet)


def test_halving_takes_its_rungs_from_the_data_too(tiny: Path) -> None:
    tiny.write_text(tiny.read_text().replace("name: train, epochs: 1, ", "name: halving, "))
    session = open_session(load_study(str(tiny)), quiet)
    rungs = session.study.spec.evaluate.rungs
    assert rungs[-1] == epochs_for(24, 2)
    assert len(rungs) == 3


def test_a_study_that_an_earlier_version_began_keeps_its_recipe(tiny: Path, cli: Cli) -> None:
    tiny.write_text(tiny.read_text().replace("epochs: 1,", "optimizer: sgd, paired: false, epochs: 1,"))
    begun = cli("run", str(tiny), "--set", "search.trials=2")
    assert begun.returncode == 0, begun.stderr
    with sqlite3.connect("studies/tiny.db") as database:  # as it was: without the keys that there are since
        key = SPEC
        query = "SELECT study_user_attribute_id, value_json FROM study_user_attributes WHERE key = ?"
        rows = database.execute(query, (key,)).fetchall()
        assert rows
        for number, text in rows:
            spec = json.loads(text)
            for part in (spec["identity"], spec["resolved"]):
                for newer in ("optimizer", "paired", "label_smoothing", "residual_scale", "stem_channels"):
                    part["evaluate"].pop(newer)
            update = "UPDATE study_user_attributes SET value_json = ? WHERE study_user_attribute_id = ?"
            database.execute(update, (json.dumps(spec), number))
    database.close()
    plain = tiny.read_text().replace("optimizer: sgd, paired: false, ", "")
    tiny.write_text(plain)
    session = open_session(load_study(str(tiny)), quiet)
    recipe = session.study.spec.evaluate
    assert (recipe.optimizer, recipe.paired, recipe.lr, recipe.batch) == ("sgd", False, 0.02, 12)
    gone_on = cli("run", str(tiny), "--set", "search.trials=3")
    assert gone_on.returncode == 0, gone_on.stderr
    changed = cli("run", str(tiny), "--set", "evaluate.optimizer=muon")
    assert changed.returncode == 2
    assert "evaluate.optimizer: " in changed.stderr


def test_an_optimiser_that_is_none_is_said(tiny: Path) -> None:
    with pytest.raises(SpecError, match=r"evaluate\.optimizer"):
        load_study(str(tiny), ["evaluate.optimizer=muno"])
