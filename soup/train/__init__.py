"""Pretraining, the linear probe and fine-tuning, all through one loop."""
