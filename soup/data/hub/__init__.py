"""Data sets of the Hugging Face hub: which files a split has, their download, what is kept."""
