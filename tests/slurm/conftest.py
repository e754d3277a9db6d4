"""A real SLURM of two virtual nodes on this machine, for as long as the tests take."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import QUIET, ROOT
from tests.galaxies import write_galaxies

DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
NODES = ("n0", "n1")
# More cores than there are: the tests are about processes, not about speed.
CONFIGURATION = """
ClusterName=galaxy10-tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/controller.pid
SlurmctldLogFile={folder}/controller.log
SlurmdSpoolDir={folder}/spool/%n
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=1,sched_interval=2
ReturnToService=2
JobRequeue=1
SlurmdTimeout=10
MailProg=/bin/true
NodeName=n[0-1] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]}-{ports[2]}] CPUs=4 RealMemory=8000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """The controller, two node daemons and munge, all of it in one folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {**os.environ, **QUIET, "SLURM_CONF": str(folder / "slurm.conf")}
        for name in ("state", "spool", "munge"):
            (folder / name).mkdir(mode=0o700)
        text = CONFIGURATION.format(host=socket.gethostname(), folder=folder, ports=consecutive_ports(3))
        (folder / "slurm.conf").write_text(text)
        key = folder / "munge" / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        munge = self.folder / "munge"
        places = {
            "key-file": "munge.key",
            "socket": "socket",
            "pid-file": "pid",
            "log-file": "log",
            "seed-file": "seed",
        }
        self._run("munged", "--force", *(f"--{option}={munge / name}" for option, name in places.items()))
        self._run("slurmctld", "-c")
        for node in NODES:
            self.start_node(node)
        wait_for(lambda: self.ask("sinfo", "--noheader", "--format=%T").split() == ["idle"], what="two idle nodes")

    def _run(self, *command: str) -> None:
        subprocess.run(command, env=self.environment, check=True, stdout=subprocess.DEVNULL)

    def start_node(self, node: str) -> None:
        self._run("slurmd", "-N", node)

    def kill_node(self, node: str) -> None:
        """Kill a node's daemon; what it has started lives on."""
        os.kill(int((self.folder / f"{node}.pid").read_text()), signal.SIGKILL)

    def ask(self, *command: str) -> str:
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout

    def submit(self, *words: object, cwd: Path, **environment: str) -> str:
        """`sbatch words`, with output to <job>.log or <array>_<task>.log; the job's id."""
        log = "%A_%a.log" if any(str(word).startswith("--array") for word in words) else "%j.log"
        command = ["sbatch", "--parsable", f"--output={log}", "--cpus-per-task=1", *map(str, words)]
        done = subprocess.run(
            command, cwd=cwd, env={**self.environment, **environment}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def about(self, job: str) -> dict[str, str]:
        """What `scontrol show job` says."""
        return dict(re.findall(r"(\w+)=(\S*)", self.ask("scontrol", "show", "job", job)))

    def state(self, job: str) -> str:
        return self.about(job)["JobState"]

    def restart_now(self, job: str, **changes: str) -> None:
        """A requeued job rests for two minutes; here for seconds, since a node refuses what it is still ending."""
        wait_for(lambda: self.state(job) == "PENDING", what=f"job {job} to be requeued")
        time.sleep(3)
        words = [f"{key}={value}" for key, value in {"StartTime": "now", **changes}.items()]
        self.ask("scontrol", "update", f"jobid={job}", *words)

    def ended(self, job: str, timeout: float = 2000) -> str:
        """Wait for a job's end; its state."""
        wait_for(lambda: self.state(job) not in ("PENDING", "RUNNING", "COMPLETING"), timeout, f"job {job} to end")
        return self.state(job)

    def close(self) -> None:
        """End every job and every daemon, by process id."""
        subprocess.run(["scancel", "--user=root"], env=self.environment, check=False)
        gone = time.monotonic() + 20
        while time.monotonic() < gone and self._has_jobs():
            time.sleep(0.2)
        for name in (*(f"{node}.pid" for node in NODES), "controller.pid", "munge/pid"):
            end_process(self.folder / name)

    def _has_jobs(self) -> bool:
        command = ["squeue", "--noheader"]  # says nothing where there is no controller
        return bool(subprocess.run(command, env=self.environment, capture_output=True, check=False).stdout)


def end_process(pid_file: Path) -> None:
    try:
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        return


def consecutive_ports(number: int) -> list[int]:
    """Free ports one after the other, as a range of nodes needs them; below those that systems give away themselves."""
    for first in range(17000, 30000, number):
        sockets = [socket.socket() for _ in range(number)]
        try:
            for offset, one in enumerate(sockets):
                one.bind(("127.0.0.1", first + offset))
            return [first + offset for offset in range(number)]
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
    raise RuntimeError("no free ports")


def wait_for(condition: Callable[[], object], timeout: float = 120, what: str = "it") -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout:.0f} s for {what}"
        time.sleep(0.2)


def missing_daemons() -> list[str]:
    return [name for name in DAEMONS if shutil.which(name) is None]


def name_the_nodes() -> None:
    """Make the nodes known as this machine: the first process of a job is looked for by its node's name."""
    hosts = Path("/etc/hosts")
    if not re.search(r"\bn0\b", hosts.read_text()):
        with hosts.open("a") as file:
            file.write("127.0.0.1 n0 n1\n")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A running SLURM; skips where it is not installed."""
    if missing := missing_daemons():
        pytest.skip(f"no SLURM here ({', '.join(missing)}): apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("SLURM's daemons are started by root")
    name_the_nodes()
    cluster = Slurm(tmp_path_factory.mktemp("slurm"))
    yield cluster
    cluster.close()


EXPERIMENT = (
    "data=hdf5", "data.path=g.h5", "data.batch_size=8", "data.eval_batch_size=7", "model.image_size=32",
    "trainer.accelerator=cpu", "trainer.max_epochs=2", "model.dropout=0", "augment=none", "logger=csv",
)  # fmt: skip


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where jobs are submitted: g.h5, 480 galaxies of 4 classes, and few.h5, 120."""
    path = tmp_path_factory.mktemp("cluster")
    write_galaxies(path / "g.h5", per_class=120, num_classes=4)
    write_galaxies(path / "few.h5", per_class=30, num_classes=4)
    return path


def status(run: Path) -> dict:
    file = run / "status.json"
    return json.loads(file.read_text()) if file.exists() else {}


def task_process(job: str, number: int) -> int:
    """The process id of a job's task: what srun started, and nothing that it has started itself."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            variables = dict(x.split("=", 1) for x in (place / "environ").read_text().split("\0") if "=" in x)
            found = (variables.get("SLURM_JOB_ID"), variables.get("SLURM_PROCID"), variables.get("SLURM_TASK_PID"))
            if "SLURM_ARRAY_TASK_ID" in variables:
                found = ("{SLURM_ARRAY_JOB_ID}_{SLURM_ARRAY_TASK_ID}".format(**variables), *found[1:])
        except (OSError, UnicodeDecodeError):
            continue
        if found == (job, str(number), place.name) and "SLURM_STEP_ID" in variables:
            return int(place.name)
    raise AssertionError(f"job {job} has no task {number}")


TRAIN = ROOT / "slurm" / "train.sbatch"
ARRAY = ROOT / "slurm" / "array.sbatch"
