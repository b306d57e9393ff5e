"""Prefixes go only when all names share them; the pool's names are told from all others."""

from hypothesis import given
from hypothesis import strategies as st

from soup.models.conversion.names import PREFIXES, from_model_soups, strip

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


POOL = ["model.visual.conv1.weight", "classification_head.weight", "classification_head.bias"]


def test_the_pools_names_are_mapped_and_its_text_tower_is_left_out() -> None:
    assert from_model_soups([*POOL, "model.logit_scale", "model.ln_final.weight"]) == {
        "model.visual.conv1.weight": "visual.conv1.weight",
        "classification_head.weight": "head.weight",
        "classification_head.bias": "head.bias",
    }


def test_other_layouts_are_not_taken_for_the_pools() -> None:
    assert from_model_soups(POOL[:1]) is None
    assert from_model_soups(POOL[1:]) is None
    assert from_model_soups([*POOL, "decoder.weight"]) is None
    assert from_model_soups(["visual.conv1.weight", "head.weight"]) is None
