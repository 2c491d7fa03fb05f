# SPDX-License-Identifier: Apache-2.0
"""The documentation as a site: ``make site`` writes it to ``build/site``."""

import logging

from appliance import __version__

project = "Saltkeep"
author = "Saltkeep"
release = version = __version__

extensions = ["myst_parser", "sphinx_click", "sphinx_copybutton"]
myst_enable_extensions = ["attrs_inline", "colon_fence"]
myst_heading_anchors = 4
nitpicky = True
exclude_patterns = ["README.md"]

html_theme = "furo"
html_title = f"Saltkeep {release}"
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}

# What is copied from a console is what was typed, without prompt and without output.
copybutton_prompt_text = r"[$#] "
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = "\\"

# Programs whose help is printed bring a library that reports its plugins.
logging.getLogger("alembic").setLevel(logging.WARNING)

linkcheck_ignore = [r"https?://"]
"""The check runs without a network; what it checks is our own pages."""
