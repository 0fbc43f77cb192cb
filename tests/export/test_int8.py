"""Files with 8 bits: calibrated on clips, measured beside those with 32, and kept only where they are faster."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stsearch.cli import main
from stsearch.data.motions import MotionsRecipe, load_motions
from stsearch.data.videos import ClipData
from stsearch.errors import StsearchError, UserError
from stsearch.evaluate.weights import About, Weights, write_weights
from stsearch.export.exporting import Exported, ExportFailed, export
from stsearch.export.int8 import Int8, Times, drop_older, int8_path, quantised, room_for
from stsearch.nets.build import build
from stsearch.space.architecture import parse_placement
from stsearch.space.blueprint import ClipShape

pytestmark = pytest.mark.slow
MIXED = "3d-3dx1-2plus1dx1-2dx1-2dx1@w0.125"
DATA = ("--data", "motions", "--set=data.classes=2", "--set=data.clips=12", "--set=data.val_clips=10")


@pytest.fixture(scope="module")
def motions() -> ClipData:
    return load_motions(MotionsRecipe(classes=2, clips=12, val_clips=10), 4, 16)


def weights(data: ClipData) -> Weights:
    architecture, clip = parse_placement(MIXED), ClipShape(3, 4, 16, 16)
    generator = torch.Generator().manual_seed(0)
    network = build(architecture, clip, len(data.classes), generator=generator)
    for _ in range(20):
        network(torch.randn(8, *clip.sizes, generator=generator))
    about = About(MIXED, architecture.id, data.classes, data.mean, data.std, 4, 16)
    return Weights(about, network.state_dict())


@pytest.fixture(scope="module")
def exported(motions: ClipData, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(weights(motions), "onnx", tmp_path_factory.mktemp("int8") / "net.onnx", say=silent)


def silent(text: str) -> None:
    pass


def made(exported: Exported, motions: ClipData, *, keep: bool) -> Int8:
    return quantised(exported, weights(motions).about, motions, say=silent, keep=lambda times: keep)


def test_a_file_that_is_kept_runs_and_says_what_it_is_worth(exported: Exported, motions: ClipData) -> None:
    import onnx
    import onnxruntime

    found = made(exported, motions, keep=True)
    assert found.path == int8_path(exported.path)
    assert [path.name for path in sorted(exported.path.parent.iterdir())] == ["net.int8.onnx", "net.onnx"]
    model = onnx.load(found.path)
    onnx.checker.check_model(model)
    assert "QuantizeLinear" in {node.op_type for node in model.graph.node}
    stored = {one.data_type for one in model.graph.initializer if len(one.dims) == 5}
    assert stored == {onnx.TensorProto.INT8}, "weights of convolutions are stored in 8 bits"
    sessions = [onnxruntime.InferenceSession(str(path)) for path in (found.path, exported.path)]
    about = json.loads(sessions[0].get_modelmeta().custom_metadata_map["stsearch"])
    assert about == json.loads(json.dumps({**exported.metadata, "int8": found.as_dict()}))
    for shape in ((1, 3, 4, 16, 16), (2, 3, 7, 24, 16)):
        clips = torch.randn(shape, generator=torch.Generator().manual_seed(1)).numpy()
        eight, whole = (session.run(None, {"clips": clips})[0] for session in sessions)
        assert eight.shape == whole.shape
        assert 0 < abs(eight - whole).max() < 0.5 * abs(whole).max()


def test_its_figures_are_those_of_the_two_files(exported: Exported, motions: ClipData) -> None:
    """Accuracies counted once more, here, clip by clip."""
    import onnxruntime

    from stsearch.evaluate.centre import centre_clips

    found = made(exported, motions, keep=True)
    videos = len(motions.splits["val"])
    assert (found.calibrated_on, found.videos) == (len(motions.splits["train"]), videos)
    answers = []
    for path in (found.path, exported.path):
        session = onnxruntime.InferenceSession(str(path))
        clips = centre_clips(motions, 4, 16, "val", videos)
        said = [(int(session.run(None, {"clips": clip.numpy()})[0].argmax()), label) for clip, label in clips]
        answers.append([answer for answer, _ in said])
        assert [label for _, label in said] == motions.splits["val"].labels.tolist()
        right = sum(answer == label for answer, label in said)
        assert found.top1[len(answers) - 1] == pytest.approx(100 * right / videos)
    assert found.changed == sum(a != b for a, b in zip(*answers, strict=True))
    assert len(found.times.int8_ms) == len(found.times.fp32_ms) >= 10
    assert min(*found.times.int8_ms, *found.times.fp32_ms) > 0


def test_one_that_is_not_faster_leaves_the_other_alone(exported: Exported, motions: ClipData) -> None:
    before = exported.path.read_bytes()
    made(exported, motions, keep=True)
    found = made(exported, motions, keep=False)
    assert [path.name for path in exported.path.parent.iterdir()] == ["net.onnx"], "an older one is of other weights"
    assert exported.path.read_bytes() == before
    assert found.lines[-1] == "int8 is not kept: it is not faster here, so the fp32 file stays alone"


def test_faster_is_more_than_half_of_all_pairs_beyond_luck() -> None:
    even = tuple(float(number) for number in range(20))
    assert Times(even, tuple(ms + 1 for ms in even)).faster
    assert not Times(even, even).faster
    assert not Times(tuple(ms + 1 for ms in even), even).faster
    mostly = tuple(ms + (1 if number < 13 else -1) for number, ms in enumerate(even))
    assert Times(even, mostly).wins == 13
    assert not Times(even, mostly).faster, "13 of 20 may well be luck"


def test_clips_are_asked_for_before_anything_is_written(motions: ClipData, tmp_path: Path) -> None:
    write_weights(tmp_path / "weights.pt", weights(motions))
    common = ["export", MIXED, "--weights", "weights.pt", "-o", "net.onnx"]
    for said, more in {
        "--int8 goes with --to onnx; given --to state-dict": ["--to", "state-dict", "--int8", *DATA],
        "--data and --set go with --int8": ["--to", "onnx", *DATA],
        "is of no study: add --data SOURCE": ["--to", "onnx", "--int8"],
        "was not trained on the class": ["--to", "onnx", "--int8", "--data", "graded"],
    }.items():
        with pytest.raises(UserError) as refused:
            main([*common, *more], standalone_mode=False)
        assert said in str(refused.value)
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["weights.pt"]


def test_nothing_to_calibrate_on_and_files_that_are_none_are_one_line(exported: Exported, motions: ClipData) -> None:
    none = replace(motions, splits={"val": motions.splits["val"]})
    with pytest.raises(UserError, match="--int8 needs clips to calibrate on; the data have none in 'train'"):
        quantised(exported, weights(motions).about, none, say=silent)
    broken = exported.path.with_name("broken.onnx")
    broken.write_bytes(b"no ONNX")
    try:
        with pytest.raises(ExportFailed, match=r"could not be written as int8: .*; the fp32 file is kept"):
            quantised(replace(exported, path=broken), weights(motions).about, motions, say=silent)
    finally:
        broken.unlink()
    assert [path.name for path in exported.path.parent.iterdir() if not path.name.startswith("net")] == []


def test_the_command_prints_both_side_by_side(
    motions: ClipData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether it is kept is the machine's to say; what is printed and what lies there agree."""
    write_weights(tmp_path / "weights.pt", weights(motions))
    words = ["export", MIXED, "--weights", "weights.pt", "--to", "onnx", "-o", "net.onnx", "--int8", *DATA, "--quiet"]
    main(words, standalone_mode=False)
    text = capsys.readouterr().out
    kept = (tmp_path / "net.int8.onnx").exists()
    assert "int8, calibrated on 12 training clips: top-1" in text
    assert "of 10 validation videos, one clip each" in text
    assert ("written: net.int8.onnx" in text) is kept
    assert ("int8 is not kept" in text) is not kept
    main([*words, "--format", "json"], standalone_mode=False)
    told = json.loads(capsys.readouterr().out)["int8"]
    assert (told["file"] is not None) is (tmp_path / "net.int8.onnx").exists()
    assert (told["calibrated_on"], told["videos"], told["threads"]) == (12, 10, 1)
    assert set(told["latency_ms"]) == set(told["top1"]) == {"int8", "fp32"}


def test_an_older_one_goes_when_a_new_fp32_file_takes_its_place(
    exported: Exported, motions: ClipData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also without --int8, but then no file that others wrote."""
    write_weights(tmp_path / "weights.pt", weights(motions))
    older, ours = tmp_path / "net.int8.onnx", made(exported, motions, keep=True).path.read_bytes()
    words = ["export", MIXED, "--weights", "weights.pt", "--to", "onnx", "-o", "net.onnx", "--quiet"]
    for content, left in ((ours, False), (b"of another program", True), (exported.path.read_bytes(), True)):
        older.write_bytes(content)
        main(words, standalone_mode=False)
        assert older.exists() is left
        said = "removed: net.int8.onnx, which was made of an earlier net.onnx" in capsys.readouterr().err
        assert said is not left
    drop_older(tmp_path / "net.onnx", asked=True)
    assert not older.exists(), "its name was asked for"


def test_a_folder_of_its_name_is_told_before_anything_is_written(motions: ClipData, tmp_path: Path) -> None:
    write_weights(tmp_path / "weights.pt", weights(motions))
    (tmp_path / "net.int8.onnx").mkdir()
    words = ["export", MIXED, "--weights", "weights.pt", "--to", "onnx", "-o", "net.onnx", "--int8", *DATA]
    with pytest.raises(UserError, match=r"--int8 writes 'net.int8.onnx': there is a folder; give -o another name"):
        main(words, standalone_mode=False)
    assert not (tmp_path / "net.onnx").exists()


def test_what_a_full_disk_makes_of_files_is_told_as_that(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device"), room_for(tmp_path, 1 << 62):
        raise ValueError("the message cannot be parsed")
    with pytest.raises(ValueError, match="cannot be parsed"), room_for(tmp_path, 0):
        raise ValueError("the message cannot be parsed")
    with pytest.raises(UserError), room_for(tmp_path, 1 << 62):
        raise UserError("of the user")


def test_a_full_disk_leaves_the_fp32_file(exported: Exported, motions: ClipData) -> None:
    import resource

    before, size = exported.path.read_bytes(), exported.path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 8, limits[1]))
    try:
        with pytest.raises(StsearchError, match="the fp32 file is kept"):
            made(exported, motions, keep=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert exported.path.read_bytes() == before
    assert not [path for path in exported.path.parent.iterdir() if "int8" in path.name and path.is_dir()]
