"""Why a soup helps or does not: distances, barriers, and the noise of held-out selection."""
