"""A bridge to NNI 3.0: its model spaces, its FLOPs profiler, its strategies. The only room that imports it.

NNI is an extra, in an environment of its own (docs/nni.md); without it importing this raises ``UserError``.
"""

from __future__ import annotations

import logging
import warnings

from stsearch.errors import UserError

INSTALL = (
    "pip install 'stsearch[nni]' (it pins filelock and typeguard to versions of 2023, so best "
    "into a virtual environment of its own, see docs/nni.md)"
)


def _import_nni() -> None:
    """Import NNI without its warnings about a torch that is younger than it; ``UserError`` where that fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import nni.nas.evaluator.pytorch
            import nni.nas.profiler.pytorch.flops
            import nni.nas.strategy  # noqa: F401
    except ImportError as error:
        root = (error.name or "").partition(".")[0]
        missing = isinstance(error, ModuleNotFoundError) and root in ("nni", "pytorch_lightning")
        what = "NNI is not installed here" if missing else f"NNI cannot be imported here ({error})"
        raise UserError(f"{what}: {INSTALL}") from None
    for name in ("nni", "pytorch_lightning", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)


_import_nni()
