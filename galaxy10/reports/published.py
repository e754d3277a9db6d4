"""Published results on Galaxy10 DECaLS, each measured on a split of its own."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedResult:
    """One published result.

    Attributes:
        model: the corresponding model of galaxy10, or "".
        accuracy: 0–1; None if not published.
        macro_f1: 0–1; None if not published.
    """

    name: str
    model: str
    accuracy: float
    macro_f1: float | None
    protocol: str
    remark: str = ""


BASELINE = (
    PublishedResult("PCA + logistic regression", "pca_logreg", 0.19, None, "80/20", "31 % on its training galaxies"),
    PublishedResult(
        "simple CNN", "simple_cnn", 0.46, None, "not stated", "“only around 30 %” under strong regularisation"
    ),
    PublishedResult("ResNet50, ImageNet weights", "resnet50", 0.751, None, "90/10"),
    PublishedResult("InceptionV3, ImageNet weights", "inceptionv3", 0.762, None, "90/10"),
)
OTHERS = (
    PublishedResult("BEiT-L", "", 0.877, None, "own split", "epoch picked on the test set"),
    PublishedResult("ResNet50, fine-tuned", "resnet50", 0.876, 0.855, "stratified 70/15/15", "F1 of Disturbed .60"),
    PublishedResult("ConvNeXtV2-tiny", "", 0.870, None, "own split", "86.6–87.0 %; epoch picked on the test set"),
    PublishedResult("DINOv2-small", "", 0.861, None, "own split", "epoch picked on the test set"),
    PublishedResult("C8-equivariant small CNN", "", 0.822, None, "own split", "± 0.5 %; 77.5 % without equivariance"),
    PublishedResult("masked autoencoder, fine-tuned", "", 0.775, None, "own split", "64 % from scratch"),
    PublishedResult("20 nearest neighbours on raw pixels", "", 0.419, None, "own split"),
)
LEAK_WARNING = (
    "Some publications report 90 to 99 %, with augmentation before the split or with test images rotated from training "
    "galaxies. Above 90 %, suspect a leak."
)


def baseline_result(model: str) -> PublishedResult | None:
    """Return the published baseline's result for a model of galaxy10; None if the baseline does not have the model."""
    return next((result for result in BASELINE if result.model == model), None)
