"""What can be watched of a run: its progress, figures for Prometheus, messages to a webhook."""
