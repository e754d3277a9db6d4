"""Predictions of trained runs in Python."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image

from galaxy10.catalogue.parts import ReadImage
from galaxy10.catalogue.predictor import Predictor
from galaxy10.data.fits_images import parse_hdu
from galaxy10.data.galaxy_image import GalaxyImage, ImageReadError, as_image
from galaxy10.data.images import read_image
from galaxy10.data.pillow_images import pillow_to_array
from galaxy10.data.quality import ReadingNotes
from galaxy10.errors import Galaxy10Error
from galaxy10.prediction.batch_size import DEFAULT_BATCH_SIZE
from galaxy10.prediction.options import INT8, PredictOptions, check_options, check_runs

logger = logging.getLogger(__name__)


class ImageClassifier:
    """A trained run, or an ensemble of runs; made by `galaxy10.load`.

    class_names: in the order of the probabilities.

    Raises:
        Galaxy10Error: a run is not trained, or does not support the options.
    """

    def __init__(self, runs: Sequence[Path], options: PredictOptions):
        check_options(options)
        if options.engine == INT8:
            raise Galaxy10Error("engine=onnx-int8 is one of galaxy10 predict and evaluate; type engine=onnx here")
        check_runs(runs, options)
        self._predictor, self._options = Predictor(runs, options), options
        self.class_names: tuple[str, ...] = self._predictor.networks.class_names

    def predict(self, images: Any) -> pd.DataFrame:
        """Predict the classes of images: one row per image, with the columns of a catalogue without path and row.

        Args:
            images: an array (N, H, W, 3), (N, H, W), or of one image (H, W, 3) or (H, W); or a list of arrays, file
                names and Pillow images of any sizes. uint8 values are used as they are, float values are stretched to
                8 bits, as in `galaxy10 predict`.

        Returns:
            A table of N rows, in the order of the images; empty without images.

        Raises:
            Galaxy10Error: an image cannot be read.
        """
        self._predictor.notes = ReadingNotes()
        size, networks = self._options.batch_size or DEFAULT_BATCH_SIZE, self._predictor.networks
        tables: list[pa.Table] = [self._predictor.empty_table()]
        batch: list[ReadImage] = []

        def flush() -> None:
            outputs, nowhere = networks.predict([image.prepared for image in batch]), np.full(len(batch), np.nan)
            tables.append(self._predictor.table(batch, outputs, nowhere, nowhere))
            batch.clear()

        for image in self._read(images):
            batch.append(ReadImage.of(image, networks))
            if len(batch) == size:
                flush()
        if batch:
            flush()
        for line in self._predictor.notes.lines():
            logger.info(f"note: {line}")
        table: pd.DataFrame = pa.concat_tables(tables).to_pandas()
        return table

    def probabilities(self, images: Any) -> np.ndarray:
        """Return the class probabilities of images, (N, C) float32; see `predict`."""
        table = self.predict(images)
        return table[[f"p_{slug}" for slug in self._predictor.networks.slugs]].to_numpy(np.float32)

    def _read(self, images: Any) -> Iterator[GalaxyImage]:
        for number, image in enumerate(_listed(images)):
            try:
                if isinstance(image, str | Path):
                    yield read_image(image, self._options.stretch, parse_hdu(self._options.hdu))
                elif isinstance(image, Image.Image):
                    yield as_image(pillow_to_array(image), self._options.stretch)
                else:
                    yield as_image(np.asarray(image), self._options.stretch)
            except ImageReadError as error:
                name = f"{image}" if isinstance(image, str | Path) else f"image {number}"
                raise Galaxy10Error(f"{name}: {error}") from error


def _listed(images: Any) -> Any:
    """Return a sequence of images; a single image becomes a list of one."""
    if isinstance(images, str | Path | Image.Image):
        return [images]
    shape = getattr(images, "shape", None)
    if shape is not None and (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))):
        return [images]
    return images
