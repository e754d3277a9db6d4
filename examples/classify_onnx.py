"""Classify images with an exported run, without galaxy10: pip install onnxruntime pillow numpy

python examples/classify_onnx.py model.onnx galaxy.jpg more/*.png
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image


def main(model: str, images: list[str]) -> None:
    """Print path, class and probability of each image."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    class_names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
    for path in images:
        pixels = np.asarray(Image.open(path).convert("RGB"))  # (H, W, 3) uint8, any size
        (probabilities,) = session.run(["probabilities"], {"images": pixels[None]})
        best = int(probabilities[0].argmax())
        print(f"{path}\t{class_names[best]}\t{probabilities[0, best]:.4f}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
