"""A user's regular expression, tried where it can be ended: some of them never do by themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from stsearch.errors import UserError, WorldError, brief

_SECONDS = 1.0
"""of processor time for one name, so that a busy machine ends none too early"""
_TRIES = """
import json, re, signal, sys

def end(*_):
    raise TimeoutError

signal.signal(signal.SIGPROF, end)
pattern, names, seconds = json.load(sys.stdin)
expression = re.compile(pattern)
found = []
for name in names:
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        match = expression.search(name)
    except TimeoutError:
        break
    found.append(match[1] if match else None)
signal.setitimer(signal.ITIMER_PROF, 0)
json.dump(found, sys.stdout)
"""
"""in a process of its own: no thread can end another that searches, and no signal reaches it in a thread"""


def found_groups(pattern: str, names: Sequence[str]) -> list[str | None]:
    """What the one group of ``pattern`` finds in each of ``names``; ``UserError`` with the one on which it hangs."""
    given = json.dumps([pattern, list(names), _SECONDS])
    done = subprocess.run([sys.executable, "-I", "-S", "-c", _TRIES], input=given, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"signal {-done.returncode}"])[-1]
        raise WorldError(f"data.group: the regular expression {brief(pattern)} could not be tried: {last}")
    found: list[str | None] = json.loads(done.stdout)
    if len(found) < len(names):
        raise UserError(
            f"data.group: {brief(pattern)} does not end within {_SECONDS:g} s on {brief(names[len(found)])} (name "
            f"{len(found) + 1:,} of {len(names):,}). Repeat nothing that repeats, as in '(a+)+'"
        )
    return found
