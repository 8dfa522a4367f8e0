"""How Sphinx builds the documentation. Nothing here asks the network, nor do the pages."""

from __future__ import annotations

import sys
from pathlib import Path

import docutils.writers.html5_polyglot

import pmbench

_FORMULAS = Path(docutils.writers.html5_polyglot.__file__).parent / "math.css"

sys.path.append(str(Path(__file__).parent / "_ext"))

project = "pmbench"
author = copyright = "The pmbench maintainers"
release = version = pmbench.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton", "generated"]
exclude_patterns = ["_ext"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # links such as ci.md#verdicts

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
smartquotes = False  # options begin with two dashes
default_role = "code"  # docstrings write commands as Markdown does

html_theme = "furo"
html_title = f"pmbench {release}"
html_static_path = ["_static", str(_FORMULAS)]
html_css_files = ["math.css", "custom.css"]
html_math_renderer = "html"
html_copy_source = False
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp, .go"
