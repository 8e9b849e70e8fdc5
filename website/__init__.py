"""The book as a web site: ``python3 book.py site``, or ``python -m website``."""
