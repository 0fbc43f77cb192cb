"""The engine of a Slurm cluster: real jobs of submitit here, around a real PostgreSQL; Slurm's own script."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from optuna.trial import TrialState
from submitit.slurm.slurm import _make_sbatch_string

from stsearch.errors import SpecError
from stsearch.search.attributes import ARCHITECTURE
from stsearch.search.engines import SlurmEngine
from stsearch.search.reading import read_study
from stsearch.search.session import open_session
from stsearch.search.spec import load_study
from stsearch.search.state import State
from stsearch.search.storage import open_study
from stsearch.search.worker import work
from tests.conftest import Cli, awaited

pytestmark = pytest.mark.slow
HERE = "engine={name: slurm, where: here, workers: 2}"


def networks(url: str) -> list[str]:
    trials = open_study("tiny", url).get_trials(states=(TrialState.COMPLETE,))
    return [trial.user_attrs[ARCHITECTURE] for trial in trials]


def test_jobs_train_a_study_and_its_front_is_shown(tiny: Path, postgres: str, cli: Cli) -> None:
    done = cli("run", str(tiny), "--set", HERE, "--set", "search.trials=6", "--storage", postgres, timeout=400)
    assert done.returncode == 0, done.stderr
    assert re.search(r"note: 2 jobs: \d+, \d+; their logs are in studies/tiny\.jobs\n", done.stderr)
    assert "[6/6] front so far" in done.stderr
    assert len(set(networks(postgres))) == len(networks(postgres)) == 6
    assert "Next:" in done.stdout


def test_ctrl_c_cancels_the_jobs_and_any_engine_goes_on(tiny: Path, postgres: str) -> None:
    command = [sys.executable, "-m", "stsearch.cli", "run", str(tiny), "--set", HERE, "--storage", postgres]
    command += ["--set=search.trials=6", "--set=data.clips=120"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def at_work() -> list[int]:
        stored = read_study("tiny", postgres)
        return [one["worker"]["pid"] for one in stored.attributes(["worker"], stored.rows(State.RUNNING)) if one]

    pids = awaited(process, at_work) or []
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 130, errors
    assert "the same command goes on" in errors
    for pid in pids:
        ended = subprocess.run(["tail", "-f", "/dev/null", f"--pid={pid}"], timeout=200, check=False)
        assert ended.returncode == 0
    work(open_session(load_study(str(tiny), ["search.trials=6", "data.clips=120"], postgres), print), print)
    assert len(set(networks(postgres))) == len(networks(postgres)) == 6


def test_jobs_that_all_fail_are_told_with_the_end_of_a_log(tiny: Path, clips: Path, postgres: str, cli: Cli) -> None:
    """The videos are there for who submits and not for the jobs, as on a node without the disk."""
    settings = ["--set", HERE, "--set", f"data={{name: folder, path: {clips}}}", "--storage", postgres]
    once = cli("run", str(tiny), *settings, "--set", "search.trials=1", timeout=400)
    assert once.returncode == 0, once.stderr
    hidden = "import os\nif 'SUBMITIT_EXECUTOR' in os.environ and os.path.exists(os.environ['GONE']):\n    "
    hidden += "os.rename(os.environ['GONE'], os.environ['GONE'] + '.away')\n"
    site = Path("site")
    site.mkdir()
    (site / "sitecustomize.py").write_text(hidden)
    path = os.pathsep.join([str(site.resolve()), os.environ.get("PYTHONPATH", "")])
    done = cli("run", str(tiny), *settings, timeout=400, GONE=str(clips), PYTHONPATH=path)
    assert done.returncode == 1, done.stderr
    assert "all jobs have ended, and 3 trainings are left; job" in done.stderr
    assert "Traceback" not in done.stderr.split("its log")[0]


@pytest.mark.parametrize(
    ("storage", "line"),
    [
        (None, "storage: jobs of slurm run on several machines, so it is a database server"),
        ("sqlite:////shared/mine.db", "storage: jobs of slurm run on several machines, so it is a database server"),
        ("postgresql://me:hush@db.example/stsearch", "jobs of slurm are kept in files, so the URL has no password"),
    ],
)
def test_what_the_storage_of_jobs_is(tiny: Path, storage: str | None, line: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_study(str(tiny), ["engine={name: slurm}"], storage)
    assert line in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("engine", ["slurm", "ray"])
@pytest.mark.parametrize(
    "storage",
    [
        "postgresql://stsearch:stsearch@db.example/x",
        "postgresql://me:db.example@db.example/x",
        "mysql://me:x@db.example/x",
        "postgresql://me@db.example/x?password=me",
        "postgresql://me@db.example/x?sslpassword=x",
        "postgresql://me:x@db.example/x?passfile=/home/me/.pgpass",
    ],
)
def test_a_password_is_refused_whatever_it_is(tiny: Path, engine: str, storage: str) -> None:
    with pytest.raises(SpecError, match="so the URL has no password"):
        load_study(str(tiny), [f"engine={{name: {engine}}}"], storage)


@pytest.mark.parametrize("engine", ["slurm", "ray"])
@pytest.mark.parametrize(
    "storage",
    [
        "mysql://me@db.example/x?read_default_file=~/.my.cnf",
        "mysql://me@db.example/x?ssl_ca=/etc/ca.pem&ssl_cert=/etc/me.pem&ssl_key=/etc/me.key",
        "postgresql://me@db.example/x?passfile=/home/me/.pgpass&sslmode=verify-full",
        "postgresql://me@db.example/x?sslrootcert=/etc/ca.pem&sslcert=/etc/me.crt&sslkey=/etc/me.key",
    ],
)
def test_the_file_of_a_password_may_be_named(tiny: Path, engine: str, storage: str) -> None:
    assert load_study(str(tiny), [f"engine={{name: {engine}}}"], storage).storage_url == storage


def test_faults_of_the_section_have_their_paths(tiny: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_study(
            str(tiny), ["engine={name: slurm, minutes: 0, partion: gpu}", "seed=-1"], "postgresql://db.example/x"
        )
    text = str(caught.value)
    assert "engine.minutes" in text
    assert "engine.partion" in text
    assert "partition" in text
    assert "seed" in text
    with pytest.raises(SpecError, match=r"engine\.name: unknown engine 'slrum'.*'slurm'"):
        load_study(str(tiny), ["engine.name=slrum"])


def test_without_slurm_one_line_says_so(tiny: Path, postgres: str, cli: Cli) -> None:
    done = cli("run", str(tiny), "--set", "engine={name: slurm}", "--storage", postgres)
    assert done.returncode == 2
    assert 'Could not detect "srun"' in done.stderr
    assert "where: here" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_script_that_sbatch_gets(tmp_path: Path) -> None:
    """Golden: made by submitit of what the section says."""
    engine = SlurmEngine(partition="video", minutes=90, gpus=1, memory_gb=32, threads=4, setup=["module load cuda"])
    script = _make_sbatch_string("python worker", tmp_path, job_name="stsearch-mine", **engine.parameters)  # type: ignore[arg-type]
    lines = [line for line in script.splitlines() if line.startswith(("#SBATCH", "module", "#!"))]
    assert lines == [
        "#!/bin/bash",
        "#SBATCH --cpus-per-task=5",
        f"#SBATCH --error={tmp_path}/%j_0_log.err",
        "#SBATCH --gpus-per-node=1",
        "#SBATCH --job-name=stsearch-mine",
        "#SBATCH --mem=32GB",
        "#SBATCH --nodes=1",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --open-mode=append",
        f"#SBATCH --output={tmp_path}/%j_0_log.out",
        "#SBATCH --partition=video",
        "#SBATCH --signal=USR2@90",
        "#SBATCH --time=90",
        "#SBATCH --wckey=submitit",
        "module load cuda",
    ]
