"""The graph on a Slurm of this host: a job and a node are ended on the way, and the records are those of one machine."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from workflow import slurm

ROOT = Path(__file__).parents[1]
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
MISSING = [name for name in slurm.NEEDED if not shutil.which(name, path=PATH)]
MISSING += [name for name in ["snakemake_executor_plugin_slurm"] if not importlib.util.find_spec(name)]


@pytest.mark.nightly
@pytest.mark.skipif(bool(MISSING), reason=f"no Slurm here: {', '.join(MISSING)} not found (docs/clusters.md)")
def test_a_lost_job_and_a_lost_node_leave_the_records_as_they_are_on_one_machine():
    command = (sys.executable, "-m", "workflow.slurm")
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    version, job, node, *places = ended.stdout.splitlines()
    assert version.startswith("slurm")
    assert re.match(r"cancelled: job \d+ on node (one|two), rule_train_.*teacher", job)
    assert re.match(r"killed: node (one|two) with job \d+, rule_train_.*student", node)
    assert [line.split()[-1] for line in places] == ["equal"] * len(slurm.RUNS)


def test_a_missing_program_is_named_with_its_remedy(monkeypatch, capsys):
    monkeypatch.setenv("PATH", PATH)  # put back at the end
    monkeypatch.setattr(shutil, "which", lambda name: None if name in ("slurmd", "munged") else name)
    with pytest.raises(SystemExit):
        slurm.main()
    said = capsys.readouterr().err
    assert said == "serlib: munged, slurmd not found: apt-get install munge slurmctld slurmd slurm-client\n"
