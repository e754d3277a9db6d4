"""Download pretrained weights from the Hugging Face hub, and find them in this machine's caches."""

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
from galaxy10.files import atomic_write, write_error
from galaxy10.http import DownloadError, download_file, find_unreachable, hostname

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # files of timm's repositories, the better first
START_TIMEOUT_S = 4.0  # without a first byte; a network that drops all packets is found here
STALL_TIMEOUT_S = 10.0  # without a further byte
_PIECE_BYTES = 1 << 16


def hub_cache() -> Path:
    """Return the hub's cache folder, by the environment variables of the hub's own client."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    home = os.environ.get("HF_HOME") or str(_user_cache() / "huggingface")
    return Path(os.path.expandvars(named or os.path.join(home, "hub"))).expanduser()


def torch_cache() -> Path:
    """Return torch.hub's folder of downloaded weights."""
    home = os.environ.get("TORCH_HOME") or str(_user_cache() / "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def cached_file(hub_id: str, names: Iterable[str] = WEIGHT_FILES) -> Path | None:
    """Return a repository's file in the hub's cache, of revision `main` or else the newest; None if not cached."""
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
    """Return the ids of the repositories with weights in the hub's cache."""
    names = [folder.name.removeprefix("models--") for folder in sorted(hub_cache().glob("models--*--*"))]
    return [hub_id for hub_id in (name.replace("--", "/") for name in names) if cached_file(hub_id)]


def torch_cache_files() -> list[str]:
    """Return the names of the files in torch.hub's folder."""
    return sorted(file.name for file in torch_cache().glob("*.pth*"))


def why_hub_unreachable() -> str | None:
    """Return why the hub cannot be reached, within 2 s; None if it can."""
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(variable, "").upper() in {"1", "ON", "YES", "TRUE"}:
            return f"{variable} is set"
    reasons = find_unreachable([_endpoint()])
    return next((f"{hostname(address)}: {reason}" for address, reason in reasons.items()), None)


def fetch_from_hub(
    hub_id: str,
    names: Iterable[str] = WEIGHT_FILES,
    *,
    start_timeout_s: float = START_TIMEOUT_S,
    stall_timeout_s: float = STALL_TIMEOUT_S,
    progress: bool = True,
) -> Path:
    """Download the first of several files that a repository has into the hub's cache, and return its path.

    Of several processes at once, one downloads and the others wait.

    Args:
        start_timeout_s, stall_timeout_s: seconds without a first byte, and without a further byte, before giving up.

    Raises:
        DownloadError: the hub cannot be reached, sends nothing, breaks off, or has no such file.
        Galaxy10Error: the cache cannot be written.
    """
    unreachable_because = why_hub_unreachable()
    if unreachable_because:
        raise DownloadError(unreachable_because)
    repository = _folder(hub_id)
    try:
        locks = hub_cache() / ".locks" / repository.name  # where the hub's client keeps its own
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / "galaxy10.lock"):
            names = list(names)
            found = cached_file(hub_id, names)
            if found is None:
                found = _download_with_timeout(hub_id, names, start_timeout_s, stall_timeout_s, progress)
                _verify(found)
            return found
    except OSError as error:
        raise write_error(repository, error) from error


def fetch_from_url(url: str, *, progress: bool = True) -> Path:
    """Download weights from a URL into torch.hub's folder, and return their path.

    Raises:
        DownloadError: the server cannot be reached, sends nothing, breaks off, or sends another file.
        Galaxy10Error: the folder cannot be written.
    """
    target = torch_cache() / url.rsplit("/", 1)[-1]
    reasons = find_unreachable([url])
    if reasons:
        raise DownloadError(f"{hostname(url)}: {reasons[url]}")
    with atomic_write(target) as part:
        prefix = checksum_from_name(target.name)
        download_file(url, part, checksum=prefix and f"sha256:{prefix}", progress=progress)
    return target


def checksum_from_name(file_name: str) -> str | None:
    """Return the first digits of a file's SHA-256 if its name ends in them, as for torch and timm; else None."""
    digits = file_name.split(".")[0].rpartition("-")[2]
    return digits if len(digits) >= 8 and set(digits) <= set("0123456789abcdef") else None


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _folder(hub_id: str) -> Path:
    return hub_cache() / f"models--{hub_id.replace('/', '--')}"


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _download_with_timeout(
    hub_id: str, names: list[str], start_timeout_s: float, stall_timeout_s: float, progress: bool
) -> Path:
    """Download with the hub's client, and stop waiting when no further byte arrives.

    The client has no such timeout: it retries for up to several minutes. So it runs in a daemon thread, and the size
    of its files shows whether it makes progress.
    """
    repository = _folder(hub_id)
    outcome: list[Path | Exception] = []
    unfinished = set(repository.glob("blobs/*.incomplete"))  # another program's
    thread = Thread(target=_download, args=(hub_id, names, progress, outcome), daemon=True)
    _prepare_client(progress)
    thread.start()
    held, moved, limit = _bytes_in(repository), time.monotonic(), start_timeout_s
    while thread.is_alive():
        thread.join(0.05)
        now = _bytes_in(repository)
        if now > held:  # more than ever before: the client may also start again from zero, for ever
            held, moved, limit = now, time.monotonic(), stall_timeout_s
        elif time.monotonic() - moved > limit and thread.is_alive():
            for part in set(repository.glob("blobs/*.incomplete")) - unfinished:
                part.unlink(missing_ok=True)
            raise DownloadError(f"{hostname(_endpoint())} accepts the connection, but sends nothing for {limit:g} s")
    result = outcome[0]
    if isinstance(result, Path):
        return result
    if isinstance(result, OSError) and result.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
        raise result
    raise DownloadError(f"{hostname(_endpoint())}: {_reason(result, hub_id)}") from result


def _prepare_client(progress: bool) -> None:
    from huggingface_hub.utils.tqdm import disable_progress_bars

    # Xet is a second protocol to other hosts, with timeouts of its own; on a slow line, the client's own pieces of
    # 10 MB take longer than the timeouts above.
    limit_hub_client(_PIECE_BYTES)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its warnings are part of our own message
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
        except Exception as error:  # of any kind; the waiting thread reports it
            # LocalEntryNotFoundError is a subclass, but means that there was no connection.
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                last: Exception = error
                continue
            outcome.append(error)
            return
    outcome.append(last)


def _reason(error: Exception, hub_id: str) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return f"{hub_id} is gated; accept its terms there and log in (`hf auth login`)"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no {hub_id}, or it is private"
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return f"{hub_id} holds no {' or '.join(WEIGHT_FILES)}"
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    if response is not None:
        return f"responds with {response.status_code}"
    return f"the download broke off ({first_line(error)})"


def _bytes_in(folder: Path) -> int:
    """Return the bytes of all files below a folder while another thread writes in it."""
    total = 0
    for directory, _, files in os.walk(folder):
        for file in files:
            try:
                total += os.lstat(os.path.join(directory, file)).st_size
            except OSError:  # gone in the meantime
                continue
    return total


def _verify(file: Path) -> None:
    """Compare a large file's SHA-256 with its name in the cache; delete the file if they differ."""
    from hashlib import file_digest

    blob = file.resolve()
    if len(blob.name) != 64:  # small files have other names
        return
    with blob.open("rb") as data:
        found = file_digest(data, "sha256").hexdigest()
    if found != blob.name:
        file.unlink()
        blob.unlink(missing_ok=True)
        raise DownloadError(f"sent a file with another checksum (sha256 {found[:12]}… instead of {blob.name[:12]}…)")
