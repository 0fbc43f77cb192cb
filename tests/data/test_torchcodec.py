"""The other decoder gives the same frames, or leaves a file to PyAV."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stsearch.data.decode import NotAVideo, UnreadableVideo, decode
from stsearch.data.picture import Painter
from stsearch.data.torchcodec import _decoded, decode_torchcodec
from stsearch.errors import UserError
from tests.data.test_decode import corners, counted, encode, numbers_in


@pytest.fixture
def torchcodec() -> None:
    try:
        decode_torchcodec(Path("nowhere.mp4"))
    except UserError as error:
        pytest.skip(str(error))
    except NotAVideo:
        return


@pytest.mark.usefixtures("torchcodec")
def test_frames_times_and_choice_are_pyavs(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", counted(30), options={"crf": "1", "bf": "2"})
    for height, width in ((None, None), (12, 20)):
        ours = decode(path, height=height, width=width)
        theirs = decode_torchcodec(path, height=height, width=width)
        assert theirs.frames.shape == ours.frames.shape
        assert np.abs(theirs.frames.astype(int) - ours.frames).max() <= 2
        assert theirs.times == pytest.approx(ours.times)
    direct = _decoded(path, Painter(8, 8, "crop"), lambda times: np.array([2, 2, 29]))
    assert direct is not None, "it is TorchCodec that decodes this file"
    assert numbers_in(direct.frames) == [2, 2, 29]


@pytest.mark.usefixtures("torchcodec")
@pytest.mark.parametrize("turn", [(90.0, False), (-90.0, False), (180.0, False), (0.0, True), (90.0, True)])
def test_orientation_is_pyavs(tmp_path: Path, turn: tuple[float, bool]) -> None:
    path = encode(tmp_path / "v.mp4", [corners()] * 3, turn=turn)
    theirs, ours = decode_torchcodec(path).frames, decode(path).frames
    assert theirs.shape == ours.shape
    assert np.abs(theirs.astype(int) - ours).mean() <= 3


@pytest.mark.usefixtures("torchcodec")
def test_real_files_are_as_with_pyav(real_videos: Path) -> None:
    for path in sorted((real_videos / "odd_clips").rglob("*.*")):
        try:
            ours = decode(path, height=64, width=64)
        except (NotAVideo, UnreadableVideo) as error:
            with pytest.raises(type(error)):
                decode_torchcodec(path, height=64, width=64)
            continue
        theirs = decode_torchcodec(path, height=64, width=64)
        assert theirs.frames.shape == ours.frames.shape, path.name
        assert np.abs(theirs.frames.astype(int) - ours.frames).mean() <= 2, path.name
        assert theirs.times == pytest.approx(ours.times), path.name


def test_without_torchcodec_there_is_one_line() -> None:
    code = (
        "import sys; sys.modules['torchcodec'] = None\n"
        "from pathlib import Path\n"
        "from stsearch.data.torchcodec import decode_torchcodec\n"
        "from stsearch.errors import UserError\n"
        "try: decode_torchcodec(Path('v.mp4'))\n"
        "except UserError as error: print(error)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'stsearch[torchcodec]'" in told
    assert told.count("\n") == 1
