"""Parameters with the least that is needed, and what is told of wrong ones."""

from copy import deepcopy
from typing import Any

import pytest

from soup.config.params import parse
from soup.config.validation import ParamsError

LEAST: dict[str, Any] = {
    "experiment": "cats",
    "data": {"root": "images"},
    "base": {"model": "resnet18"},
    "sweep": {"runs": 3},
}


def given(**changes: Any) -> dict[str, Any]:
    """The least that is needed, with changes: `sweep__runs=4` sets sweep.runs."""
    raw = deepcopy(LEAST)
    for path, value in changes.items():
        *outer, last = path.split("__")
        place = raw
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = value
    return raw


def problems(**changes: Any) -> list[str]:
    with pytest.raises(ParamsError) as error:
        parse(given(**changes))
    first, *listed = str(error.value).splitlines()
    assert first.startswith(f"params: {len(listed)} problem")
    return [line.strip() for line in listed]
