"""Settings of Sphinx for the site; `build.py` writes the pages that it reads.

Nothing that the site shows comes from another address: the fonts are the reader's own, formulas are
MathML, and the search runs in the page.
"""

import html
import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

sys.path.insert(0, str(Path(__file__).parent))
import api

project = "likelax"
author = "The likelax authors"
version = release = importlib.metadata.version("likelax")
extensions = ["myst_parser", "sphinx_copybutton"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "logo": {"text": "likelax"},
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "header_links_before_dropdown": 7,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["likelax.css"]
html_context = {"default_mode": "auto"}
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"
copybutton_prompt_text = ">>> "
nitpicky = True
toc_object_entries_show_parents = "hide"


class LinkNames(SphinxTransform):
    """Public names in backticks, such as `fit.em`, become links to the API."""

    default_priority = 5

    def apply(self, **kwargs: Any) -> None:
        """Wrap each literal that is a public name in a reference."""
        paths = self.env.app.config.likelax_names
        for literal in list(self.document.findall(nodes.literal)):
            inside = (nodes.reference, nodes.title, pending_xref)
            if any(isinstance(parent, inside) for parent in _parents(literal)):
                continue
            name = re.sub(r"\(.*\)$", "", literal.astext(), flags=re.DOTALL)
            name = re.sub(r"^(lx|likelax)\.", "", name)
            if name not in paths:
                continue
            link = pending_xref(
                "", literal.deepcopy(), refdomain="py", reftype="obj", reftarget=paths[name]
            )
            link["refdoc"] = self.env.docname
            link["refexplicit"] = True
            literal.replace_self(link)


def _parents(node: nodes.Node) -> Any:
    while node.parent is not None:
        node = node.parent
        yield node


def _inline(self: Any, node: nodes.math) -> None:
    self.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block(self: Any, node: nodes.math_block) -> None:
    # a wide formula scrolls by itself; latex2mathml gives no text for a reader of the screen
    math = convert(node.astext(), display="block")
    label = html.escape(node.astext().strip(), quote=True)
    self.body.append(
        f'<div class="formula" tabindex="0" role="math" aria-label="{label}">{math}</div>'
    )
    raise nodes.SkipNode


def link_targets() -> dict[str, str]:
    """Path of the API of each way to write a public name in prose: `fit.em`, `Normal`."""
    return {name.path.removeprefix("likelax."): name.path for name in api.names()}


def setup(app: Sphinx) -> None:
    """Register formulas as MathML and links of names."""
    app.add_config_value("likelax_names", link_targets(), "")
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.add_transform(LinkNames)
