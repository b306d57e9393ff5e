"""The split: which images train, which are held out, which are for evaluation only."""
