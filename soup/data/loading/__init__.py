"""Images as batches: decoded once, cached, packed, read ahead."""
