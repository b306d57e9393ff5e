"""What to do about weights that cannot be averaged fits the cause."""

import re

import pytest

from soup.weights.remedies import encoder_prefix, remedy

PLAIN = {"encoder.conv.weight": (8, 3, 3, 3), "encoder.conv.bias": (8,), "fc.weight": (5, 8)}
ENCODER = {f"layers.{i}.{kind}": (8, 8) for i in range(6) for kind in ("q", "k", "v", "o")}
OLD = {name.replace("layers", "encoder.layer"): shape for name, shape in ENCODER.items()}
BERT = {f"bert.{name}": shape for name, shape in ENCODER.items()}
FUSED = {f"blocks.{i}.qkvo": (32, 8) for i in range(6)}
CLASSIFIER = {**BERT, "classifier.weight": (3, 8), "classifier.bias": (3,)}


def prefixed(prefix: str) -> dict[str, tuple[int, ...]]:
    return {prefix + name: shape for name, shape in PLAIN.items()}


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        (PLAIN, prefixed("module."), r"wrappers \(module\.\) alone: .*soup import"),
        (prefixed("model."), PLAIN, r"wrappers \(model\.\) alone: .*soup import"),
        (prefixed("_orig_mod."), prefixed("model.module."), r"_orig_mod\., model\., module\."),
        (
            PLAIN,
            {n.replace("encoder", "encoder._orig_mod"): s for n, s in PLAIN.items()},
            r"wrappers \(_orig_mod\.\) alone",
        ),
        ({"te\u0302te.w": (2,)}, {"t\u00eate.w": (2,)}, "composed and decomposed Unicode alone"),
        (PLAIN, prefixed("student."), r"differ by wrappers \(student\.\) alone.*'soup import'"),
        (PLAIN, prefixed("trunk."), r"differ by trunk\. alone.*soup import FILE --key trunk"),
        (ENCODER, OLD, "as many numbers under other names: .*transformers"),
        (ENCODER, FUSED, "as many numbers under other names: .*soup import --model timm:NAME"),
        (PLAIN, PLAIN | {"fc.weight": (7, 8)}, "same initialisation, head included"),
        (ENCODER, CLASSIFIER, "one is an encoder, the other a model with it and a head"),
        (CLASSIFIER, BERT, "one is an encoder"),
        (PLAIN, PLAIN, "floating-point weights"),
        (PLAIN, ENCODER, "different architectures"),
        (PLAIN, {}, "different architectures"),
        (PLAIN, PLAIN | {"encoder.conv.weight": (8, 3, 5, 5)}, "different architectures"),
    ],
)
def test_the_remedy_fits_the_cause(first: dict, second: dict, wanted: str) -> None:
    for pair in ((first, second), (second, first)):
        assert re.search(wanted, remedy(*pair)), remedy(*pair)
        assert ("same initialisation" in remedy(*pair)) == ("same initialisation" in wanted)


def test_an_encoder_is_found_in_the_model_that_was_made_of_it() -> None:
    assert encoder_prefix(ENCODER, CLASSIFIER) == "bert."
    assert encoder_prefix(BERT, CLASSIFIER) == ""
    assert encoder_prefix({**BERT, "cls.bias": (9,)}, CLASSIFIER) == ""
    assert encoder_prefix(PLAIN, CLASSIFIER) is None
    deeper = {**BERT, "bert.layers.6.q.weight": (8, 8)}
    assert encoder_prefix(ENCODER, deeper) is None
