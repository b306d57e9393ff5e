"""What is said of a base's licence is what its source states."""

from pathlib import Path

import pytest

from soup.config.params import Base
from soup.models.licence import Origin, licence_in, origin


def test_timm_states_the_licence_of_its_own_weights_alone(tmp_path: Path) -> None:
    theirs = origin(Base(model="resnet10t", weights="pretrained"))
    assert theirs == Origin("timm/resnet10t.c3_in1k", "apache-2.0", "timm")
    assert origin(Base(model="resnet10t", weights=str(tmp_path / "mine.pt"))) == Origin()


def test_open_clip_names_the_hub_and_no_licence() -> None:
    base = Base(library="open_clip", model="ViT-B-32", weights="laion2b_s34b_b79k")
    assert origin(base) == Origin("laion/CLIP-ViT-B-32-laion2B-s34B-b79K")


def test_a_model_card_beside_the_weights_is_read(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlanguage: en\nlicense: 'mit'\n---\n# A model\n")
    base = Base(library="transformers", model=str(tmp_path))
    assert origin(base) == Origin("", "mit", "its model card")
    assert origin(Base(library="transformers", model="owner/name")) == Origin("owner/name")


@pytest.mark.parametrize(
    "text",
    [
        "license: mit\n",  # no front matter
        "---\ntitle: x\n---\nlicense: mit\n",  # in the text
        "---\nlicense: [mit, other]\n---\n",
        "---\nlicense_name: mine\n---\n",
    ],
)
def test_what_is_no_licence_in_the_front_matter_is_not_taken_for_one(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "README.md").write_text(text)
    assert licence_in(tmp_path / "README.md") == ""
    assert licence_in(tmp_path / "missing.md") == ""
