"""How a run is watched: in the terminal, in Prefect, by Prometheus, in logs, by a webhook."""
