"""Values that the settings of `data` and `augment` may have."""

from galaxy10.config.fields import Field, boolean, choice, integer, name_list, number, one_of, optional, pair, text

FIELDS: dict[str, Field] = {
    "data.name": choice("galaxy10", "hdf5", "simulated"),
    "data.path": optional(text()),
    "data.dir": text(),
    "data.variant": optional(choice("full", "no_duplicates")),
    "data.class_names": optional(name_list()),
    "data.store_dir": optional(text()),
    "data.protocol": choice("default", "baseline_80_20", "baseline_90_10"),
    "data.split_seed": integer(0, 2**31 - 1),
    "data.num_folds": optional(integer(3, 100)),
    "data.fold": optional(integer(0)),
    "data.duplicates": choice("drop", "first", "keep"),
    "data.blanks": choice("drop", "keep"),
    "data.balance": choice("none", "soft", "dihedral", "weighted"),
    "data.batch_size": integer(2, 100_000),
    "data.eval_batch_size": integer(1, 100_000),
    "data.cache_on_device": one_of(boolean(), choice("auto")),
    "data.num_images": integer(30, 10_000_000),
    "data.image_px": integer(16, 1024),
    "data.simulation_seed": integer(0, 2**31 - 1),
    "augment.name": text(),
    "augment.dihedral": choice("none", "horizontal_flip", "all"),
    "augment.crop_area": pair(0, 1),
    "augment.crop_aspect": pair(0),
    "augment.rotation_deg": number(0, 180),
    "augment.zoom": pair(0),
    "augment.shift": number(0, 0.5),
    "augment.noise": number(0, 100),
}
