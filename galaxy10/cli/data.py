"""The commands for data files: simulate, download, inspect, split, pack."""

from pathlib import Path
from typing import Annotated

import typer

from galaxy10.cli.options import Hdu, Output, Overwrite, PathColumn, StoreDir, Stretch, named_as_options
from galaxy10.cli.output import finish

app = typer.Typer()


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="the HDF5 file to write")],
    images: Annotated[int, typer.Option(help="number of galaxies")] = 2000,
    size: Annotated[int, typer.Option(help="side of each image in pixels")] = 256,
    seed: Annotated[int, typer.Option(help="random seed; the same seed gives the same file")] = 0,
) -> None:
    """Simulate a survey, as an HDF5 file with the layout of the published one."""
    from galaxy10.progress import progress
    from galaxy10.simulation import simulate_survey

    with progress("simulating galaxies", images) as update:
        simulate_survey(out, num_images=images, size_px=size, seed=seed, progress=update)
    print(out)


@app.command()
def download(
    directory: Annotated[Path | None, typer.Option("-o", "--output", help="folder for the data file")] = None,
    variant: Annotated[str, typer.Option(help="full or no_duplicates")] = "full",
    weights: Annotated[
        str | None, typer.Option(help="download the pretrained weights of this model, or hf_hub:OWNER/NAME, instead")
    ] = None,
) -> None:
    """Download the published data file, or pretrained weights, for use on a machine without internet."""
    import os

    if weights is not None:
        from galaxy10.models.weights import download_weights

        print(download_weights(weights))
        return
    from galaxy10.data.download import download_published

    print(download_published(directory or Path(os.environ.get("GALAXY10_DATA", "data")), variant))


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="an HDF5 file of images")],
    output: Output,
    store_dir: StoreDir = None,
) -> None:
    """Show what is in a file: classes, duplicates, blank images, overlaps, statistics."""
    from galaxy10.reports.inspect import inspect_file

    print(inspect_file(file, output, store_dir=store_dir))


@app.command()
def split(
    file: Annotated[Path, typer.Argument(help="a labelled HDF5 file, a folder, or a table of paths and labels")],
    output: Annotated[Path, typer.Option("-o", "--output", help="the table to write: .csv or .parquet")],
    protocol: Annotated[str, typer.Option(help="default, baseline_80_20, baseline_90_10 or file")] = "default",
    seed: Annotated[int, typer.Option(help="data.split_seed")] = 0,
    folds: Annotated[int | None, typer.Option(help="also write a column of this many folds")] = None,
    train_fraction: Annotated[
        float | None,
        typer.Option(help="of the training images, to keep; the others are in no subset", show_default=False),
    ] = None,
    duplicates: Annotated[str, typer.Option(help="one galaxy under two labels: drop, first or keep")] = "drop",
    blanks: Annotated[str, typer.Option(help="images of one colour: drop or keep")] = "drop",
    group_radius_arcsec: Annotated[
        float | None, typer.Option(help="images within it stay in one subset (default: the field of each image)")
    ] = None,
    store_dir: StoreDir = None,
) -> None:
    """Write the split of a labelled file as a table (row, ra, dec, label, class, subset, fold) for other projects.

    `data.split_file=TABLE` trains on it.
    """
    from galaxy10.data.write_split import write_split

    options = ("train_fraction", "protocol", "duplicates", "blanks", "group_radius_arcsec", "store_dir")
    with named_as_options(*options, path="", split_seed="seed", num_folds="folds"):
        table = write_split(
            file,
            output,
            num_folds=folds,
            train_fraction=train_fraction,
            protocol=protocol,
            split_seed=seed,
            duplicates=duplicates,
            blanks=blanks,
            group_radius_arcsec=group_radius_arcsec,
            store_dir=store_dir,
        )
    print(table)


@app.command()
def pack(
    origin: Annotated[
        Path, typer.Argument(metavar="FOLDER|TABLE", help="one folder per class, or a table with path and label")
    ],
    output: Annotated[Path, typer.Argument(metavar="OUT.h5", help="the HDF5 file to write")],
    size: Annotated[
        int | None, typer.Option(help="side in pixels (default: the median of the first 100 images)")
    ] = None,
    stretch: Stretch = "auto",
    hdu: Hdu = None,
    path_column: PathColumn = None,
    label_column: Annotated[str, typer.Option(help="column of class names, or numbers, in the table")] = "label",
    vote_columns: Annotated[
        str | None,
        typer.Option(help="columns of votes in the table, one per class, separated by commas; no label then"),
    ] = None,
    class_level: Annotated[
        int | None,
        typer.Option(
            help="1: the folders are the classes; 2: the folders inside them (default: 2 for train, val, test, else 1)",
            show_default=False,
        ),
    ] = None,
    coordinates: Annotated[
        bool, typer.Option("--coordinates/--no-coordinates", help="keep the table's ra and dec")
    ] = True,
    overwrite: Overwrite = False,
) -> None:
    """Pack labelled images into an HDF5 file for training: `python train.py data=hdf5 data.path=OUT.h5`."""
    from galaxy10.data.pack import pack as write

    finish(
        output,
        write(
            origin,
            output,
            size=size,
            stretch=stretch,
            hdu=hdu,
            path_column=path_column,
            label_column=label_column,
            vote_columns=[name.strip() for name in vote_columns.split(",")] if vote_columns else None,
            class_level=class_level,
            coordinates=coordinates,
            overwrite=overwrite,
        ),
    )
