"""Write the features of images: `galaxy10 embed`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from galaxy10.catalogue.embeddings import Embeddings, check_folder, index_path
from galaxy10.catalogue.predict import parse_shard
from galaxy10.data.inputs import find_inputs, shard_of
from galaxy10.errors import Galaxy10Error
from galaxy10.prediction.options import INT8, PredictOptions, check_options
from galaxy10.runs.trained import check_run, checkpoint_hash, run_config
from galaxy10.version import __version__

if TYPE_CHECKING:
    from galaxy10.catalogue.embedder import FeatureNetwork
    from galaxy10.models.backbone import Backbone

_MIN_PX = 16
_VIEWS = (1, 2, 4, 8)
# The hints of galaxy10.models.weights name settings of train.py; here the same are options.
_OPTIONS = (
    ("model.backbone=", "--model "),
    ("model.weights=", "--weights "),
    ("model.image_size", "--image-size"),
    (" or model.pretrained=false", ""),
)


@dataclass(frozen=True)
class NetworkChoice:
    """The network of `galaxy10 embed`: a trained run, or a pretrained backbone.

    Attributes:
        run: a run directory; None with `model`.
        model: a name of this project or of timm; None with `run`.
        weights: file or folder of the backbone's weights, or hf_hub:OWNER/NAME; None: the model's own, from an
            installed package, local caches or hub.
        image_size: px of the backbone's input; None: the size that its weights were trained at.
    """

    run: Path | None = None
    model: str | None = None
    weights: str | None = None
    image_size: int | None = None


def embed(
    choice: NetworkChoice, paths: Sequence[str], folder: Path, options: PredictOptions
) -> tuple[Path, dict[str, Any]]:
    """Write the features of all images under `paths`, and return the path of the index and the record.

    Args:
        paths: files, folders, glob patterns, HDF5 files or tables of paths, as on the command line.
        options: tta_views, and those about reading; the options about probabilities are not used.

    Raises:
        Galaxy10Error: network, paths, options or folder are not valid; nothing was written.
        IncompleteCatalogue: an error after the first image, such as a full disk.
    """
    check_folder(folder)
    check_options(options)
    if options.engine == INT8:
        raise Galaxy10Error("--engine onnx-int8 is too coarse for features; type --engine onnx")
    views = 1 if options.tta_views is None else options.tta_views
    if views not in _VIEWS:
        raise Galaxy10Error(f"--tta-views {views} is not allowed; type one of {', '.join(map(str, _VIEWS))}")
    shard = parse_shard(options.shard) if options.shard is not None else None
    backbone_name = _check_choice(choice)
    inputs = find_inputs(paths, options.stretch, options.path_column, options.hdu)
    backbone = _find(backbone_name, choice) if backbone_name else None
    mine = shard_of(len(inputs), options.batch_size or 1, shard or (0, 1))
    plan = {
        "galaxy10": __version__,
        "kind": "embeddings",
        **_identity(choice, backbone),
        "inputs": inputs.digest(),
        "file_sizes": inputs.file_sizes(mine),
        "images": len(inputs),
        "tta_views": views,
        **({"engine": options.engine} if options.engine != "torch" else {}),
        "stretch": options.stretch,
        "hdu": options.hdu,
        "batch_size": options.batch_size or "auto",
        "shard": list(shard) if shard else None,
    }
    target = index_path(folder, shard)
    embeddings = Embeddings(target, plan)
    record = None if options.overwrite else embeddings.finished()
    if record is not None:
        return target, record
    embeddings.check_name(options.overwrite)
    from galaxy10.catalogue.embedder import Embedder  # imports torch; inputs and output are checked before
    from galaxy10.catalogue.parts import fill

    embedder = Embedder(_load(choice, backbone, options, views), options)
    with embeddings.writing(options.overwrite) as record:
        if record is None:
            record = fill(embeddings, inputs, embedder, mine, "embedding", "embedded")
    return target, record


def _check_choice(choice: NetworkChoice) -> str | None:
    """Check the network without importing torch or timm; return timm's name of a backbone, or None for a run.

    Raises:
        Galaxy10Error: there is no such run or network, or there are no weights at hand.
    """
    if choice.run is not None:
        check_run(choice.run)
        return None
    assert choice.model is not None
    if choice.image_size is not None and choice.image_size < _MIN_PX:
        raise Galaxy10Error(f"--image-size {choice.image_size} is not allowed; give at least {_MIN_PX} px")
    from galaxy10.models.weights import check_weights_reachable, known_backbone

    try:
        backbone = known_backbone(choice.model)
        check_weights_reachable(backbone, _weights(choice))
    except Galaxy10Error as error:
        raise _as_options(error) from error
    return backbone


def _find(name: str, choice: NetworkChoice) -> "Backbone":
    from galaxy10.models.backbone import find_backbone

    try:
        return find_backbone(name, _weights(choice), choice.image_size)
    except Galaxy10Error as error:
        raise _as_options(error) from error


def _weights(choice: NetworkChoice) -> str | None:
    from galaxy10.models.timm_registry import MODEL_WEIGHTS

    assert choice.model is not None
    return MODEL_WEIGHTS.get(choice.model) if choice.weights is None else choice.weights


def _load(choice: NetworkChoice, backbone: "Backbone | None", options: PredictOptions, views: int) -> "FeatureNetwork":
    from galaxy10.catalogue.embedder import FeatureNetwork

    if backbone is None:
        assert choice.run is not None
        return FeatureNetwork.of_run(choice.run, options.device, views, options.engine)
    try:
        return FeatureNetwork.of_backbone(backbone, options.device, views, options.engine)
    except Galaxy10Error as error:
        raise _as_options(error) from error


def _identity(choice: NetworkChoice, backbone: "Backbone | None") -> dict[str, Any]:
    """Return what determines the network: its weights by their hash, and the size of its input."""
    if backbone is not None:
        return {
            "network": backbone.source.backbone,
            "weights": backbone.identity,
            "image_size": backbone.preprocessing.image_size,
        }
    assert choice.run is not None
    return {"network": run_config(choice.run)["model"]["name"], "weights": checkpoint_hash(choice.run)}


def _as_options(error: Galaxy10Error) -> Galaxy10Error:
    text = str(error)
    for setting, option in _OPTIONS:
        text = text.replace(setting, option)
    return Galaxy10Error(text)
