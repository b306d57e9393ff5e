"""Images on disk, their split, and how they reach a model."""
