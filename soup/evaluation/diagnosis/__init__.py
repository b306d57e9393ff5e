"""Why a soup works or does not: where models lie, what is between them, what chance did."""
