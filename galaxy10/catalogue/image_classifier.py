"""Trained runs in Python: for notebooks, and for programs of one's own."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image

from galaxy10.catalogue.predictor import Predictor
from galaxy10.data.images import ImageReadError, Picture, as_picture, pillow_values, read_picture
from galaxy10.errors import Galaxy10Error
from galaxy10.prediction.options import Options, check_options, check_runs


class ImageClassifier:
    """One trained run, or several that answer together; made by `galaxy10.load`.

    class_names: in the order of the probabilities.
    """

    def __init__(self, runs: Sequence[Path], options: Options):
        check_options(options)
        check_runs(runs, options)
        self._judge, self._options = Predictor(runs, options), options
        self.class_names: tuple[str, ...] = self._judge.networks.class_names

    def predict(self, images: Any) -> pd.DataFrame:
        """Evaluate pictures: one line each, with the columns that a catalogue has, without path and row.

        Args:
            images: an array (N, H, W, 3), (N, H, W) or of one picture (H, W, 3); or a list of arrays, file names and
                Pillow images of any sizes. Values as `galaxy10 predict` takes them: uint8 is a picture as it is, floats
                go through the stretch.

        Raises:
            Galaxy10Error: one of them is no picture; says which, and why.
        """
        size, networks = self._options.batch_size, self._judge.networks
        tables: list[pa.Table] = [self._judge.nothing()]
        batch: list[Picture] = []

        def judge() -> None:
            table = self._judge.columns(networks.ask([networks.prepare(picture.pixels) for picture in batch]))
            tables.append(table.append_column("filled", pa.array([p.filled for p in batch], pa.float32())))
            batch.clear()

        for picture in self._pictures(images):
            batch.append(picture)
            if len(batch) == size:
                judge()
        if batch:
            judge()
        return pa.concat_tables(tables).to_pandas()

    def probabilities(self, images: Any) -> np.ndarray:
        """The same pictures' class probabilities, (N, C) float32."""
        table = self.predict(images)
        return table[[f"p_{slug}" for slug in self._judge.networks.slugs]].to_numpy(np.float32)

    def _pictures(self, images: Any) -> Iterator[Picture]:
        for number, image in enumerate(_listed(images)):
            try:
                if isinstance(image, str | Path):
                    yield read_picture(image, self._options.stretch)
                elif isinstance(image, Image.Image):
                    yield as_picture(pillow_values(image), self._options.stretch)
                else:
                    yield as_picture(np.asarray(image), self._options.stretch)
            except ImageReadError as error:
                name = f"{image}" if isinstance(image, str | Path) else f"image {number}"
                raise Galaxy10Error(f"{name}: {error}") from error


def _listed(images: Any) -> Any:
    """A sequence of pictures, also where one picture was given."""
    if isinstance(images, str | Path | Image.Image):
        return [images]
    shape = getattr(images, "shape", None)
    if shape is not None and (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))):
        return [images]
    return images
