"""``python -m workflow.slurm``: runs the graph on a temporary Slurm cluster, and compares it with a run without Slurm.

Starts munge, slurmctld and two slurmd in a temporary folder, all on this host and under this user. Trains a smoke corpus of
synthetic speech through workflow/profiles/slurm, and ends one job and one node on the way. Exit status 0 means: all records
have the digests of the local run. Needs ``apt-get install munge slurmctld slurmd slurm-client`` and the extra ``slurm``.
"""

import getpass
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import psutil

from serlib import records
from workflow.graph import stop

T = TypeVar("T")
ROOT = Path(__file__).parents[1]
NEEDED = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "squeue", "scancel", "scontrol")
NODES = ("one", "two")
RUNS = ("teacher", "student-pooled")
SCHEDULE = "synthetic"
CONFIGURATION = """
ClusterName=smoke
SlurmctldHost=localhost
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SlurmdTimeout=10
KillWait=2
MpiDefault=none
NodeName=one NodeHostname=localhost Port={one} CPUs=1 RealMemory=16000
NodeName=two NodeHostname=localhost Port={two} CPUs=1 RealMemory=16000
PartitionName=main Nodes=one,two Default=YES
"""


def main() -> int:
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if missing := [name for name in NEEDED if not shutil.which(name)]:
        stop(f"{', '.join(missing)} not found: apt-get install munge slurmctld slurmd slurm-client")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the exit ends every process that was started
    with TemporaryDirectory(prefix="slurm-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # munge requires it
        smoke = synthesize(folder / "smoke")
        with cluster(folder) as started:
            by_slurm = graph(
                folder / "by-slurm", smoke, "workflow/profiles/slurm", *SLURM, "--slurm-logdir", f"{folder}/logs"
            )
            started.append(by_slurm)
            lost = [end_job(folder, by_slurm), end_node(folder, by_slurm)]
            by_slurm.wait()
            ended(folder / "by-slurm", by_slurm)
        local = graph(folder / "alone", smoke, "workflow/profiles/default", "--cores", "1")
        local.wait()
        ended(folder / "alone", local)
        print(slurm("slurmctld", "-V").strip(), *lost, sep="\n")
        equal = True
        for place in places():
            digests = [records.read(folder / build / place).result for build in ("alone", "by-slurm")]
            equal &= digests[0] == digests[1]
            print(place, *digests, "equal" if digests[0] == digests[1] else "DIFFERENT")
    return 0 if equal else 1


SLURM = ("--slurm-no-account", "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "5")


def places() -> list[str]:
    """The records that both graphs must make."""
    return ["build/runs/" + records.location("recordings", "emodb", SCHEDULE, "random", 0, run, 0) for run in RUNS]


def synthesize(folder: Path) -> Path:
    """Make the synthetic miniature of EmoDB, and keep every second file."""
    from workflow import synthetic

    synthetic.make_corpus("emodb", folder)
    for i, path in enumerate(sorted(folder.rglob("*.wav"))):
        if i % 2:
            path.unlink()
    return folder


def graph(folder: Path, data: Path, profile: str, *options: str) -> subprocess.Popen:
    """Start Snakemake in a new folder with links to the checkout's sources."""
    folder.mkdir()
    for path in ROOT.iterdir():
        if path.name == "_config.yml" or (path.name[0] not in "._" and path.name != "build"):
            (folder / path.name).symlink_to(path)
    chosen = ("--config", "corpus=emodb", f"data={data}", f"schedule={SCHEDULE}")
    command = (sys.executable, "-m", "snakemake", "--workflow-profile", profile, *options, *chosen, "--", *places())
    with folder.with_name(f"{folder.name}.log").open("w") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)


def ended(folder: Path, process: subprocess.Popen) -> None:
    """Print the log and stop if a graph has ended with a failure."""
    if process.poll():
        sys.stderr.write(folder.with_name(f"{folder.name}.log").read_text())
        for path in sorted(folder.glob("build/logs/*.log")):
            sys.stderr.write(f"{path.name}: {path.read_text()}")
        stop(f"the graph of {folder.name} ended with exit status {process.returncode}")


@contextmanager
def cluster(folder: Path) -> Iterator[list[subprocess.Popen]]:
    """Run munge, a controller and two nodes; the end of the block ends them, and every process added to the list."""
    port = 20_000 + os.getpid() % 10_000 * 3
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    numbers = {"port": port, "one": port + 1, "two": port + 2}
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder, user=getpass.getuser(), **numbers))
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
    os.environ["SLURM_CONF"] = f"{folder}/slurm.conf"
    srun = folder / "bin/srun"  # the plugin takes SLURM_CONF from srun's environment
    srun.parent.mkdir()
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)
    os.environ["PATH"] = f"{srun.parent}:{os.environ['PATH']}"
    files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    commands = [("munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *files)]
    commands += [("slurmctld", "-D", "-c"), *(("slurmd", "-D", "-N", node) for node in NODES)]
    started = []
    try:
        for command in commands:
            with (folder / f"{command[0]}-{command[-1]}.out".replace("/", "-")).open("w") as log:
                started.append(subprocess.Popen(command, stdout=log, stderr=log))
            if command[0] == "munged":
                wait((folder / "munge.socket").exists, "munge")
        wait(lambda: slurm("sinfo", "--noheader", "--format=%t %D").split() == ["idle", "2"], "two idle nodes")
        yield started
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


def wait(met: Callable[[], T], what: str, seconds: int = 1200) -> T:
    """Wait until ``met`` returns something true, and return that; stop after ``seconds``."""
    for _ in range(seconds * 5):
        if result := met():
            return result
        time.sleep(0.2)
    stop(f"waited {seconds} s for {what}")


def training(run: str = "") -> list[list[str]]:
    """Number, node and comment of each running training job; the comment names the rule and its wildcards."""
    lines = slurm("squeue", "--noheader", "--states=RUNNING", "--format=%i|%N|%k").splitlines()
    return [line.split("|") for line in lines if "rule_train" in line and f"_{run}" in line]


def end_job(folder: Path, process: subprocess.Popen) -> str:
    """Cancel the first job that has finished an epoch; Snakemake restarts it, and it resumes from that epoch."""

    def met() -> list[list[str]]:
        ended(folder / "by-slurm", process)
        unfinished = [path.name.split("-seed")[0] for path in folder.rglob("by-slurm/build/runs/**/*.state")]
        return [job for run in unfinished for job in training(run)]

    (number, node, comment), *_ = wait(met, "a job that has finished an epoch")
    slurm("scancel", number)
    return f"cancelled: job {number} on node {node}, {comment}"


def end_node(folder: Path, process: subprocess.Popen) -> str:
    """Kill the daemon and all processes of a node that trains; Slurm then gives its job to the other node."""
    met = lambda: ended(folder / "by-slurm", process) or training("student")  # noqa: E731
    (number, node, comment), *_ = wait(met, "the student's job")
    for node_process in psutil.process_iter(["environ", "cmdline"]):
        command = " ".join(node_process.info["cmdline"] or ())
        on_node = (node_process.info["environ"] or {}).get("SLURMD_NODENAME") == node
        if on_node or command.endswith(f"slurmd -D -N {node}") or f"slurmstepd: [{number}." in command:
            with suppress(psutil.NoSuchProcess):
                node_process.kill()
    wait(lambda: "down" in slurm("sinfo", "--noheader", f"--nodes={node}", "--format=%T"), f"node {node} to be missed")
    return f"killed: node {node} with job {number}, {comment}"


if __name__ == "__main__":
    raise SystemExit(main())
