"""Exported files say what the network says, and carry what is needed to use them; what goes wrong leaves none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stsearch.cli import main
from stsearch.errors import StsearchError, UserError, WorldError
from stsearch.evaluate.weights import About, Weights, write_weights
from stsearch.export.exporting import ExportFailed, export
from stsearch.export.formats import FORMATS, Asked, Format, Run, fixed_time
from stsearch.nets.build import build
from stsearch.space.architecture import parse_placement
from stsearch.space.blueprint import ClipShape

MIXED = "3d-3dx1-2plus1dx1-2dx1-2dx1@w0.125"


def weights(name: str = MIXED, channels: int = 3) -> Weights:
    """Of a network whose BatchNorm statistics are those of some clips, so that all of it counts."""
    architecture, clip = parse_placement(name), ClipShape(channels, 6, 32, 32)
    generator = torch.Generator().manual_seed(0)
    network = build(architecture, clip, 3, generator=generator)
    for _ in range(3):
        network(torch.randn(4, *clip.sizes, generator=generator))
    about = About(
        network=name,
        architecture=architecture.id,
        classes=("jump", "run", "wave"),
        mean=(110.0, 100.0, 90.0)[:channels],
        std=(60.0, 61.0, 62.0)[:channels],
        frames=6,
        size=32,
        sampling={"span": 1.0},
    )
    return Weights(about, network.state_dict())


def silent(text: str) -> None:
    pass


@pytest.mark.parametrize("form", ["state-dict", "torch-export", "onnx"])
def test_a_file_says_what_the_network_says_on_shapes_that_neither_saw(form: str, tmp_path: Path) -> None:
    given = weights()
    done = export(given, form, tmp_path / "deep" / "network", licence="CC-BY-4.0", say=silent)
    assert [one.shape for one in done.parity] == [(1, 3, 6, 32, 32), (3, 3, 3, 32, 48), (2, 3, 9, 40, 32)]
    assert max(one.difference for one in done.parity) < 1e-5
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["network"]
    about = read_metadata(form, tmp_path / "deep" / "network")
    assert about == done.metadata == json.loads(json.dumps(done.metadata))
    assert (about["classes"], about["mean"], about["licence"]) == (
        ["jump", "run", "wave"],
        [110.0, 100.0, 90.0],
        "CC-BY-4.0",
    )
    assert (about["frames"], about["size"], about["sampling"]) == (6, 32, {"span": 1.0})
    assert about["input"]["dynamic"] == ["N", "T", "H", "W"]


def read_metadata(form: str, path: Path) -> dict[str, Any]:
    if form == "onnx":
        import onnx
        import onnxruntime

        model = onnx.load(path)
        onnx.checker.check_model(model)
        assert [one.version for one in model.opset_import if not one.domain] == [20]
        found = onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map["stsearch"]
    elif form == "torch-export":
        files = {"stsearch.json": ""}
        with path.open("rb") as stream:
            torch.export.load(stream, extra_files=files)
        found = files["stsearch.json"]
    else:
        found = torch.load(path, weights_only=True)["metadata"]
    about: dict[str, Any] = json.loads(found)
    return about


def test_a_network_that_takes_frames_away_is_exported_for_its_own_length(tmp_path: Path) -> None:
    given = weights("collapse-2dx1-2dx1-2dx1-2dx1@w0.125", channels=2)
    assert fixed_time(given)
    assert not fixed_time(weights())
    done = export(given, "torch-export", tmp_path / "r2d.pt2", say=silent)
    assert {one.shape[2] for one in done.parity} == {6}
    assert done.metadata["input"]["dynamic"] == ["N", "H", "W"]


def test_a_file_that_says_something_else_is_not_kept(tmp_path: Path) -> None:
    """As an exporter would that leaves the clip's end out; and one that fails in its own way is one line."""
    true = FORMATS["state-dict"]

    def forgetful(asked: Asked, path: Path) -> Run:
        run = true.read(asked, path)
        return lambda clips: run(clips[:, :, :-1])

    def failing(asked: Asked, path: Path) -> None:
        path.write_text("half")
        raise RuntimeError(f"cannot fathom {path}\nand more")

    FORMATS.add("forgetful", Format(true.write, forgetful))
    FORMATS.add("failing", Format(failing, true.read))
    FORMATS.add("uninstalled", Format(true.write, true.read, ("no_such_module", "torch")))
    path = tmp_path / "network"
    (tmp_path / "kept").mkdir()
    with pytest.raises(ExportFailed, match="differs"):
        export(weights(), "forgetful", tmp_path / "kept" / "deep" / "deeper" / "network", say=silent)
    assert [one.name for one in tmp_path.rglob("*")] == ["kept"]  # what it made is gone, what was there is not
    (tmp_path / "kept").rmdir()
    with pytest.raises(ExportFailed, match=r"differs from the network by .* of 1x3x6x32x32; 0.0001 is allowed"):
        export(weights(), "forgetful", path, say=silent)
    with pytest.raises(ExportFailed, match=rf"network could not be written as failing: .*cannot fathom {path}$"):
        export(weights(), "failing", path, say=silent)
    with pytest.raises(UserError, match=r"needs no_such_module: pip install 'stsearch\[export\]'"):
        export(weights(), "uninstalled", path, say=silent)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["state-dict", "torch-export", "onnx"])
def test_a_full_disk_leaves_the_older_file(form: str, tmp_path: Path) -> None:
    import resource

    path = tmp_path / "network.pt"
    path.write_text("an older one")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(WorldError, match=r"cannot write .*network.pt: File too large; nothing is left of it"):
            export(weights(), form, path, say=silent)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "an older one"
    assert len(list(tmp_path.iterdir())) == 1


def test_wrong_requests_are_one_line(tmp_path: Path) -> None:
    given = weights()
    write_weights(tmp_path / "weights.pt", given)
    torch.save(given.state, tmp_path / "state.pt")
    write_weights(tmp_path / "other.pt", replace(given, state={**given.state, "head.1.bias": torch.zeros(4)}))
    common = ["--weights", "weights.pt", "-o", "out.onnx"]
    for said, arguments in {
        "--opset is 18 or more, as torch's exporter writes no older ones; given 17": [
            MIXED, *common, "--to", "onnx", "--opset", "17",
        ],
        "which is the newest that onnx knows; given 99": [MIXED, *common, "--to", "onnx", "--opset", "99"],
        "-o 'weights.pt/out.onnx': ": [MIXED, "--weights", "weights.pt", "-o", "weights.pt/out.onnx", "--to", "onnx"],
        "unknown format 'onx'. Did you mean 'onnx'?": [MIXED, *common, "--to", "onx"],
        "holds weights of 3d-3dx1-2plus1dx1-2dx1-2dx1@w0.125, not of MC3-18": ["mc3-18", *common, "--to", "onnx"],
        "holds no class list": [MIXED, "--weights", "state.pt", "-o", "out.onnx", "--to", "onnx"],
        "'head.1.bias' is (4,) and should be (3,)": [MIXED, "--weights", "other.pt", "-o", "out", "--to", "onnx"],
        "expected a file's name": [MIXED, "--weights", "weights.pt", "-o", ".", "--to", "state-dict"],
        "there is no file 'none.pt'": [MIXED, "--weights", "none.pt", "-o", "out.onnx", "--to", "onnx"],
    }.items():  # fmt: skip
        with pytest.raises(StsearchError) as refused:
            main(["export", *arguments], standalone_mode=False)
        assert said in str(refused.value)
        assert refused.value.exit_code == 2
    assert {path.name for path in tmp_path.iterdir()} == {"weights.pt", "state.pt", "other.pt"}
