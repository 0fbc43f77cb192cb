"""Optical flow as two channels of uint8."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from stsearch.data.flow import LIMIT, Method, optical_flow
from stsearch.errors import UserError

cv2: Any = pytest.importorskip("cv2", reason="opencv-python-headless (extra flow) is not installed")


def texture(height: int, width: int) -> np.ndarray:
    """Smooth noise of grey values, float64."""
    noise = np.random.default_rng(0).uniform(0, 255, (height, width))
    smooth: np.ndarray = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return np.asarray((smooth - smooth.min()) / (smooth.max() - smooth.min()) * 255)


def moving(count: int, right: float, down: float, height: int = 96, width: int = 128) -> np.ndarray:
    """``(F, H, W, 3)`` of a texture that moves by so many pixels a frame, sampled between pixels."""
    room = 40
    picture = texture(height + 2 * room, width + 2 * room)
    frames = []
    for t in range(count):
        matrix = np.array([[1, 0, room - right * t], [0, 1, room - down * t]], dtype=np.float64)
        cut = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
        frames.append(np.repeat(cut.clip(0, 255)[..., None], 3, axis=2).round().astype(np.uint8))
    return np.stack(frames)


def pixels(flow: np.ndarray) -> np.ndarray:
    """Movement in pixels, away from the borders."""
    return (flow[:, 16:-16, 16:-16].astype(np.float64) - 127.5) * LIMIT / 127.5


@pytest.mark.parametrize("method", ["dis", "farneback"])
@pytest.mark.parametrize(("right", "down"), [(2.0, 0.0), (-1.5, 0.75), (0.0, -3.0), (4.0, 4.0)])
def test_a_known_movement(method: Method, right: float, down: float) -> None:
    flow = optical_flow(moving(4, right, down), method=method)
    assert flow.shape == (4, 96, 128, 2)
    assert flow.dtype == np.uint8
    mean = pixels(flow).mean((1, 2))
    assert mean == pytest.approx(np.tile([right, down], (4, 1)), abs=0.2)
    assert np.array_equal(flow[-1], flow[-2]), "the last frame repeats the flow before it"


def test_no_flow_across_segments() -> None:
    forth, back = moving(3, 3.0, 0.0), moving(3, -3.0, 0.0)
    both = optical_flow(np.concatenate([forth, back]), segments=2)
    assert np.array_equal(both, np.concatenate([optical_flow(forth), optical_flow(back)]))


def test_mirroring_negates_x() -> None:
    frames = moving(3, 2.0, 1.0)
    mirrored = pixels(optical_flow(frames[:, :, ::-1].copy())).mean((0, 1, 2))
    assert mirrored == pytest.approx([-2.0, 1.0], abs=0.2)


def test_what_stands_still_or_alone_does_not_move() -> None:
    frames = moving(4, 0.0, 0.0)
    assert np.abs(optical_flow(frames).astype(int) - 127.5).max() <= 1
    assert set(np.unique(optical_flow(frames, segments=4))) == {128}


@pytest.mark.parametrize("side", [1, 2, 5, 11, 15, 16, 17, 24, 33])
def test_small_frames(side: int) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, side, side + 3, 3), dtype=np.uint8)
    assert optical_flow(frames).shape == (3, side, side + 3, 2)


def test_what_cannot_be(tmp_path: object) -> None:
    frames = moving(3, 1.0, 0.0)
    with pytest.raises(ValueError, match="3 frames cannot be cut into 2 equal segments"):
        optical_flow(frames, segments=2)
    with pytest.raises(
        UserError, match=r"unknown optical flow 'diss'\. Did you mean 'dis'\? Allowed: dis, farneback\."
    ):
        optical_flow(frames, method="diss")  # type: ignore[arg-type]


def test_without_opencv_there_is_one_line() -> None:
    code = (
        "import sys; sys.modules['cv2'] = None\n"
        "import numpy as np\n"
        "from stsearch.data.flow import optical_flow\n"
        "from stsearch.errors import UserError\n"
        "try: optical_flow(np.zeros((2, 32, 32, 3), dtype=np.uint8))\n"
        "except UserError as error: print(error)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "optical flow needs OpenCV" in told
    assert "pip install 'stsearch[flow]'" in told
    assert told.count("\n") == 1
