"""What classes are called in prompts, and the head that these make."""

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from timm.data import ImageNetInfo

from soup.config.params import Base, ParamsError, load
from soup.models import ModelError
from soup.models.clip_towers import registered_name
from soup.models.zero_shot import TEMPLATES, class_names, zero_shot
from tests.worlds import tiny_clip


def base(**changes: Any) -> Base:
    return Base(**{"library": "open_clip", "model": "ViT-B-32", "weights": "openai", **changes})


def test_all_of_imagenet_s_folders_get_its_names_in_order() -> None:
    wnids = sorted(ImageNetInfo().label_names())
    assert class_names(base(), wnids) == list(open_clip.IMAGENET_CLASSNAMES)
    assert class_names(base(), ["n01440764", "n15075141"]) == ["tench", "toilet paper"]


def test_the_two_lists_are_in_the_same_order() -> None:
    """The ids are timm's, the names open_clip's: WordNet's own words tell whether they agree."""
    info = ImageNetInfo()
    told = [info.index_to_description(index).lower().split() for index in range(1000)]
    names = [name.lower() for name in open_clip.IMAGENET_CLASSNAMES]
    shared = [
        any(word.strip(",") in name for word in words)
        for words, name in zip(told, names, strict=True)
    ]
    assert sum(shared) > 900


def test_an_id_that_imagenet_does_not_have_is_named() -> None:
    with pytest.raises(
        ModelError, match=r"1 of 2 class folders are none of .* \(n99999999\): give"
    ):
        class_names(base(), ["n01440764", "n99999999"])


def test_other_folders_are_called_by_their_names_with_spaces() -> None:
    assert class_names(base(), ["golden_retriever", "n1"]) == ["golden retriever", "n1"]
    assert class_names(base(class_names=["dog_", "b"]), ["n01440764", "x"]) == ["dog_", "b"]


def test_class_names_must_be_as_many_as_the_folders() -> None:
    with pytest.raises(ModelError, match="class_names has 2 names, but there are 3 class folders"):
        class_names(base(class_names=["a", "b"]), ["x", "y", "z"])


def test_named_templates_are_open_clip_s_own_and_the_80_are_the_default() -> None:
    assert len(TEMPLATES["openai"]) == 80
    assert len(TEMPLATES["simple"]) == 7
    assert TEMPLATES["photo"][0]("cat") == "a photo of a cat."
    assert base().templates == "openai"


@pytest.mark.parametrize(
    ("given", "same_as"),
    [
        ("photo", ["a photo of a {}."]),
        ("simple", [t("{}") for t in open_clip.SIMPLE_IMAGENET_TEMPLATES]),
        ("openai", [t("{}") for t in open_clip.OPENAI_IMAGENET_TEMPLATES]),
    ],
)
def test_a_named_list_makes_the_head_that_its_prompts_make(
    tmp_path: Path, given: str, same_as: list[str]
) -> None:
    config, weights = tiny_clip(tmp_path)
    model = open_clip.create_model(registered_name(config), pretrained=weights)
    heads = [
        zero_shot(model, base(model=config, templates=templates), ["red", "blue {0}"])
        for templates in (given, same_as, ["{}, otherwise"])
    ]
    assert torch.equal(heads[0], heads[1])
    assert not torch.allclose(heads[0], heads[2])
    torch.testing.assert_close(heads[0].norm(dim=1), model.logit_scale.detach().exp().expand(2))


@pytest.mark.parametrize(
    ("templates", "told"),
    [
        ("openaI", "base.templates: must be 'openai', 'simple' or 'photo', got 'openaI'"),
        ("[]", "base.templates: has too few entries: at least 1"),
        ("[a photo]", r"base: templates without {} for the class name: \['a photo'\]"),
    ],
)
def test_templates_that_cannot_be_used_are_named(tmp_path: Path, templates: str, told: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(
        "experiment: x\ndata: {root: data}\nsweep: {runs: 1}\n"
        f"base: {{model: m, library: open_clip, templates: {templates}}}\n"
    )
    with pytest.raises(ParamsError, match=told):
        load(path)
