"""What is left of a network in a proxy: a study whose proxies are too small for its question is told so."""

from __future__ import annotations

from stsearch.search.spec import Study
from stsearch.space.blueprint import ClipShape
from stsearch.space.cost import network_cost
from stsearch.space.narrow import scaled
from stsearch.space.published import NETWORKS

_FEWEST = 4
"""channels of a stem below which little can be told apart"""
_WIDTHS = (64, 64, 128, 256, 512)
_USUAL = 0.125
"""a width that works for most data"""


def left_over(study: Study) -> list[str]:
    """Sentences on what the proxy lacks, each with what to write instead; none where it is large enough."""
    clip, width = study.proxy_clip(), study.spec.proxy.width
    return [*_frames(clip), *_pixels(clip), *_channels(width)]


def _frames(clip: ClipShape) -> list[str]:
    if clip.frames > 1:
        return []
    return [
        "proxy.frames 1 leaves one frame of each clip: nothing moves, so no placement can be better at seeing motion. "
        "Take proxy.frames=4 or more"
    ]


def _pixels(clip: ClipShape) -> list[str]:
    """What R3D sees, whose stages halve the picture as those of every placement do."""
    stages = network_cost(NETWORKS["R3D-18"], clip, 2).stages
    single = [stage.name for stage in stages if stage.output[2:] == (1, 1)]
    if len(single) < 2:
        return []
    return [
        f"proxy.size {clip.height} leaves a single pixel from {single[0]} on, so {len(single)} of {len(stages)} stages "
        "see no picture. Take proxy.size=16 or more"
    ]


def _channels(width: float) -> list[str]:
    left = [scaled(channels, width) for channels in _WIDTHS]
    if left[0] >= _FEWEST:
        return []
    return [
        f"proxy.width {width:g} leaves {', '.join(map(str, left))} channels of {', '.join(map(str, _WIDTHS))}. "
        f"Take proxy.width={_USUAL:g} or more"
    ]
