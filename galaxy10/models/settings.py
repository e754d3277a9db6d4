"""Values that the settings of `model` may have."""

from galaxy10.config.fields import Field, boolean, choice, integer, number, one_of, optional, text

FIELDS: dict[str, Field] = {
    "model._target_": text(),
    "model.name": text(),
    "model.backbone": optional(text()),
    "model.image_size": one_of(integer(16, 4096), choice("auto")),
    "model.default_image_size": optional(integer(16)),
    "model.min_image_size": integer(1),
    "model.pretrained": boolean(),
    "model.weights": optional(text()),
    "model.freeze": choice("none", "backbone"),
    "model.dropout": number(0, 0.99),
    "model.label_smoothing": number(0, 0.99),
    "model.tta_views": Field(lambda v: v in (1, 2, 4, 8) and not isinstance(v, bool), "1, 2, 4 or 8"),
    "model.learning_rate": number(0, above=True),
    "model.num_components": integer(1, 10_000),
    "model.scree_components": integer(1, 10_000),
    "model.components_from": choice("train", "each_subset"),
    "model.standardize": boolean(),
    "model.C": number(0, above=True),
    "model.max_iterations": integer(1),
}
