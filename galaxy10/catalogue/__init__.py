"""Catalogues: predictions for new images, written to disk."""
