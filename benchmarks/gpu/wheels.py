"""Find and download the packages that galaxy10 needs and a machine lacks, by the metadata of the packages.

python benchmarks/gpu/wheels.py fetch     download them as wheels, for the packages listed in there.txt (wheels.sh)
python benchmarks/gpu/wheels.py check     exit code 2 if this environment lacks one that galaxy10 imports, 1 if it lacks
                                          one that only another package requires, else 0 (run.sh)
"""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WHEELS = HERE / "wheels"
MOST_MIB = 60
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux_2_17", "manylinux2014", "manylinux_2_5")
TARGET = {"python_version": "3.12", "python_full_version": "3.12.3", "implementation_version": "3.12.3",
          "implementation_name": "cpython", "platform_python_implementation": "CPython", "os_name": "posix",
          "platform_machine": "x86_64", "platform_system": "Linux", "sys_platform": "linux"}  # fmt: skip


def needed(
    requires: Callable[[Requirement], list[str] | None], environment: dict[str, str]
) -> Iterator[tuple[Requirement, str]]:
    """Yield every direct or indirect requirement of galaxy10, and the package that has it.

    requires: returns the requirements of a requirement's package; None to stop there.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    queue = [(Requirement(text), "galaxy10") for text in project["dependencies"]]
    seen = set()
    while queue:
        requirement, parent = queue.pop(0)
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        yield requirement, parent
        for text in requires(requirement) or []:
            more = Requirement(text)
            extras = requirement.extras or {""}
            if more.marker is None or any(more.marker.evaluate({**environment, "extra": e}) for e in extras):
                queue.append((more, requirement.name))


def check() -> int:
    """Print missing packages and wrong versions, and return the exit code."""

    def requires(requirement: Requirement) -> list[str] | None:
        try:
            return metadata.requires(requirement.name)
        except metadata.PackageNotFoundError:
            return None

    found, missing, code = set(), set(), 0
    for requirement, parent in needed(requires, dict(default_environment())):
        name = canonicalize_name(requirement.name)
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.add(name)
            code = max(code, 2 if parent == "galaxy10" else 1)
            print(f"missing: {requirement} (for {parent})")
            continue
        found.add(name)
        if not requirement.specifier.contains(version, prereleases=True):
            print(f"note: {name} is {version}; {parent} requires {requirement.specifier}")
    print(f"packages: {len(found)} of {len(found) + len(missing)} that galaxy10 needs are installed")
    return code


def fetch() -> int:
    """Download the packages that there.txt does not list into wheels/; return 1 if they are too large."""
    there = {canonicalize_name(x) for x in (HERE / "there.txt").read_text().splitlines() if not x.startswith("#")}
    pins = dict(x.split("==") for x in (ROOT / "constraints.txt").read_text().split() if "==" in x)
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    shutil.rmtree(WHEELS, ignore_errors=True)
    WHEELS.mkdir()
    wheels: dict[str, Path] = {}

    def requires(requirement: Requirement) -> list[str] | None:
        name = canonicalize_name(requirement.name)
        if name in there:
            return None
        if name not in wheels:
            pin = pins.get(name)
            fits = pin is not None and requirement.specifier.contains(pin)
            version = f"=={pin}" if fits else str(requirement.specifier)
            wheels[name] = _download(f"{requirement.name}{version}")
            print(f"{wheels[name].stat().st_size / 2**20:6.1f} MiB  {wheels[name].name}", flush=True)
        return _metadata(wheels[name]).get_all("Requires-Dist", [])

    for requirement, parent in needed(requires, TARGET):
        wheel = wheels.get(canonicalize_name(requirement.name))
        if wheel and not requirement.specifier.contains(_metadata(wheel)["Version"]):
            print(f"note: {wheel.name} is not {requirement.specifier}, which {parent} requires")
    total_mib = sum(wheel.stat().st_size for wheel in wheels.values()) / 2**20
    print(f"{total_mib:6.1f} MiB  {len(wheels)} wheels in {WHEELS.relative_to(ROOT)}; the limit is {MOST_MIB} MiB")
    return int(total_mib >= MOST_MIB)


def _metadata(wheel: Path):
    with ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA") and n.count("/") == 1)
        return HeaderParser().parsestr(archive.read(name).decode())


def _download(requirement: str) -> Path:
    """Download a wheel for the target, or build one from source if the package is pure Python."""
    before = set(WHEELS.iterdir())
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    for_target = ["--only-binary", ":all:", "--python-version", "3.12", "--implementation", "cp", "--abi", "cp312",
                  "--abi", "abi3", "--abi", "none", *(f"--platform={name}_x86_64" for name in PLATFORMS)]  # fmt: skip
    download = [*pip, "download", "--no-deps", "--dest", str(WHEELS), *for_target, requirement]
    done = subprocess.run(download, capture_output=True, text=True)
    if done.returncode:
        subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(WHEELS), requirement], check=True)
    (wheel,) = set(WHEELS.iterdir()) - before
    if done.returncode and not wheel.name.endswith("-none-any.whl"):
        sys.exit(f"{requirement} has no wheel for Python 3.12 on x86-64 Linux, and is not pure Python:\n{done.stderr}")
    return wheel


if __name__ == "__main__":
    sys.exit({"check": check, "fetch": fetch}[sys.argv[1]]())
