"""What all sources of videos have in common in the ``data:`` section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stsearch.schema import Strict


class VideoRecipe(Strict):
    """How videos become cached clips; every source adds where they are."""

    path: str
    """the folder of videos, or the list; from where the command is run"""
    span: Annotated[float, Field(gt=0, le=3600)] = 1.0
    """seconds of video that one clip covers; a shorter video is covered whole"""
    windows: Annotated[int, Field(ge=1, le=10_000)] = 10
    """of one video at most so many windows of ``span`` seconds are kept, evenly spread"""
    fps: Annotated[float, Field(gt=0, le=1000)] | None = None
    """frames per second that are kept; default: two for each frame of a clip, or the video's own where that is less"""
    short_side: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """of cached frames; default: 128/112 of the crop, as in the paper"""
    fit: Literal["stretch", "crop"] = "stretch"
    """``stretch`` frames to 4:3, as in the paper, or keep their aspect ratio and ``crop`` the middle"""
    flip: bool | None = None
    """whether labels survive mirroring left and right; default: what the source says"""
    max_unreadable: Annotated[float, Field(ge=0, le=1)] = 0.2
    """share of the files that may be unreadable; with more, nothing goes on"""
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """share of the training videos of each class that is used"""
    classes: Annotated[int, Field(ge=2, le=65_536)] | list[str] | None = None
    """a subset of the classes: so many of them, drawn with ``seed``, or by name"""
    exclude: list[str] | None = None
    """classes to leave out, by name; ``classes`` takes from the others"""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    """draws the validation videos where the source has none, the ``fraction`` and the ``classes``"""
    modality: Literal["rgb", "flow"] = "rgb"
    """``flow``: optical flow between neighbouring cached frames, 2 channels"""
    flow: Literal["dis", "farneback"] = "dis"
    """how optical flow is estimated: DIS (Kroeger et al., ECCV 2016), or Farneback's, slower and smoother"""
    stream: bool = False
    """decode videos whenever their clips are needed, and write no cache"""
    decoder: Literal["pyav", "torchcodec"] = "pyav"
    """what reads the files"""
