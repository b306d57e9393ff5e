"""A published encoder serves as the base of its classifiers: by what it has, and no more."""

import numpy as np
import pytest
import torch
from torch import Tensor

from soup.evaluation.diagnosis.base import Encoder
from soup.evaluation.diagnosis.geometry import kinship, measure
from soup.weights import Incompatible


def encoder(seed: int, prefix: str = "") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {f"{prefix}layers.{i}.w": torch.randn(8, 9, generator=generator) for i in range(5)}


def classifier(seed: int, prefix: str = "", classes: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    step = encoder(seed + 100, prefix)
    body = {name: x + 0.1 * step[name] for name, x in encoder(0, prefix).items()}
    head = {"classifier.weight": torch.randn(classes, 9, generator=generator)}
    return {**body, f"{prefix}pooler.weight": torch.randn(9, 9, generator=generator), **head}


BASES = {
    "no head": encoder(0),
    "another head": {**encoder(0), "classifier.weight": torch.ones(1000, 9)},
    "a head of its own": {**encoder(0), "lm_head.bias": torch.ones(7)},
}


@pytest.mark.parametrize("prefix", ["", "bert."])
@pytest.mark.parametrize("kind", BASES)
def test_distances_are_those_of_the_tensors_that_the_base_has(kind: str, prefix: str) -> None:
    models = {name: classifier(seed, prefix) for seed, name in enumerate("ABC", start=1)}
    base = Encoder(BASES[kind], models["A"])
    assert set(base.lacks) == {f"{prefix}pooler.weight", "classifier.weight"}
    found = measure(models, base)["backbone"]
    for index, model in enumerate(models.values()):
        squares = [
            np.square(model[prefix + name].double().numpy() - x.double().numpy()).sum()
            for name, x in encoder(0).items()
        ]
        assert found.from_base[index] == pytest.approx(np.sqrt(sum(squares)))
    assert {relation.verdict for relation in kinship(measure(models, base))} == {"shared"}
    strange = {name: torch.randn_like(x) for name, x in models["A"].items()}
    assert kinship(measure({"X": strange}, base))[0].verdict == "unrelated"


def test_another_encoder_is_refused() -> None:
    with pytest.raises(Incompatible, match="do not hold the tensors of the base"):
        Encoder({"conv.w": torch.ones(3)}, classifier(1))
