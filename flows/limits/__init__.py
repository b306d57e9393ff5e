"""GPUs that several sweeps share, as a limit of the Prefect server."""
