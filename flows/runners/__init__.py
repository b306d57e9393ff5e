"""Where fine-tunes run: this machine, a Ray cluster, or a Prefect work pool."""
