"""A network for a browser: its description, its numbers, and JavaScript that computes with them."""

from convlib.notebook.explorer.export import describe, export

__all__ = ["describe", "export"]
