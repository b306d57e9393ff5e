"""The fine-tunes of a sweep, or checkpoints in their place, each kept in MLflow."""
