"""Sphinx's settings: `make docs` builds the site without a network."""

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
_INTERNAL_BASES = r"galaxy10\.(runs|progress|evaluation\.scoring_progress|training\.loggers\.epoch_tables)\b.*"
nitpick_ignore_regex = [("py:.*", r"(?!galaxy10\b).*"), ("py:class", _INTERNAL_BASES)]

html_theme = "furo"
html_title = "galaxy10"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_copy_source = False
html_show_sphinx = False
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
linkcheck_ignore = [r"https://github\.com/.*/security/.*"]
