"""Check the relative links of the Markdown files outside docs/; Sphinx checks those inside."""

import re
import sys
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[1]
FILES = [*ROOT.glob("*.md"), *ROOT.glob("slurm/*.md"), *ROOT.glob("benchmarks/gpu/*.md"), *ROOT.glob(".github/**/*.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """Return a page's relative links that lead nowhere."""
    broken = []
    for link in LINK.findall(CODE.sub("", page.read_text())):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (page.parent / name) if name else page
        if not target.exists():
            broken.append(f"{page.relative_to(ROOT)}: there is no {link}")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text()):
            broken.append(f"{page.relative_to(ROOT)}: {name or page.name} has no heading #{anchor}")
    return broken


def main() -> None:
    """Print broken links; exit code 1 where there is one."""
    broken = [line for page in sorted(FILES) for line in broken_links(page)]
    print(*broken, sep="\n", end="\n" if broken else "", file=sys.stderr)
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
