"""``python -m stsearch.cli``."""

from stsearch.cli import entry

entry()
