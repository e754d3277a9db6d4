"""Draw the packages and their order, as pyproject.toml's import contract has them: docs/images/packages.svg"""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "images" / "packages.svg"
WIDTH, ROW, TOP, LEFT = 760, 38, 46, 20  # px
MOST_LETTERS = 88  # of a package's summary


def layers() -> list[str]:
    """Return the packages from top to bottom; those that do not exist yet are left out."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contract = next(c for c in content["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    return [layer for layer in contract["layers"] if ":" not in layer and not layer.startswith("(")]


def summary(package: str) -> str:
    """Return the first line of a package's docstring."""
    docstring = ast.get_docstring(ast.parse((ROOT / "galaxy10" / package / "__init__.py").read_text())) or ""
    line = docstring.partition("\n")[0].rstrip(".")
    if len(line) > MOST_LETTERS:
        line = line[: max(line.rfind(mark, 0, MOST_LETTERS) for mark in (", ", ": "))]
    return line.replace("&", "&amp;").replace("<", "&lt;")


def svg() -> str:
    """Return the figure: a box for each package, the highest first."""
    names = layers()
    height = TOP + ROW * (len(names) + 1) + 16
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" fill="#123">',
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="28" font-size="14" fill="#444">Each package imports only from those below it</text>',
    ]
    for i, name in enumerate([*names, ""]):
        y = TOP + i * ROW
        shade = 96 - 3 * i / len(names) * 5
        text = summary(name) if name else "single files: errors, exit codes, atomic file writing, console, http …"
        lines += [
            f'<rect x="{LEFT}" y="{y}" width="{WIDTH - 2 * LEFT}" height="{ROW - 6}" rx="5" '
            f'fill="hsl(215, 45%, {shade:.0f}%)" stroke="#9ab"/>',
            f'<text x="{LEFT + 12}" y="{y + 21}" font-size="15" font-weight="bold">{name or "floor"}</text>',
            f'<text x="{LEFT + 128}" y="{y + 21}" font-size="12.5">{text}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    OUT.write_text(svg())
