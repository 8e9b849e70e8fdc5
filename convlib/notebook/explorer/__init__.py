"""A network for a browser: its description, its numbers, and JavaScript that computes with them.

`describe` makes the first two, `script` gives the third, and `export` writes all of it for a page.
`convlib.notebook.Explorer` is the same in a notebook.
"""

from convlib.notebook.explorer.export import describe, export, script

__all__ = ["describe", "export", "script"]
