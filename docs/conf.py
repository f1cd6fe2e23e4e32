"""How `make docs` builds the manual: MyST pages, the furo theme, nothing fetched from a network."""

from appliance import __version__

project = "Layer-4 appliance"
author = "The authors of the appliance"
project_copyright = "the authors; licence Apache-2.0"
version = release = __version__

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3  # `page.md#a-heading` works as a link, here and on the pages of a code host

nitpicky = True
language = "en"
smartquotes = False  # commands are copied out of the text

html_theme = "furo"
html_title = f"{project} {version}"
html_static_path = ["_static"]
html_css_files = ["manual.css"]
html_copy_source = False
html_show_sphinx = False
