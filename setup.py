"""Everything about the package stands in pyproject.toml, but for this: conf/ and slurm/ travel inside the wheel."""

from setuptools import find_packages, setup

CARRIED = {"galaxy10.conf": "conf", "galaxy10.slurm": "slurm"}

setup(packages=[*find_packages(include=["galaxy10", "galaxy10.*"]), *CARRIED], package_dir=CARRIED)
