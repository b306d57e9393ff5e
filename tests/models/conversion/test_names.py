"""The pool's names are told from all others."""

from soup.models.conversion.names import from_model_soups

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
