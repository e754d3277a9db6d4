"""Sphinx's settings: `make docs` builds the site without a network."""

import re
from pathlib import Path

from sphinx.application import Sphinx

from galaxy10.version import __version__

project = "galaxy10"
author = "The galaxy10 developers"
copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
myst_enable_extensions = ["attrs_block", "colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_static"]

# Names that a package exports are documented where it exports them.
default_role = "code"  # single backticks, as the docstrings have them
autodoc_member_order = "alphabetical"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # Lightning's and torch's own texts stay in their documentation
add_module_names = False
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

# Every reference to galaxy10 has to lead somewhere; other libraries' names would need their sites.
nitpicky = True
_INTERNAL_BASES = r"galaxy10\.(\w+\.\w+|progress|console|files|system)\..+"  # in files that no page is about
nitpick_ignore_regex = [("py:.*", r"(?!galaxy10\b).*"), ("py:class", _INTERNAL_BASES)]

highlight_language = "none"  # commands and directory trees; code says its language
html_theme = "furo"
html_title = "galaxy10"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_copy_source = False
html_show_sphinx = False
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
linkcheck_ignore = [r"https://github\.com/.*/security/.*"]


ROOT = Path(__file__).resolve().parents[1]
# Pages that are files elsewhere in the repository, where hosting sites and users look for them.
_PROJECT_PAGES = {
    "contributing": "CONTRIBUTING.md",
    "changelog": "CHANGELOG.md",
    "code_of_conduct": "CODE_OF_CONDUCT.md",
    "cluster": "slurm/README.md",
}


def _read_project_page(app: Sphinx, docname: str, source: list[str]) -> None:
    """Read such a page from its file, with its links as they are from docs/."""
    if docname not in _PROJECT_PAGES:
        return
    path = ROOT / _PROJECT_PAGES[docname]
    app.env.note_dependency(str(path))
    text = path.read_text(encoding="utf-8").replace("](docs/", "](").replace("](LICENSE)", "](../LICENSE)")
    for page, name in _PROJECT_PAGES.items():
        text = re.sub(rf"\]\({re.escape(name)}", f"]({page}.md", text)
    source[0] = text


def setup(app: Sphinx) -> None:
    """Connect what this file defines."""
    app.connect("source-read", _read_project_page)
