"""``python -m stsearch``, as ``torchrun -m stsearch train ...`` calls it."""

from stsearch.cli import entry

entry()
