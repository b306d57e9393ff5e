"""Prefect's server: waited for, served behind a check, started for one run."""
