"""All targets."""

from tests.fuzz import data, records, weights

TARGETS = [*weights.TARGETS, *data.TARGETS, *records.TARGETS]
