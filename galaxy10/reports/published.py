"""What others report on Galaxy10 DECaLS: shown beside our numbers, each measured on a split of its own."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedResult:
    """One published number.

    model: the galaxy10 model it belongs beside, or "" where there is none. accuracy, macro_f1: 0–1, None if not given.
    """

    name: str
    model: str
    accuracy: float
    macro_f1: float | None
    protocol: str
    remark: str = ""


STUDY = (
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
    PublishedResult("C8-equivariant small CNN", "", 0.822, None, "own split", "± 0.5 %; its dense twin 77.5 %"),
    PublishedResult("masked autoencoder, fine-tuned", "", 0.775, None, "own split", "64 % from scratch"),
    PublishedResult("20 nearest neighbours on raw pixels", "", 0.419, None, "own split"),
)
SUSPECT_A_LEAK = (
    "Claims of 90 to 99 % exist, too. They come with augmentation before the split, or with test images rotated from "
    "training galaxies: above 90 %, suspect a leak."
)


def study_claim(model: str) -> PublishedResult | None:
    """The study's number for a galaxy10 model, if it has one."""
    return next((claim for claim in STUDY if claim.model == model), None)
