"""GPUs shared between sweeps: a global limit of the server, and who holds it."""
