"""Figures and the report of a run. Nothing here is imported by training or evaluation.

`figures`, `comparisons` and `dictionaries` turn arrays into matplotlib figures in the one look of
`style`, `saving` writes them with their numbers, `pages` turns tables, pictures and text into one
self-contained page, and `explorer` makes a page that decodes codes in the browser.
"""
