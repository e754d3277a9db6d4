"""Reading W&B's own offline file back, and a server that speaks as much of its language as a run needs."""

import gzip
import json
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

HEADER_BYTES, BLOCK_BYTES, RECORD_HEADER = 7, 32768, struct.Struct("<IHB")
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


class LoggedRun:
    """The content of one .wandb file: id, config, history (a dict per row), summary, exit_code (None without one)."""

    def __init__(self, file: Path):
        self.id, self.exit_code, self.artifacts = "", None, []
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        for data in _records(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            self._take(record)

    def _take(self, record: Any) -> None:
        kind = record.WhichOneof("record_type")
        if kind == "run":
            self.id, self.group, self.tags = record.run.run_id, record.run.run_group, list(record.run.tags)
            self.project, self.name = record.run.project, record.run.display_name
            self.config |= {_key(item): json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "config":
            self.config |= {_key(item): json.loads(item.value_json) for item in record.config.update}
        elif kind == "history":
            self.history.append({_key(item): json.loads(item.value_json) for item in record.history.item})
        elif kind == "summary":
            self.summary |= {_key(item): json.loads(item.value_json) for item in record.summary.update}
        elif kind == "exit":
            self.exit_code = record.exit.exit_code
        elif kind == "artifact":
            self.artifacts.append((record.artifact.type, [c.path for c in record.artifact.manifest.contents]))

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """The rows that are an epoch's."""
        return [row for row in self.history if "epoch" in row]

    def logged(self, key: str) -> Any:
        """The last value of a key in the history."""
        return [row[key] for row in self.history if key in row][-1]


def _key(item: Any) -> str:
    return item.key or "/".join(item.nested_key)


def _records(content: bytes) -> Iterator[bytes]:
    """Records of a log laid out as LevelDB's: blocks of 32 KiB that hold whole records or parts of long ones."""
    position, parts = HEADER_BYTES, b""
    while position + RECORD_HEADER.size <= len(content):
        left = BLOCK_BYTES - position % BLOCK_BYTES
        if left < RECORD_HEADER.size:
            position += left
            continue
        _, length, kind = RECORD_HEADER.unpack_from(content, position)
        start = position + RECORD_HEADER.size
        if kind in (WHOLE, FIRST):
            parts = b""
        parts += content[start : start + length]
        if kind in (WHOLE, LAST):
            yield parts
        position = start + length


def logged_runs(run: Path) -> list[LoggedRun]:
    """Every part of a run that lies in its directory, in order of start."""
    folders = sorted((run / "wandb").glob("*run-*"), key=lambda folder: folder.name.removeprefix("offline-"))
    return [LoggedRun(file) for folder in folders for file in folder.glob("*.wandb")]


class WandbServer(ThreadingHTTPServer):
    """Takes runs as W&B's does. What it was told: `history` (rows; `runs`: by run id), `exit_code`, `files` (names
    uploaded).

    Once it is `gone` it hangs (ending="hang"), closes every connection ("drop"), or hangs whenever it is asked for more
    than whether it is there ("stall").
    """

    daemon_threads = True

    def __init__(self, ending: str, gone: bool):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ending, self.gone = ending, gone
        self.history: list[dict[str, Any]] = []
        self.runs: dict[str, list[dict[str, Any]]] = {}
        self.files: list[str] = []
        self.exit_code: int | None = None
        self.released = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.reply({})

    def do_PUT(self) -> None:
        self.body()
        self.server.files.append(self.path)
        self.reply({})

    def do_POST(self) -> None:
        body = json.loads(self.body() or b"{}")
        if self.path != "/graphql":
            if not self.server.gone:
                content = body.get("files", {}).get("wandb-history.jsonl", {}).get("content", [])
                rows = [json.loads(row) for row in content]
                self.server.history += rows
                if rows:
                    self.server.runs.setdefault(self.path.split("/")[-2], []).extend(rows)  # …/<run>/file_stream
                self.server.exit_code = body.get("exitcode", self.server.exit_code)
            self.reply({})
            return
        query, variables = body["query"], body.get("variables") or {}
        if "upsertBucket" in query:
            entity = {"id": "e", "name": "me"}
            bucket = {
                "id": "b",
                "name": variables["name"],
                "displayName": "d",
                "description": "",
                "config": "{}",
                "sweepName": None,
                "historyLineCount": 0,
                "project": {"id": "p", "name": variables["project"], "entity": entity},
            }
            self.reply({"upsertBucket": {"inserted": True, "bucket": bucket}})
        elif "viewer" in query:
            viewer = {"id": "u", "entity": "me", "username": "me", "email": "", "flags": "{}", "teams": {"edges": []}}
            self.reply({"viewer": viewer})
        elif "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.server.address}/{name}"} for name in variables["files"]]
            self.reply({"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}})
        elif "createArtifact(" in query:
            sequence = {"id": "s", "latestArtifact": {"id": "a", "versionIndex": 0}}
            artifact = {"id": "a", "state": "COMMITTED", "artifactSequence": sequence}
            self.reply({"createArtifact": {"artifact": artifact}})
        else:
            self.reply({})

    def body(self) -> bytes:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(content) if self.headers.get("Content-Encoding") == "gzip" else content

    def reply(self, data: dict[str, Any]) -> None:
        self.close_connection = True
        if self.server.gone and not (self.server.ending == "stall" and self.command == "GET"):
            if self.server.ending in ("hang", "stall"):
                self.server.released.wait(120)
            return
        content = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def wandb_server(ending: str = "drop", gone: bool = False) -> Iterator[WandbServer]:
    """A server that runs as long as the block."""
    server = WandbServer(ending, gone)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
