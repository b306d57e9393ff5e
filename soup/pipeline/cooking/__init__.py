"""What cooking a soup takes and yields: supplies of recipes, costs, results that are kept."""
