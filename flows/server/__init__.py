"""Prefect's server: checked, retried, started for one run, and served behind a check of hosts."""
