"""Pretrained weights on the Hugging Face hub, and what this machine's caches already hold of it."""

import errno
import logging
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from threading import Thread

from filelock import FileLock

from galaxy10.compat import limit_hub_client
from galaxy10.errors import first_line
from galaxy10.files import disk_error, replacing
from galaxy10.http import DownloadError, fetch, host_of, unreachable

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # what timm's repositories hold, the better first
ANSWER_S = 4.0  # how long the hub may be silent at first: a network that swallows everything shows here
STALL_S = 10.0  # … and in the middle of a file
_PIECE_BYTES = 1 << 16


def hub_cache() -> Path:
    """The hub's cache folder, by the same environment variables as its own client."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    home = os.environ.get("HF_HOME") or str(_user_cache() / "huggingface")
    return Path(os.path.expandvars(named or os.path.join(home, "hub"))).expanduser()


def torch_cache() -> Path:
    """torch.hub's folder of downloaded weights."""
    home = os.environ.get("TORCH_HOME") or str(_user_cache() / "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def cached_file(hub_id: str, names: Iterable[str] = WEIGHT_FILES) -> Path | None:
    """A file of a repository in the hub's cache: of the revision `main` points at, else of the newest there is."""
    repository = _folder(hub_id)
    main = repository / "refs" / "main"
    revision = main.read_text().strip() if main.is_file() else ""
    snapshots = sorted((repository / "snapshots").glob("*/"), key=lambda f: (f.name == revision, f.stat().st_mtime))
    for snapshot in reversed(snapshots):
        for name in names:
            if (snapshot / name).is_file():  # follows the link: false where its blob is gone
                return snapshot / name
    return None


def cached_weights() -> list[str]:
    """The ids of the repositories in the hub's cache that weights lie in."""
    names = [folder.name.removeprefix("models--") for folder in sorted(hub_cache().glob("models--*--*"))]
    return [hub_id for hub_id in (name.replace("--", "/") for name in names) if cached_file(hub_id)]


def torch_files() -> list[str]:
    """The names of the files in torch.hub's folder."""
    return sorted(file.name for file in torch_cache().glob("*.pth*"))


def hub_closed() -> str | None:
    """Why the hub cannot be reached, found in 2 s at most; None where it can."""
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(variable, "").upper() in {"1", "ON", "YES", "TRUE"}:
            return f"{variable} is set"
    reasons = unreachable([_endpoint()])
    return next((f"{host_of(address)}: {reason}" for address, reason in reasons.items()), None)


def fetch_from_hub(
    hub_id: str,
    names: Iterable[str] = WEIGHT_FILES,
    *,
    answer_s: float = ANSWER_S,
    stall_s: float = STALL_S,
    progress: bool = True,
) -> Path:
    """The first of a repository's files that it has, downloaded into the hub's cache.

    Several processes may ask at once: one downloads, the others wait.

    Args:
        answer_s, stall_s: how long the hub may be silent at first, and in the middle of a file, seconds.

    Raises:
        DownloadError: the hub cannot be reached, is silent, breaks off, or has no such file.
        Galaxy10Error: the cache cannot be written.
    """
    closed = hub_closed()
    if closed:
        raise DownloadError(closed)
    repository = _folder(hub_id)
    try:
        locks = hub_cache() / ".locks" / repository.name  # where the client has its own
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / "galaxy10.lock"):
            names = list(names)
            found = cached_file(hub_id, names)
            if found is None:
                found = _watched(hub_id, names, answer_s, stall_s, progress)
                _verify(found)
            return found
    except OSError as error:
        raise disk_error(repository, error) from error


def fetch_from_url(url: str, *, progress: bool = True) -> Path:
    """Weights that lie at a plain address, downloaded into torch.hub's folder.

    Raises:
        DownloadError: it cannot be reached, is silent, breaks off, or sends something else.
        Galaxy10Error: the folder cannot be written.
    """
    target = torch_cache() / url.rsplit("/", 1)[-1]
    closed = unreachable([url])
    if closed:
        raise DownloadError(f"{host_of(url)}: {closed[url]}")
    with replacing(target) as part:
        prefix = checksum_in(target.name)
        fetch(url, part, checksum=prefix and f"sha256:{prefix}", progress=progress)
    return target


def checksum_in(file_name: str) -> str | None:
    """The first digits of the file's sha256, where its name ends in them as torch's and timm's weights do."""
    digits = file_name.split(".")[0].rpartition("-")[2]
    return digits if len(digits) >= 8 and set(digits) <= set("0123456789abcdef") else None


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _folder(hub_id: str) -> Path:
    return hub_cache() / f"models--{hub_id.replace('/', '--')}"


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _watched(hub_id: str, names: list[str], answer_s: float, stall_s: float, progress: bool) -> Path:
    """Download with the hub's client, and stop waiting once nothing moves.

    The client cannot be told to give up: it repeats what failed for up to several minutes. So it works in a daemon
    thread, and its files show whether it gets anywhere.
    """
    repository = _folder(hub_id)
    outcome: list[Path | Exception] = []
    unfinished = set(repository.glob("blobs/*.incomplete"))  # another program's
    thread = Thread(target=_download, args=(hub_id, names, progress, outcome), daemon=True)
    _prepare_client(progress)
    thread.start()
    held, moved, limit = _bytes_in(repository), time.monotonic(), answer_s
    while thread.is_alive():
        thread.join(0.05)
        now = _bytes_in(repository)
        if now > held:  # more than ever: the client also begins again from nothing, without end
            held, moved, limit = now, time.monotonic(), stall_s
        elif time.monotonic() - moved > limit and thread.is_alive():
            for part in set(repository.glob("blobs/*.incomplete")) - unfinished:
                part.unlink(missing_ok=True)
            raise DownloadError(f"{host_of(_endpoint())} accepts the connection, but nothing new comes for {limit:g} s")
    result = outcome[0]
    if isinstance(result, Path):
        return result
    if isinstance(result, OSError) and result.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
        raise result
    raise DownloadError(f"{host_of(_endpoint())}: {_reason(result, hub_id)}") from result


def _prepare_client(progress: bool) -> None:
    from huggingface_hub.utils import disable_progress_bars

    # Xet is a second protocol to other hosts, with waiting times of its own; the client's own pieces of 10 MB take
    # longer than the patience above on a slow line.
    limit_hub_client(_PIECE_BYTES)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its warnings come again as our one line
    if not (progress and sys.stderr.isatty()):
        disable_progress_bars()


def _download(hub_id: str, names: list[str], progress: bool, outcome: list[Path | Exception]) -> None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for name in names:
        try:
            file = hf_hub_download(hub_id, name, cache_dir=hub_cache(), endpoint=_endpoint(), library_name="galaxy10")
            outcome.append(Path(file))
            return
        except Exception as error:  # whatever it is, it is told in the thread that waits
            # The second is a kind of the first but says that there was no connection.
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                last: Exception = error
                continue
            outcome.append(error)
            return
    outcome.append(last)


def _reason(error: Exception, hub_id: str) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return f"{hub_id} wants you to accept its terms there and log in (`hf auth login`)"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no {hub_id}, or it is private"
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return f"{hub_id} holds no {' or '.join(WEIGHT_FILES)}"
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    if response is not None:
        return f"answers {response.status_code}"
    return f"the download broke off ({first_line(error)})"


def _bytes_in(folder: Path) -> int:
    """Bytes of all files below a folder that another thread writes in."""
    total = 0
    for directory, _, files in os.walk(folder):
        for file in files:
            try:
                total += os.lstat(os.path.join(directory, file)).st_size
            except OSError:  # gone in the meantime
                continue
    return total


def _verify(file: Path) -> None:
    """Compare a large file with its own name in the cache, which is its sha256; remove it where they differ."""
    from hashlib import file_digest

    blob = file.resolve()
    if len(blob.name) != 64:  # small files are named otherwise
        return
    with blob.open("rb") as data:
        found = file_digest(data, "sha256").hexdigest()
    if found != blob.name:
        file.unlink()
        blob.unlink(missing_ok=True)
        raise DownloadError(f"sent a file with another checksum (sha256 {found[:12]}… instead of {blob.name[:12]}…)")
