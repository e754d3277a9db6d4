"""Compare simulated and real galaxies: a sheet of images for each class, and tables of their properties.

    python benchmarks/sim_vs_real.py --real Galaxy10_DECals.h5 --out sheets --images 600

The real file needs only the keys `images` and `ans`. Properties are measured in the 8-bit images that a network sees.
"""

import argparse
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage

from galaxy10.classes import GALAXY10_CLASSES
from galaxy10.simulation import simulate_survey

FIELD_ARCSEC = 67.072  # the side of an image
OUTLINE_LEVEL = 22  # grey levels above the sky that outline a galaxy


def measure(pixels: np.ndarray) -> dict[str, float]:
    """Measure sky, noise, size, shape and colour of the galaxy at the centre of an image (S, S, 3) uint8."""
    size = len(pixels)
    image = pixels.astype(np.float32)
    offset = np.arange(size) - (size - 1) / 2
    distance = np.hypot(*np.meshgrid(offset, offset))
    outer = image[distance > 0.4 * size]
    sky = np.median(outer, axis=0)
    difference = np.diff(image[: size // 6], axis=1).reshape(-1, 3) / np.sqrt(2)
    grey = image.mean(axis=2)
    smoothed = ndimage.gaussian_filter(grey - sky.mean(), size / 170)
    regions, _ = ndimage.label(smoothed > OUTLINE_LEVEL)
    middle = regions[distance < 0.04 * size]
    found = np.bincount(middle[middle > 0], minlength=1)
    galaxy = regions == found.argmax() if found.any() else distance < 0.02 * size
    light = np.clip(grey - sky.mean(), 0, None) * galaxy
    total = light.sum()
    rows, columns = np.indices(light.shape)
    y, x = (light * rows).sum() / total, (light * columns).sum() / total
    radius = np.hypot(rows - y, columns - x)[galaxy]
    order = np.argsort(radius)
    growth = np.cumsum(light[galaxy][order]) / total
    r20, r50, r80 = (radius[order][np.searchsorted(growth, share)] for share in (0.2, 0.5, 0.8))
    moments = np.cov(np.stack([rows[galaxy], columns[galaxy]]), aweights=light[galaxy])
    minor, major = np.sqrt(np.clip(np.linalg.eigvalsh(moments), 1e-3, None))
    turned = light[::-1, ::-1]
    colour = (image - sky)[galaxy].mean(axis=0)
    arcsec = FIELD_ARCSEC / size
    return {
        "sky_r": sky[0],
        "sky_b": sky[2],
        "noise": 1.4826 * float(np.median(np.abs(difference[:, 1] - np.median(difference[:, 1])))),
        "others%": 100 * float(((smoothed > OUTLINE_LEVEL) & ~galaxy).mean()),
        "peak": float(np.percentile(grey[galaxy], 99)),
        "surface": float(grey[galaxy].mean()),
        "extent″": float(np.sqrt(galaxy.sum() / np.pi)) * arcsec,
        "r50″": r50 * arcsec,
        "r80/r20": r80 / max(r20, 0.5),
        "b/a": minor / major,
        "asym": float(np.abs(light - turned).sum() / (2 * total)),
        "red/blue": colour[0] / max(colour[2], 1),
        "green": 2 * colour[1] / max(colour[0] + colour[2], 1),
    }


def table(images: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Return the median of every property by class, ± half of its interquartile range."""
    rows = pd.DataFrame([measure(image) for image in images])
    groups = rows.groupby(labels)
    median, spread = groups.median(), groups.quantile(0.75) - groups.quantile(0.25)
    return median.round(2).astype(str) + "±" + (spread / 2).round(2).astype(str)


def sheet(real: np.ndarray, simulated: np.ndarray, side: int) -> Image.Image:
    """Draw real galaxies, a line, and simulated galaxies of one class, (n, S, S, 3) each."""
    line = np.full((4, 10 * side, 3), 255, dtype=np.uint8)
    return Image.fromarray(np.concatenate([tiles(real, side), line, tiles(simulated, side)]))


def tiles(images: np.ndarray, side: int) -> np.ndarray:
    """Arrange images in rows of ten."""
    small = [np.asarray(Image.fromarray(i).resize((side, side), Image.Resampling.LANCZOS)) for i in images]
    small += [np.zeros((side, side, 3), np.uint8)] * (-len(small) % 10)
    return np.concatenate([np.concatenate(small[i : i + 10], axis=1) for i in range(0, len(small), 10)])


def main() -> None:
    """Simulate, draw the sheets, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, help="HDF5 file with real galaxies: images, ans")
    parser.add_argument("--out", type=Path, required=True, help="folder for the sheets")
    parser.add_argument("--images", type=int, default=600, help="galaxies to simulate")
    parser.add_argument("--size", type=int, default=256, help="side of a simulated image, pixels")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        path = simulate_survey(
            Path(folder) / "simulated.h5",
            num_images=arguments.images,
            size_px=arguments.size,
            seed=arguments.seed,
            defects=False,
        )
        with h5py.File(path) as file:
            simulated, simulated_labels = file["images"][:], file["ans"][:]
    with h5py.File(arguments.real) as file:
        real, real_labels = file["images"][:], file["ans"][:]
    overview = []
    for label, name in enumerate(GALAXY10_CLASSES):
        pair = real[real_labels == label][:10], simulated[simulated_labels == label][:20]
        sheet(*pair, side=192).save(arguments.out / f"{label}_{name.lower().replace(' ', '_')}.png")
        overview += [np.asarray(sheet(pair[0], pair[1][:10], side=128)), np.full((16, 1280, 3), 90, dtype=np.uint8)]
    Image.fromarray(np.concatenate(overview)).save(arguments.out / "all.png")
    pd.set_option("display.width", 200, "display.max_columns", 20)
    print("real\n", table(real, real_labels).to_string(), sep="")
    print("simulated\n", table(simulated, simulated_labels).to_string(), sep="")
    print("sheets in", arguments.out)


if __name__ == "__main__":
    main()
