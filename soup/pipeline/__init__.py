"""A project, its stages and what each has left behind."""
