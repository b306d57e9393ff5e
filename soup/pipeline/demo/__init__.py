"""The embedded demo: a drawn image set, and a model pretrained on it."""
