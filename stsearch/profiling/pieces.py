"""``timed_pieces``: what the units of a network take within whole passes."""

from __future__ import annotations

from collections.abc import Sequence

from stsearch.profiling.device import Setting, refusing
from stsearch.profiling.subject import StageMarks, Subject
from stsearch.profiling.timing import Timing, repeat
from stsearch.space.blueprint import AnyNetwork, ClipShape


def timed_pieces(network: AnyNetwork, clip: ClipShape, classes: int, setting: Setting) -> tuple[float, Sequence[float]]:
    """Median times in ms of forward passes of a network, and of its units and its head within them, in their order.

    Clips at once are the setting's first batch size. Raises ``WorldError`` when memory runs out and
    ``StsearchError`` when the network cannot be built or run.
    """
    subject = Subject(network, clip, classes, setting)
    subject.load(setting.clips_at_once[0])
    subject.prepare(training=False)
    units = [unit for stage in subject.network.stages.values() for unit in stage]  # type: ignore[attr-defined]
    named = [(str(number), module) for number, module in enumerate([*units, subject.network.head])]
    with refusing(setting, f"a forward pass of {network.id}"), StageMarks(subject, named) as marks:
        whole = Timing.of(repeat(subject.forward, setting, after=marks.collect)).median_ms
    return whole, [Timing.of(times).median_ms for times in marks.ms.values()]
