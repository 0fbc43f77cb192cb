"""``FORMATS``: what a network is exported to. A format writes a file and reads it back as others would."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from stsearch.errors import UserError
from stsearch.evaluate.weights import Weights, put_in
from stsearch.nets.build import VideoNet
from stsearch.registry import Registry
from stsearch.space.blueprint import Definition, blueprint
from stsearch.space.ops import Conv

OPSET = 20
"""of ONNX: what torch's exporter writes, and the least that has 3D pooling and convolutions of its own"""
LEAST_OPSET = 18
METADATA = "stsearch"
"""Key of the metadata in an ONNX file, and with ``.json`` the name of the file within ``torch-export``."""
INPUT, OUTPUT = "clips", "logits"
Run = Callable[[torch.Tensor], torch.Tensor]
"""Clips ``(N, C, T, H, W)``, normalised float32, to logits ``(N, classes)``."""


@dataclass(frozen=True)
class Asked:
    """One network to export."""

    network: VideoNet
    """fp32, on the CPU, in evaluation mode"""
    weights: Weights
    metadata: Mapping[str, Any]
    opset: int = OPSET
    free: str = "NTHW"
    """sides of a clip that may have any length"""


@dataclass(frozen=True)
class Format:
    """One kind of file."""

    write: Callable[[Asked, Path], None]
    read: Callable[[Asked, Path], Run]
    """runs a file that was written"""
    needs: tuple[str, ...] = ()
    """modules that must be installed"""

    def check(self, name: str) -> None:
        """``UserError`` with what to install, if something is missing."""
        missing = [module for module in self.needs if importlib.util.find_spec(module) is None]
        if missing:
            raise UserError(f"--to {name} needs {', '.join(missing)}: pip install 'stsearch[export]'")


FORMATS: Registry[Format] = Registry("format")


def check_opset(opset: int, form: str) -> None:
    """``UserError`` for an opset that is too old for torch's exporter or, of ``onnx``, newer than the library knows."""
    if opset < LEAST_OPSET:
        raise UserError(f"--opset is {LEAST_OPSET} or more, as torch's exporter writes no older ones; given {opset}")
    if form == "onnx":
        from onnx import defs

        newest = defs.onnx_opset_version()
        if opset > newest:
            raise UserError(f"--opset is {LEAST_OPSET} to {newest}, which is the newest that onnx knows; given {opset}")


def fixed_time(weights: Weights) -> bool:
    """Whether clips must have as many frames as in training: a convolution takes some of them away, as R2D's stem."""
    if isinstance(weights.about.parsed(), Definition):
        return False
    plan = blueprint(weights.about.parsed(), weights.about.clip, len(weights.about.classes))
    ops = (op for group in plan.groups for unit in group.units for op in unit.main)
    return any(isinstance(op, Conv) and op.kernel[0] > 2 * op.padding[0] + 1 for op in ops)


def _write_state(asked: Asked, path: Path) -> None:
    state = {key: value.contiguous() for key, value in asked.network.state_dict().items()}
    made = io.BytesIO()
    torch.save({"state_dict": state, "metadata": json.dumps(asked.metadata)}, made)
    path.write_bytes(made.getbuffer())  # where the disk is full, torch's own writer ends the process


def _read_state(asked: Asked, path: Path) -> Run:
    network = VideoNet(blueprint(asked.weights.about.parsed(), asked.weights.about.clip, _classes(asked)))
    put_in(network, torch.load(path, map_location="cpu", weights_only=True)["state_dict"], asked.weights.about.network)
    return _of_module(network.eval())


FORMATS.add("state-dict", Format(_write_state, _read_state))


def _write_program(asked: Asked, path: Path) -> None:
    made = io.BytesIO()
    with quiet():
        torch.export.save(_program(asked), made, extra_files={f"{METADATA}.json": json.dumps(asked.metadata)})
    path.write_bytes(made.getbuffer())


def _read_program(asked: Asked, path: Path) -> Run:
    with quiet():
        loaded = torch.export.load(io.BytesIO(path.read_bytes()))  # a file of any name
        return _of_module(loaded.module())


FORMATS.add("torch-export", Format(_write_program, _read_program))


def _write_onnx(asked: Asked, path: Path) -> None:
    with quiet():
        program = torch.onnx.export(
            _program(asked),
            dynamo=True,
            opset_version=asked.opset,
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
        assert program is not None
        written = program.model.opset_imports.get("")
        if written != asked.opset:  # where it knows no way to a newer one, torch writes its own without a word
            raise UserError(f"--opset {asked.opset}: torch's exporter wrote {written} in its place; give an older one")
        program.model.metadata_props[METADATA] = json.dumps(asked.metadata)
        program.save(path)


def _read_onnx(asked: Asked, path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda clips: torch.from_numpy(session.run([OUTPUT], {INPUT: clips.numpy()})[0])


FORMATS.add("onnx", Format(_write_onnx, _read_onnx, ("onnx", "onnxscript", "onnxruntime")))


def _classes(asked: Asked) -> int:
    return len(asked.weights.about.classes)


def _of_module(module: nn.Module) -> Run:
    def run(clips: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            logits: torch.Tensor = module(clips)
        return logits

    return run


def _program(asked: Asked) -> ExportedProgram:
    """The network for clips whose ``free`` sides have any length."""
    about = asked.weights.about
    example = torch.zeros(2, *about.clip.sizes)
    sides: dict[int, Any] = {"NCTHW".index(side): Dim.DYNAMIC for side in asked.free}
    import torch.fx.experimental._config as symbols

    # Without it, what holds for the example (more than 8 frames, say) becomes a condition on all clips.
    with symbols.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
        return torch.export.export(asked.network, (example,), dynamic_shapes=(sides,))


@contextmanager
def quiet() -> Iterator[None]:
    """Without what torch's exporters say to their own developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
