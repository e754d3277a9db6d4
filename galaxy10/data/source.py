"""The file of an experiment: the published one, a given one, one converted by a reader, or a simulated survey."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from galaxy10.data.folder_layout import find_classes
from galaxy10.data.hdf5 import SourceFile, open_source
from galaxy10.data.published import as_published, verify_published
from galaxy10.data.readers import convert, converted_path, is_converted, reader_of
from galaxy10.data.store import Store, open_store, store_directory
from galaxy10.errors import Galaxy10Error
from galaxy10.progress import progress


def check_source(data: Mapping[str, Any]) -> SourceFile | None:
    """Check an experiment's file before anything slow is done.

    Return None if the file must first be downloaded, simulated, or converted by a reader.

    Args:
        data: the `data` section of the configuration.

    Raises:
        Galaxy10Error: the file is missing and cannot be downloaded, or it is wrong.
    """
    path = source_path(data)
    if data["name"] == "simulated" and data["num_folds"]:
        _check_simulated_folds(data["num_images"], data["num_folds"])
    if path is not None:
        return _open(data, path)
    if data["name"] == "galaxy10":
        from galaxy10.data.download import check_published_available

        check_published_available(_path(data["path"]), Path(data["dir"]), data["variant"])
    elif data["name"] == "hdf5" and data.get("reader") is None and Path(data["path"]).is_dir():
        find_classes(Path(data["path"]), keep=True)
    return None


def _check_simulated_folds(num_images: int, num_folds: int) -> None:
    from galaxy10.simulation.survey import class_counts

    if class_counts(num_images).min() >= num_folds:
        return
    enough = next(number for number in itertools.count(num_images) if class_counts(number).min() >= num_folds)
    raise Galaxy10Error(
        f"data.num_images={num_images} has {class_counts(num_images).min()} images of the rarest class, too few for "
        f"data.num_folds={num_folds}; type data.num_images={enough + 100 - enough % 100}"
    )


def source_path(data: Mapping[str, Any]) -> Path | None:
    """Return the path of the experiment's file; None if it does not exist yet."""
    if data["name"] == "hdf5":
        path = Path(data["path"])
        reader = reader_of(path, data.get("reader"), data.get("vote_columns"))
        if reader is None:
            return path
        target = converted_path(reader, path, _converted_directory(data))
        # The key of a folder looks at every file, which is not needed if there is nothing to compare it with.
        return target if target.exists() and is_converted(target, reader.key(path)) else None
    if data["name"] == "simulated":
        path = _simulated_path(data)
        return path if path.exists() else None
    from galaxy10.data.download import locate_published

    return locate_published(_path(data["path"]), Path(data["dir"]), data["variant"])


def obtain_source(data: Mapping[str, Any]) -> SourceFile:
    """Return the experiment's checked file; first download, simulate or convert it if it does not exist yet."""
    return _open(data, _MAKERS[data["name"]](data))


def obtain_store(data: Mapping[str, Any], source: SourceFile) -> Store:
    """Return the store of the experiment's file; build it if it does not exist yet."""
    directory = store_directory(source.path, _path(data["store_dir"]), Path(data["dir"]))
    store = open_store(source, directory)
    if data["name"] == "galaxy10":
        verify_published(source, store.path)
    return store


def _open(data: Mapping[str, Any], path: Path) -> SourceFile:
    source = open_source(path, data["class_names"])
    return as_published(source, data["variant"]) if data["name"] == "galaxy10" else source


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _simulated_path(data: Mapping[str, Any]) -> Path:
    from galaxy10.simulation.survey import VERSION

    name = f"simulated-{data['num_images']}x{data['image_px']}px-seed{data['simulation_seed']}-v{VERSION}.h5"
    return Path(data["dir"]) / name


def _converted_directory(data: Mapping[str, Any]) -> Path:
    return store_directory(Path(data["path"]).resolve(), _path(data["store_dir"]), Path(data["dir"]))


def _convert(data: Mapping[str, Any]) -> Path:
    path = Path(data["path"])
    reader = reader_of(path, data.get("reader"), data.get("vote_columns"))
    return path if reader is None else convert(reader, path, _converted_directory(data))


def _download(data: Mapping[str, Any]) -> Path:
    from galaxy10.data.download import download_published

    return source_path(data) or download_published(Path(data["dir"]), data["variant"])


def _simulate(data: Mapping[str, Any]) -> Path:
    from galaxy10.simulation import simulate_survey

    path = _simulated_path(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            with progress("simulating galaxies", data["num_images"]) as update:
                simulate_survey(
                    path,
                    num_images=data["num_images"],
                    size_px=data["image_px"],
                    seed=data["simulation_seed"],
                    progress=update,
                )
    return path


_MAKERS = {"galaxy10": _download, "hdf5": _convert, "simulated": _simulate}
