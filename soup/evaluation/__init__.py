"""Judging models: metrics, held-out and test scores, comparisons, the promotion gate."""
