"""Put conf/ and slurm/ into the wheel; all other settings of the package are in pyproject.toml."""

from setuptools import find_packages, setup

CARRIED = {"galaxy10.conf": "conf", "galaxy10.slurm": "slurm"}

setup(packages=[*find_packages(include=["galaxy10", "galaxy10.*"]), *CARRIED], package_dir=CARRIED)
