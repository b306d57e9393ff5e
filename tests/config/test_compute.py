"""Where fine-tunes run, as it is written."""

from typing import Any

import pytest

from soup.config.params import Params, parse
from soup.config.validation import ParamsError
from tests.config.given import given


def parsed(runner: Any) -> Params:
    return parse(given(compute__runner=runner))


def test_a_kind_alone_is_enough() -> None:
    assert parsed("ray") == parsed({"kind": "ray"})
    assert parse(given()).compute.runner.kind == "local"


def test_what_travels_to_other_hosts_is_read_there_as_it_was() -> None:
    params = parsed({"kind": "ray", "address": "head:6379"})
    assert parse(params.model_dump(mode="json", by_alias=True)) == params


@pytest.mark.parametrize(
    ("runner", "message"),
    [
        ("spark", "compute.runner.kind: must be 'local', 'ray' or 'pool'"),
        ("dask", "compute.runner.kind: the Dask runner is gone; use ray, or a Prefect work pool"),
        ({"kind": "dask", "address": "tcp://head:8786"}, "kind: the Dask runner is gone; use ray"),
        ({"kind": "local", "workers": 2}, "workers is for kind: ray, and this is local"),
        ({"kind": "pool", "pool": "a", "address": "b"}, "address is for kind: ray, and this is p"),
        ({"kind": "ray", "address": "auto", "workers": 2}, "not both"),
        ("pool", "the name of the work pool, 'pool', go together"),
        ({"kind": "ray", "pool": "a"}, "the name of the work pool, 'pool', go together"),
    ],
)
def test_what_cannot_be_meant_is_refused(runner: Any, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        parsed(runner)
