"""Download pretrained weights from the Hugging Face hub, and find them in this machine's caches."""

import errno
import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from galaxy10.errors import Galaxy10Error, first_line
from galaxy10.files import write_error
from galaxy10.http import DownloadError, find_unreachable, hostname
from galaxy10.retries import StallError, TransientError, retry, status_error
from galaxy10.transfer import download_file, exclusive, own_part

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # files of timm's repositories, the better first
SETTINGS_FILES = ("config.json",)  # architecture and input of the weights beside it
_ADDRESS = re.compile(r"hf[_-]hub:")
START_TIMEOUT_S = 4.0  # without an answer; a network that drops all packets is found here
TIMEOUT_S = 10.0  # without a first or a further byte of the file


def hub_cache() -> Path:
    """Return the hub's cache folder, by the environment variables of the hub's own client."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    home = os.environ.get("HF_HOME") or str(_user_cache() / "huggingface")
    return Path(os.path.expandvars(named or os.path.join(home, "hub"))).expanduser()


def torch_cache() -> Path:
    """Return torch.hub's folder of downloaded weights."""
    home = os.environ.get("TORCH_HOME") or str(_user_cache() / "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def repository_of(weights: str) -> str | None:
    """Return OWNER/NAME of weights written as timm does, hf_hub:OWNER/NAME; None for a path.

    Raises:
        Galaxy10Error: what follows hf_hub: is no OWNER/NAME.
    """
    address = _ADDRESS.match(weights)
    if address is None:
        return None
    hub_id = weights[address.end() :]
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", hub_id):
        raise Galaxy10Error(
            f"model.weights={weights} names no repository; type model.weights=hf_hub:OWNER/NAME, or the path of a file"
        )
    return hub_id


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


def cached_or_fetched(hub_id: str, names: Iterable[str] = WEIGHT_FILES, *, progress: bool = True) -> Path:
    """Return the first of several files of a repository, from the hub's cache or else from the hub.

    Raises:
        DownloadError, Galaxy10Error: as fetch_from_hub.
    """
    return cached_file(hub_id, names) or fetch_from_hub(hub_id, names, progress=progress)


def cached_weights() -> list[str]:
    """Return the ids of the repositories with weights in the hub's cache."""
    names = [folder.name.removeprefix("models--") for folder in sorted(hub_cache().glob("models--*--*"))]
    return [hub_id for hub_id in (name.replace("--", "/") for name in names) if cached_file(hub_id)]


def torch_cache_files() -> list[str]:
    """Return the names of the files in torch.hub's folder."""
    files = torch_cache().glob("[!.]*.pth*")
    return sorted(file.name for file in files if not file.name.endswith((".part", ".part.json")))


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
    timeout_s: float = TIMEOUT_S,
    progress: bool = True,
) -> Path:
    """Download the first of several files that a repository has into the hub's cache, and return its path.

    What came of an interrupted download is kept and continued. Of several processes at once, one downloads and the
    others wait.

    Args:
        timeout_s: seconds that the server may send nothing.

    Raises:
        DownloadError: the hub cannot be reached, sends nothing, breaks off, or has no such file.
        Galaxy10Error: the cache cannot be written.
    """
    unreachable_because = why_hub_unreachable()
    if unreachable_because:
        raise DownloadError(unreachable_because)
    repository = _folder(hub_id)
    host = hostname(_endpoint())
    try:
        locks = hub_cache() / ".locks" / repository.name  # where the hub's client keeps its own
        locks.mkdir(parents=True, exist_ok=True)
        with exclusive(locks / "galaxy10.lock") as alone:
            names = list(names)
            found = cached_file(hub_id, names)
            if found is None:
                _silence_client()
                name, url, about = retry(lambda: _find_file(hub_id, names, timeout_s), host)
                _download_blob(repository, url, about, timeout_s, progress, alone)
                found = _link(hub_id, name)
            return found
    except DownloadError as error:
        raise DownloadError(f"{host}: {error}") from error
    except OSError as error:
        raise write_error(repository, error) from error


def fetch_from_url(url: str, *, progress: bool = True) -> Path:
    """Download weights from a URL into torch.hub's folder, and return their path.

    What came of an interrupted download is kept and continued. Of several processes at once, one downloads and the
    others wait.

    Raises:
        DownloadError: the server cannot be reached, sends nothing, breaks off, or sends another file.
        Galaxy10Error: the folder cannot be written.
    """
    target = torch_cache() / url.rsplit("/", 1)[-1]
    reasons = find_unreachable([url])
    if reasons:
        raise DownloadError(f"{hostname(url)}: {reasons[url]}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(target.with_name(f".{target.name}.lock")) as alone:
            if not target.is_file():
                prefix = checksum_from_name(target.name)
                checksum = prefix and f"sha256:{prefix}"
                download_file(
                    url, target, checksum=checksum, progress=progress, part=None if alone else own_part(target)
                )
    except OSError as error:
        raise write_error(target, error) from error
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


def _silence_client() -> None:
    """Keep the hub's own client quiet; its warnings are part of our own message."""
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def _find_file(hub_id: str, names: list[str], timeout_s: float) -> "tuple[str, str, HfFileMetadata]":
    """Return name, URL and metadata of the first of several files that a repository has.

    Raises:
        TransientError: the hub is busy, or breaks the connection off.
        DownloadError: there is no such file or repository, it is not for everyone, or the hub sends nothing.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    for name in names:
        url = hf_hub_url(hub_id, name, endpoint=_endpoint())
        try:
            limit_s = min(START_TIMEOUT_S, timeout_s)
            return name, url, get_hf_file_metadata(url, timeout=limit_s, library_name="galaxy10")
        except EntryNotFoundError:
            continue
        except Exception as error:  # the client's HTTP library, and so its exceptions, depend on its version
            raise _failure(error, hub_id, limit_s) from error
    raise DownloadError(f"{hub_id} holds no {' or '.join(names)}")


def _download_blob(
    repository: Path, url: str, about: "HfFileMetadata", timeout_s: float, progress: bool, alone: bool
) -> None:
    """Download a file to where the hub's client looks for it: its own downloads begin anew after a kill."""
    from huggingface_hub import get_token

    if not about.etag:
        raise DownloadError("does not say which file it has (no ETag); set HF_ENDPOINT to another mirror")
    blob = repository / "blobs" / about.etag
    if blob.exists():
        return
    blob.parent.mkdir(parents=True, exist_ok=True)
    download_file(
        url,
        blob,
        checksum=f"sha256:{about.etag}" if len(about.etag) == 64 else None,  # small files have other names
        num_bytes=about.size,
        timeout_s=timeout_s,
        progress=progress,
        headers={"Authorization": f"Bearer {token}"} if (token := get_token()) else None,
        part=None if alone else own_part(blob),
    )


def _link(hub_id: str, name: str) -> Path:
    """Let the hub's client enter a file, whose blob is here, in its cache; return the file's path."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(hub_id, name, cache_dir=hub_cache(), endpoint=_endpoint(), library_name="galaxy10"))
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        raise _failure(error, hub_id, TIMEOUT_S) from error


def _failure(error: Exception, hub_id: str, timeout_s: float) -> DownloadError:
    """Return an error of the hub's client as one in a few words, transient or not."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return DownloadError(f"{hub_id} is gated; accept its terms there and log in (`hf auth login`)")
    if isinstance(error, errors.RepositoryNotFoundError):
        return DownloadError(f"there is no {hub_id}, or it is private")
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    if response is not None:
        return status_error(response.status_code, "", response.headers.get("Retry-After"))
    if any("Timeout" in kind.__name__ for kind in type(error).__mro__):
        return DownloadError(str(StallError(timeout_s)))  # not one byte: another try would only wait, too
    return TransientError(f"breaks the connection off ({first_line(error)})")
