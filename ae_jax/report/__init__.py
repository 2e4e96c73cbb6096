"""Figures and the report of a run. Nothing here is imported by training or evaluation.

`figures` turns arrays into matplotlib figures, `report` turns tables, pictures and text into one
self-contained page; only `figures` imports matplotlib.
"""
