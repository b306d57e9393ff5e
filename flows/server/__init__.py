"""Prefect's server: checked, retried, started for one run, and served behind checks of its own."""
