"""What ``precision: auto`` comes to where a study is begun on a CPU: bf16 if that is right there, and faster."""

from __future__ import annotations

from dataclasses import replace

from stsearch.data.cache import Progress
from stsearch.data.videos import ClipData
from stsearch.evaluate.halving import HalvingRecipe
from stsearch.evaluate.recipe import TrainRecipe
from stsearch.evaluate.sound import WORTH, gain
from stsearch.profiling.device import choose_device
from stsearch.search.spec import Study
from stsearch.space.table import CostTable


def settled(study: Study, data: ClipData, progress: Progress) -> Study:
    """``study`` with ``precision: bf16`` in place of ``auto`` where its dearest proxy trains faster in it on this CPU.

    It is one precision for all networks, and stays with the study. Jobs of other machines keep ``auto``.
    """
    recipe, engine = study.spec.evaluate, study.spec.engine
    open_yet = isinstance(recipe, TrainRecipe | HalvingRecipe) and recipe.precision == "auto"
    if not open_yet or not engine.here or choose_device(engine.device, "engine.device").type != "cpu":
        return study
    assert isinstance(recipe, TrainRecipe | HalvingRecipe)
    clip, classes = study.proxy_clip(), len(data.classes)
    dearest = CostTable(study.space.scaled(study.spec.proxy.width), clip, classes).extreme("gmacs", largest=True)
    if gain(dearest, clip, classes, recipe.batch, engine.threads, progress) < WORTH:
        return study
    chosen = recipe.model_copy(update={"precision": "bf16"})
    return replace(study, spec=study.spec.model_copy(update={"evaluate": chosen}))
