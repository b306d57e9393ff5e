"""The report: turns data frames of results into one self-contained HTML page.

This file imports nothing: the command writes model cards where matplotlib is not installed.
"""
