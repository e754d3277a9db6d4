"""A simulated survey: galaxies drawn from physics, in a file with the shape, the order and the traps of the real one.

`survey` decides what stands in which row; `galaxies`, `spirals` and `irregulars` draw one galaxy's parts; `profiles`
turns a part into surface brightness and `encounter` computes a tidal passage; `sky` adds everything around it, `render`
makes the 8-bit picture, and `file` writes it all down.
"""

from galaxy10.simulation.file import simulate_survey

__all__ = ["simulate_survey"]
