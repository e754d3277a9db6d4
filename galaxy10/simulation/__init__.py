"""A simulated survey: model galaxies in a file with the layout, the order and the defects of the real one.

`survey` plans the rows; `galaxies`, `spirals` and `irregulars` draw the components of a galaxy; `profiles` computes
their surface brightness, and `encounter` a tidal encounter; `sky` draws seeing, noise, stars and background galaxies;
`render` makes the 8-bit image, and `file` writes the HDF5 file.
"""

from galaxy10.simulation.file import simulate_survey

__all__ = ["simulate_survey"]
