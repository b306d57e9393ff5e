"""What others see of a run: Prometheus, webhooks, the sweep's state."""
