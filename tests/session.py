"""What the processes of one test session share, and what the session has cost: a line at its end.

The session's first process (xdist's controller, or the only one) makes the folder that all share and starts the warm
process; xdist's workers find them through the environment.
"""

import os
import resource
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.warm import WarmServer

FOLDER, COUNT = "GALAXY10_TEST_SESSION", "COUNT_TORCH_IMPORTS"


class Session:
    """The plugin of a session's first process. max_torch_imports: more of them fail the session."""

    def __init__(self, max_torch_imports: int | None) -> None:
        self.limit = max_torch_imports
        self.folder = Path(tempfile.mkdtemp(prefix="galaxy10-tests-"))
        os.environ |= {FOLDER: str(self.folder), COUNT: str(self.folder / "torch_imports")}
        hook = str(Path(__file__).with_name("torch_imports"))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [hook, os.environ.get("PYTHONPATH")]))
        import tests.torch_imports.sitecustomize  # noqa: F401 - this process is counted, too

        self.server = WarmServer(self.folder)
        self.cost = ""

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.server.close()
        count = Path(os.environ[COUNT])
        importers = count.read_text().splitlines() if count.exists() else []
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        seconds = sum(usage.ru_utime + usage.ru_stime for usage in used)
        self.cost = f"{len(importers)} processes imported torch; {seconds:.0f} s of CPU time"
        if self.limit is not None and len(importers) > self.limit:
            self.cost = "\n".join([*importers, f"{self.cost}: more than {self.limit} processes imported torch"])
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_line(self.cost)

    def pytest_unconfigure(self) -> None:
        self.server.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def shared_folder() -> Path:
    """The folder that all processes of this session see, and that goes with it."""
    return Path(os.environ[FOLDER])
