"""Catalogues and embeddings: predictions and features of new images, written to disk."""

from typing import TYPE_CHECKING

from galaxy10.lazy import lazy_attributes

if TYPE_CHECKING:
    from galaxy10.catalogue.embeddings import read_embeddings

__all__ = ["read_embeddings"]
__getattr__, __dir__ = lazy_attributes(__name__, {"read_embeddings": "embeddings"})
