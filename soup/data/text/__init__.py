"""Labelled texts and pairs of texts: tables, the held-out split, tokens, examples."""
