"""Kill ``stsearch run`` while it makes its database, and see that the same command goes on.

``python -m tests.benchmarks.kills_at_creation --kills 33 STUDY.yaml URL...``; every URL must be that of an empty
database, on a server one that may be used for this alone. Kills are spread over ``--from`` to ``--to`` seconds after
the start; then the same command has to come to its end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import sqlalchemy


def emptied(url: str) -> None:
    """No table is left, and no file."""
    place = sqlalchemy.make_url(url)
    if place.get_backend_name() == "sqlite":
        for left in Path(str(place.database)).parent.glob(f"{Path(str(place.database)).name}*"):
            left.unlink()
        return
    engine = sqlalchemy.create_engine(url)
    if place.get_backend_name() == "postgresql":  # its types are no tables
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("DROP SCHEMA public CASCADE"))
            connection.execute(sqlalchemy.text("CREATE SCHEMA public"))
        engine.dispose()
        return
    held = sqlalchemy.MetaData()
    held.reflect(engine)
    held.drop_all(engine)
    engine.dispose()


def main() -> int:
    """Returns 1 if any study did not go on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=33)
    parser.add_argument("--from", dest="begin", type=float, default=0.0)
    parser.add_argument("--to", dest="end", type=float, default=6.0)
    parser.add_argument("study")
    parser.add_argument("urls", nargs="+")
    asked = parser.parse_args()
    bad = 0
    for url in asked.urls:
        for number in range(asked.kills):
            emptied(url)
            command = [sys.executable, "-m", "stsearch.cli", "run", asked.study, "--storage", url, "--quiet"]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(asked.begin + (asked.end - asked.begin) * number / asked.kills)
            process.kill()
            process.wait()
            again = subprocess.run(command, capture_output=True, text=True)
            if again.returncode:
                bad += 1
                print(f"{url} kill {number}: exit {again.returncode}: {again.stderr[-500:]}")
        print(f"{url}: {asked.kills} kills", flush=True)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
