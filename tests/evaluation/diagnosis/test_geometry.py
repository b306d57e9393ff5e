"""Distances and angles against all numbers flattened; verdicts on models whose kin is known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor, nn

from soup.evaluation.diagnosis.geometry import Geometry, kinship, measure
from soup.weights import Incompatible, Weights
from tests.strategies import alike

Models = dict[str, dict[str, Tensor]]


def flat(weights: Weights, names: list[str]) -> list[float]:
    return [x for name in names for x in weights[name].double().flatten().tolist()]


def length(v: list[float]) -> float:
    return math.sqrt(math.fsum(x * x for x in v))


def degrees(u: list[float], v: list[float]) -> float:
    cosine = math.fsum(x * y for x, y in zip(u, v, strict=True)) / (length(u) * length(v))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def minus(u: list[float], v: list[float]) -> list[float]:
    return [x - y for x, y in zip(u, v, strict=True)]


def require_equal(found: Geometry, models: Models, base: Weights, names: list[str]) -> None:
    points = [flat(model, names) for model in models.values()]
    origin = flat(base, names)
    size = max([length(p) for p in [*points, origin]] + [1e-300])
    assert found.from_base is not None
    assert found.angles is not None
    for i, a in enumerate(points):
        assert found.norms[i] == pytest.approx(length(a), rel=1e-9)
        assert found.from_base[i] == pytest.approx(length(minus(a, origin)), abs=3e-6 * size)
        for j, b in enumerate(points):
            assert found.distances[i, j] == pytest.approx(length(minus(a, b)), abs=3e-6 * size)
            if length(a) > 0 and length(b) > 0:
                expected = math.cos(math.radians(degrees(a, b)))
                assert found.cosines[i, j] == pytest.approx(expected, abs=1e-9)
            u, v = minus(a, origin), minus(b, origin)
            if min(length(u), length(v)) > 1e-3 * size:
                assert found.angles[i, j] == pytest.approx(degrees(u, v), abs=0.1)


@given(alike(least=2))
def test_distances_cosines_and_angles_are_those_of_all_numbers_in_a_row(models: Models) -> None:
    base, *rest = models
    # Tied tensors are one.
    names = [n for n, x in base.items() if x.is_floating_point() and n != "tied"]
    named = {f"m{i}": model for i, model in enumerate(rest)}
    found = measure(named, base)
    require_equal(found["all"], named, base, names)


def vectors(seed: int, **shapes: tuple[int, ...]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


SHAPES = {"a": (40, 50), "gain": (40,), "head.weight": (5, 40), "head.bias": (5,)}


def moved(weights: Weights, by: float, seed: int) -> dict[str, Tensor]:
    step = vectors(seed, **{name: tuple(x.shape) for name, x in weights.items()})
    return {name: x + by * step[name] for name, x in weights.items()}


def test_the_backbone_is_the_matrices_outside_the_head() -> None:
    base = vectors(0, **SHAPES)
    named = {"A": moved(base, 0.1, 1), "B": moved(base, 0.2, 2)}
    found = measure(named, base)
    require_equal(found["backbone"], named, base, ["a"])
    require_equal(found["head"], named, base, ["head.weight", "head.bias"])
    require_equal(found["all"], named, base, [*SHAPES])


def test_without_a_base_there_is_no_angle_at_it() -> None:
    found = measure({"A": vectors(0, **SHAPES), "B": vectors(1, **SHAPES)})["all"]
    assert found.angles is None
    assert found.from_base is None
    assert found.cosines.shape == found.relative.shape == (2, 2)


def test_models_that_differ_in_shape_are_not_measured() -> None:
    with pytest.raises(Incompatible, match=r"head\.weight"):
        measure({"A": vectors(0, **SHAPES), "B": vectors(0, **(SHAPES | {"head.weight": (6, 40)}))})


def verdicts(models: Models, base: Weights | None = None, **digests: str) -> dict[str, str]:
    return {one.name: one.verdict for one in kinship(measure(models, base), digests)}


@pytest.mark.parametrize("with_base", [False, True])
def test_a_stranger_among_fine_tunes_of_one_base_is_found(with_base: bool) -> None:
    base = vectors(0, **SHAPES)
    models = {"stranger": vectors(9, **SHAPES)}
    models |= {name: moved(base, 0.1, seed) for seed, name in enumerate("ABC", start=1)}
    models["hot"] = moved(base, 2, 4)
    found = {one.name: one for one in kinship(measure(models, base if with_base else None))}
    assert {name: one.verdict for name, one in found.items()} == {
        "stranger": "unrelated", "A": "shared", "B": "shared", "C": "shared", "hot": "far",
    }  # fmt: skip
    stranger = found["stranger"]
    assert stranger.reference == "the base" if with_base else stranger.reference in "ABC"
    said = str(stranger)
    assert said.startswith(f"stranger does not share its initialisation with {stranger.reference}")
    assert f"cosine {stranger.cosine:.3f}, relative distance 1.4" in said
    assert "A shares a basin with" in str(found["A"])
    assert "far away" in str(found["hot"])


def test_gains_near_one_do_not_make_strangers_kin() -> None:
    models = {str(s): vectors(s, a=(40, 50)) | {"gain": torch.ones(20000)} for s in range(3)}
    assert measure(models)["all"].cosines[0, 1] > 0.8
    assert sorted(verdicts(models).values()) == ["shared", "unrelated", "unrelated"]


def test_strangers_seen_from_a_stranger_are_no_family_although_they_look_like_one() -> None:
    base, a, b = (vectors(seed, a=(200, 50)) for seed in range(3))
    found = measure({"A": a, "B": b}, base)["backbone"]
    assert found.angles is not None
    assert found.from_base is not None
    assert found.angles[0, 1] == pytest.approx(60, abs=2)
    assert found.from_base[0] == pytest.approx(found.from_base[1], rel=0.05)
    assert verdicts({"A": a, "B": b}, base) == {"A": "unrelated", "B": "unrelated"}


def test_a_digest_verifies_the_base_but_does_not_excuse_the_distance() -> None:
    base = vectors(0, **SHAPES)
    models = {"A": moved(base, 0.1, 1), "lost": vectors(9, **SHAPES), "other": vectors(8, **SHAPES)}
    digests = {"A": "d", "lost": "d", "other": "e", "the base": "d"}
    found = {one.name: one for one in kinship(measure(models, base), digests)}
    assert found["A"].verified
    assert "verified by its digest" in str(found["A"])
    assert (found["lost"].verdict, found["lost"].verified) == ("far", True)
    assert (found["other"].verdict, found["other"].verified) == ("unrelated", False)
    among = {one.name: one for one in kinship(measure({**models, "B": moved(base, 0.1, 2)}), {})}
    assert not any(one.verified for one in among.values())


def test_a_broken_model_is_called_broken_and_judges_nobody() -> None:
    base = vectors(0, **SHAPES)
    models = {"nan": moved(base, 0.1, 1), "A": moved(base, 0.1, 2), "B": moved(base, 0.1, 3)}
    models["nan"]["a"][3, 4] = math.nan
    assert verdicts(models) == {"nan": "broken", "A": "shared", "B": "shared"}
    assert "NaN" in str(kinship(measure(models))[0])


def test_one_model_given_twice_is_at_no_distance_from_itself() -> None:
    base = {name: x.bfloat16() for name, x in vectors(0, **SHAPES).items()}
    copy = {name: x.clone() for name, x in base.items()}
    near = {name: x.clone() for name, x in base.items()}
    near["a"][0, 0] += near["a"][0, 0] * 2**-7
    found = measure({"A": base, "B": near, "C": copy}, moved(base, 0.01, 1))["all"]
    assert found.twice() == [("A", "C")]
    assert found.distances[0, 2] == 0
    assert found.angles is not None
    assert found.angles[0, 2] == 0


def trained(seed: int, start: nn.Module | None, rate: float, shift: float) -> nn.Module:
    """An MLP on blobs of eight classes, from a start or from its own."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(32, 16, generator=torch.Generator().manual_seed(0))
    kinds = torch.randint(0, 32, (1024,), generator=generator)
    inputs = centres[kinds] + shift + 0.5 * torch.randn(1024, 16, generator=generator)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
    model.append(nn.Linear(64, 8))
    if start is not None:
        model.load_state_dict(start.state_dict())
    for _ in range(5):
        for part in torch.randperm(1024, generator=generator).split(64):
            loss = nn.functional.cross_entropy(model(inputs[part]), kinds[part] % 8)
            slopes = torch.autograd.grad(loss, [*model.parameters()])
            with torch.no_grad():
                for parameter, slope in zip(model.parameters(), slopes, strict=True):
                    parameter.sub_(rate * slope)
    return model


def test_real_fine_tunes_of_one_base_share_a_basin_and_real_trainings_of_their_own_do_not() -> None:
    base = trained(1, None, 0.5, 0)
    models = {"slow": trained(2, base, 0.01, 0.3), "fast": trained(3, base, 0.3, 0.3)}
    models |= {"other": trained(4, None, 0.5, 0.3), "another": trained(5, None, 0.5, 0.3)}
    weights = {name: model.state_dict() for name, model in models.items()}
    expected = {"slow": "shared", "fast": "shared", "other": "unrelated", "another": "unrelated"}
    assert verdicts(weights, base.state_dict()) == expected
    assert verdicts(weights) == expected
    cosines = measure(weights)["backbone"].cosines
    assert np.abs(cosines[2:, :2]).max() < 0.1
