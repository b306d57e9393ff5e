"""Which images train, which are held out, which are for evaluation only."""
