"""Many workers on one study on PostgreSQL whose connections are cut again and again, and whose server restarts.

    python tests/benchmarks/cut_connections.py postgresql://root@127.0.0.1:5433/cuts --workers 16 --trials 500 \
        --every 1.5 --restart "pg_ctl -D FOLDER -m fast restart"

The database must be empty and of nobody else. Each worker is a process of its own, as on a machine of its own; a
trial takes ``--seconds``, with no training. Says what came of it as JSON; exit code 1 where a worker failed, a network
was trained twice or one is missing.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import make_url

EVALUATOR = """
import hashlib, time
from typing import Annotated, Literal
from pydantic import Field
from stsearch.schema import Strict
from stsearch.evaluate.evaluators import EVALUATORS, Evaluator, mean_of
from stsearch.evaluate.replay import Recorded

class Recipe(Strict):
    name: Literal["simulated"]
    seconds: Annotated[float, Field(ge=0)] = 0.0
    repeats: int = 1

def evaluate(task, on_epoch):
    name = task.architecture.id
    found = 50 + 30 * int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32 + 3 * name.count("3d")
    time.sleep(task.recipe.seconds)
    recorded = Recorded(
        seed=0, clip_top1=(found,), train_loss=(1.0,), lr=(0.1,), video_top1=found, video_top5=100.0,
        per_class=(found, found), loss_sum=1.5, seconds=0.01, clips_per_second=1.0, clips=10,
    )
    return mean_of((recorded.training(),), (0,), "simulated")

if "simulated" not in EVALUATORS:
    EVALUATORS.add("simulated", Evaluator(Recipe, evaluate))
"""
SPACE = """
name: simulated
block: basic
stem: {kind: [2d, 3d, 2plus1d]}
stages:
  conv2_x: {kind: [2d, 3d, 2plus1d], depth: [1, 2, 3]}
  conv3_x: {kind: [2d, 3d, 2plus1d], depth: [1, 2, 3]}
  conv4_x: {kind: [2d, 3d, 2plus1d], depth: [1, 2, 3]}
  conv5_x: {kind: [2d, 3d, 2plus1d], depth: [1, 2, 3]}
plugins: [simulated]
"""
STUDY = """
space: space.yaml
target: {frames: 16, size: 112}
proxy: {frames: 4, size: 16, width: 0.125}
data: {name: motions, classes: 2, clips: 16, val_clips: 10}
search: {start_with: none}
engine: {workers: 1}
"""


def worker(arguments: list[str], log: Path) -> int:
    """A copy of this process, which has imported everything, runs the command line; its number."""
    pid = os.fork()
    if pid:
        return pid
    code: Any = 99
    with log.open("wb") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    sys.argv = ["stsearch", *arguments]
    try:
        from stsearch.cli import entry

        entry()
        code = 0
    except SystemExit as end:
        code = 0 if end.code is None else end.code
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


def cut(plain: str, rng: random.Random) -> int:
    """Cut half of the connections to this database; how many."""
    try:
        with psycopg.connect(plain, autocommit=True, connect_timeout=3) as killer:
            query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            chosen = [row[0] for row in killer.execute(query) if rng.random() < 0.5]
            for pid in chosen:
                killer.execute("SELECT pg_terminate_backend(%s)", [pid])
            return len(chosen)
    except psycopg.Error:
        return 0  # the server is away


def watch(pids: list[int], asked: argparse.Namespace, plain: str) -> tuple[dict[int, int], int, int]:
    """Cut and restart until all workers have ended: exit codes, cuts and restarts."""
    rng, codes, cuts, restarts = random.Random(1), dict[int, int](), 0, 0
    next_cut, next_restart = time.monotonic() + asked.first, time.monotonic() + asked.first + 5
    until = time.monotonic() + asked.limit
    while len(codes) < len(pids) and time.monotonic() < until:
        for pid in set(pids) - set(codes):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                codes[pid] = os.waitstatus_to_exitcode(status)
        if time.monotonic() > next_cut and asked.every:
            cuts += cut(plain, rng)
            next_cut = time.monotonic() + asked.every
        if asked.restart and restarts < asked.restarts and time.monotonic() > next_restart:
            os.system(f"({asked.restart}) > /dev/null 2>&1")  # noqa: S605 - the user's own command
            restarts, next_restart = restarts + 1, time.monotonic() + 15
        time.sleep(0.05)
    for pid in set(pids) - set(codes):
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        codes[pid] = -9
    return codes, cuts, restarts


def main() -> int:
    """Run it and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("storage")
    for name, kind, default in (
        ("workers", int, 16), ("trials", int, 500), ("every", float, 1.5), ("seconds", float, 0.2),
        ("first", float, 10.0), ("limit", float, 900.0), ("restarts", int, 2),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=kind, default=default)
    parser.add_argument("--restart", default="", help="shell command that restarts the server")
    parser.add_argument("--sampler", default="random")
    asked = parser.parse_args()
    plain = make_url(asked.storage).set(drivername="postgresql").render_as_string(hide_password=False)
    folder = Path(tempfile.mkdtemp(prefix="cuts-"))
    os.chdir(folder)
    os.environ["STSEARCH_CACHE"] = str(folder / "cache")
    for name, text in (("simulated.py", EVALUATOR), ("space.yaml", SPACE)):
        Path(name).write_text(text)
    Path("cuts.yaml").write_text(f"{STUDY}evaluate: {{name: simulated, seconds: {asked.seconds}}}\n")
    import stsearch.cli
    import stsearch.report.live
    import stsearch.search.engine
    import stsearch.search.session  # noqa: F401 - once for all workers

    begun = time.monotonic()
    arguments = ["run", "cuts.yaml", "--quiet", "--storage", asked.storage]
    arguments += [f"--set=search.trials={asked.trials}", f"--set=search.sampler={asked.sampler}"]
    logs = [folder / f"{number}.log" for number in range(asked.workers)]
    codes, cuts, restarts = watch([worker(arguments, log) for log in logs], asked, plain)
    from stsearch.search.attributes import ARCHITECTURE
    from stsearch.search.reading import read_study

    stored = read_study("cuts.yaml", asked.storage)
    names = [found[ARCHITECTURE] for found in stored.attributes([ARCHITECTURE], stored.complete)]
    last = [log.read_text(errors="replace").strip().splitlines()[-1:] for log in logs]
    report = {
        "seconds": round(time.monotonic() - begun, 1),
        "cuts": cuts,
        "restarts": restarts,
        "exit_codes": dict(collections.Counter(codes.values())),
        "complete": len(names),
        "distinct": len(set(names)),
        "trials": len(stored.numbers),
        "tracebacks": sum("Traceback" in log.read_text(errors="replace") for log in logs),
        "last_lines": [lines[0][:200] for lines, code in zip(last, codes.values(), strict=True) if lines and code][:5],
        "logs": str(folder),
    }
    print(json.dumps(report, indent=2))
    return int(set(codes.values()) != {0} or len(set(names)) != len(names) or len(names) < asked.trials)


if __name__ == "__main__":
    sys.exit(main())
