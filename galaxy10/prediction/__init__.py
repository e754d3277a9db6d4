"""A trained network, or an ensemble, on prepared images: probabilities, uncertainty, calibration, export."""
