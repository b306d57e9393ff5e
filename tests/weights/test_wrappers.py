"""Prefixes go only when all names share them; wrappers go wherever they stand in a name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soup.weights.wrappers import PREFIXES, strip, unwrap

words = st.lists(st.sampled_from([*PREFIXES, "head.", "w", "b"]), min_size=1, max_size=5)
every = st.lists(words.map("".join), min_size=1, max_size=5, unique=True)


@given(names=every)
def test_names_lose_what_they_share_and_nothing_else(names: list[str]) -> None:
    new, stripped = strip(names, PREFIXES)
    assert {"".join(stripped) + short for short in new.values()} == set(names)
    assert all(old == "".join(stripped) + short for old, short in new.items())
    left = list(new.values())
    assert not any(all(name.startswith(prefix) for name in left) for prefix in PREFIXES)


def test_prefixes_are_stripped_in_any_order_as_often_as_they_stand() -> None:
    new, stripped = strip(["model.module.model.a", "model.module.model.b"], PREFIXES)
    assert (list(new.values()), stripped) == (["a", "b"], ("model.", "module.", "model."))


def test_an_empty_prefix_strips_nothing() -> None:
    assert strip(["a"], [""]) == ({"a": "a"}, ())


PLAIN = ["encoder.conv.weight", "encoder.conv.bias", "fc.weight"]
WRAPPED = {
    "compiled": [
        "_orig_mod.encoder.conv.weight",
        "_orig_mod.encoder.conv.bias",
        "_orig_mod.fc.weight",
    ],
    "part compiled": ["encoder._orig_mod.conv.weight", "encoder._orig_mod.conv.bias", "fc.weight"],
    "layer compiled": ["encoder.conv._orig_mod.weight", "encoder.conv._orig_mod.bias", "fc.weight"],
    "FSDP": [
        "_fsdp_wrapped_module.encoder._fsdp_wrapped_module.conv.weight",
        "_fsdp_wrapped_module.encoder._fsdp_wrapped_module.conv.bias",
        "_fsdp_wrapped_module.fc.weight",
    ],
    "FSDP of fairscale": [
        "_fsdp_wrapped_module._fpw_module.encoder.conv.weight",
        "_fsdp_wrapped_module._fpw_module.encoder.conv.bias",
        "_fsdp_wrapped_module._fpw_module.fc.weight",
    ],
    "checkpointed": [
        "encoder._checkpoint_wrapped_module.conv.weight",
        "encoder._checkpoint_wrapped_module.conv.bias",
        "fc.weight",
    ],
    "Lightning, compiled, DDP": [
        "model._orig_mod.module.encoder.conv.weight",
        "model._orig_mod.module.encoder.conv.bias",
        "model._orig_mod.module.fc.weight",
    ],
    "Fabric": [
        "_forward_module.model.encoder.conv.weight",
        "_forward_module.model.encoder.conv.bias",
        "_forward_module.model.fc.weight",
    ],
    "inner DataParallel": [
        "encoder.module.conv.weight",
        "encoder.module.conv.bias",
        "fc.weight",
    ],
    "all at once": [
        "model.encoder._orig_mod.module.conv._checkpoint_wrapped_module.weight",
        "model.encoder._orig_mod.module.conv._checkpoint_wrapped_module.bias",
        "model.fc._fsdp_wrapped_module.weight",
    ],
}


@pytest.mark.parametrize("how", WRAPPED)
def test_wrappers_go_wherever_they_stand(how: str) -> None:
    new, removed = unwrap(WRAPPED[how])
    assert new == dict(zip(WRAPPED[how], PLAIN, strict=True))
    assert removed
    assert unwrap(PLAIN) == ({name: name for name in PLAIN}, ())


@pytest.mark.parametrize(
    "own",
    [
        ["blocks.0.module.weight", "blocks.1.module.weight", "fc.weight"],  # a residual branch
        ["encoder.module.weight", "encoder.scale"],  # has a sibling
        ["a._orig_mod.weight", "a.weight"],  # would be one
        ["a._orig_mod", "module", "b.module"],  # tensors of that name
    ],
)
def test_what_may_be_of_the_model_itself_stays(own: list[str]) -> None:
    assert unwrap(own) == ({name: name for name in own}, ())


def test_unicode_is_composed_unless_two_names_become_one() -> None:
    assert unwrap(["te\u0302te.w"])[0] == {"te\u0302te.w": "t\u00eate.w"}
    both = ["te\u0302te.w", "t\u00eate.w"]
    assert unwrap(both)[0] == {name: name for name in both}


def test_no_names_are_no_wrappers() -> None:
    assert unwrap([]) == ({}, ())
