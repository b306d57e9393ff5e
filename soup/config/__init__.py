"""What a scientist may change, typed and checked, and the configurations drawn from it."""
