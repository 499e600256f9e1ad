"""Sphinx: `sphinx-build -W -b html docs docs/_build`, and with `-b doctest` every example is run."""

# ruff: noqa: ARG001 (Sphinx calls its hooks with all that it has)
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import accelsim

project = "accelsim"
author = "The accelsim authors"
copyright = author
release = version = accelsim.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.doctest"]
exclude_patterns = ["_build", "excerpts"]
source_suffix = {".md": "markdown"}

html_theme = "furo"
html_title = f"accelsim {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "code"  # `name` in a docstring
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "model_config, model_post_init"}
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_rtype = False

doctest_global_setup = "import accelsim"


def _as_plain_text(app, what, name, obj, options, lines):
    """Kernels are documented in plain text, with tables by indentation: shown as it stands."""
    if name.startswith("accelsim.engines.kernels.") and lines:
        lines[:] = ["::", "", *(f"    {line}" for line in lines), ""]


def setup(app):
    app.connect("autodoc-process-docstring", _as_plain_text)
