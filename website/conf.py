"""How Sphinx builds the site from what ``website.pages`` has put together."""

import re
import shutil
import sys
from importlib.metadata import distribution
from pathlib import Path

from docutils import nodes

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import convlib
from website.pages import linked_to_chapters, picture_sentences

project = "A companion to convolutional networks"
author = "The convlib authors"
version = release = convlib.__version__
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
smartquotes_action = "D"  # dashes only: the text says itself which quotes it wants
default_role = "py:obj"  # what docstrings put between single backticks

nb_execution_mode = "off"  # the chapters come with their outputs
nb_ipywidgets_js = {}  # no widget state is stored, and its scripts would come from elsewhere
myst_enable_extensions = ["amsmath", "attrs_inline", "dollarmath"]
myst_heading_anchors = 4
myst_heading_slug_func = "website.pages.notebook_anchor"

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # what a base class says of its methods is said once
autodoc_typehints = "none"  # the docstrings give types, with shapes
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = "Convolutional networks"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_copy_source = False
html_show_copyright = False  # the README says under which licences the parts are
html_show_search_summary = False  # it would be fetched, which a browser refuses to files on disk
mathjax_path = "mathjax.js"


def copy_mathjax(app, error):
    """Put the one file of MathJax that asks for no other beside the pages."""
    if error is None:
        package = distribution("sphinx-mathjax-offline")
        script = "sphinx-mathjax-offline/static/mathjax/tex-svg-full.js"
        shutil.copy(package.locate_file(script), app.outdir / "_static" / mathjax_path)


def describe_pictures(app, doctree):
    """Give each picture of a chapter the sentence that is stored with it."""
    for image in doctree.findall(nodes.image):
        if "alt" not in image:
            image["alt"] = app.picture_sentences[Path(image["uri"]).stem]


def rewrite_docstring(app, what, name, thing, options, lines):
    """Let a docstring lead to the chapter that it names, and shapes look like shapes."""
    text = linked_to_chapters("\n".join(lines))
    # Sphinx puts types in parentheses, which shapes and pairs have themselves.
    text = re.sub(r"(?m)^(:\w*type .*?: )(?=\()(?!\(*int)", r"\1array ", text)
    text = re.sub(r"(?m)^(:\w*type .*?: )\((int, int|\(int, int\), \(int, int\))\)$", r"\1\2", text)
    lines[:] = text.split("\n")


def leave_out_fields(app, what, name, thing, skip, options):
    """Leave out what named tuples say of their fields, which their docstrings say better."""
    return True if type(thing).__name__ == "_tuplegetter" else None


def find_in_convlib(app, env, node, content):
    """Let `shapes.same_padding` lead to ``convlib.shapes.same_padding``."""
    if node.get("refdomain") == "py":
        python, target = env.get_domain("py"), f"convlib.{node['reftarget']}"
        return python.resolve_xref(
            env, node["refdoc"], app.builder, node["reftype"], target, node, content
        )


def give_captions_a_level(app, page, template, context, doctree):
    """Say of the captions in the table of contents which level of heading they are."""
    context["furo_navigation_tree"] = context["furo_navigation_tree"].replace(
        'role="heading"', 'role="heading" aria-level="2"'
    )


def setup(app):
    """Connect what is particular to this site."""
    app.picture_sentences = picture_sentences()
    app.connect("autodoc-process-docstring", rewrite_docstring)
    app.connect("autodoc-skip-member", leave_out_fields)
    app.connect("missing-reference", find_in_convlib)
    app.connect("doctree-read", describe_pictures)
    app.connect("html-page-context", give_captions_a_level, priority=900)  # after the theme
    app.connect("build-finished", copy_mathjax)
