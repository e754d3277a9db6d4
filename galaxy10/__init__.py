"""galaxy10: train, judge and use networks that tell the shapes of galaxies apart."""

__version__ = "0.1.0"
