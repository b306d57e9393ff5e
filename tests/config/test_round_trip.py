"""Parameters mean the same in another process, which gets them as JSON with every default given.

So do workers, and so does a deployed flow, whose form is filled with the defaults.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from soup.config.params import Params, load, parse
from soup.data.text.prepare import sources
from soup.pipeline.stages.study import study_of
from soup.pipeline.sweep.sampling import sample
from tests.checkouts import REPO

FILES = [REPO / "params.yaml", *sorted((REPO / "configs").glob("*.yaml"))]
MODELS = ["probe", *(f"ft-{number:03d}" for number in range(80))]


def sent(params: Params) -> Params:
    return parse(json.loads(json.dumps(params.model_dump(mode="json", by_alias=True))))


def changed(**sweep: Any) -> Params:
    raw = yaml.safe_load((REPO / "params.yaml").read_text())
    raw["sweep"] |= sweep
    return parse(raw)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_configuration_is_the_same_sweep_of_the_same_data(file: Path) -> None:
    params = load(file)
    other = sent(params)
    assert other == params
    assert sample(other.sweep) == sample(params.sweep)
    if params.data.text is not None:
        assert sources(other.data) == sources(params.data)


@pytest.mark.parametrize("name", ["paper-random", "paper-grid", "extreme-grid", "seeds-only"])
def test_a_named_space_is_searched_alike(name: str) -> None:
    params = changed(space={"like": name, "mixup": 0.125}, runs=1, method=None)
    found = sample(sent(params).sweep)
    assert found == sample(params.sweep)
    assert found[0].mixup == 0.125


@pytest.mark.parametrize(
    ("text", "train", "test"),
    [("rte", "train.tsv", "dev.tsv"), ("mnli", "train.tsv", "dev_matched.tsv")],
)
def test_a_task_reads_its_own_files(text: str, train: str, test: str) -> None:
    raw = yaml.safe_load((REPO / "configs/glue_minilm.yaml").read_text())
    raw["data"] |= {"text": text}
    params = sent(parse(raw))
    assert {name: s.path for name, s in sources(params.data).items()} == {
        "train": train, "test": test,
    }  # fmt: skip
    raw["data"] |= {"train": "more.tsv"}
    assert sources(sent(parse(raw)).data)["train"].path == "more.tsv"


@pytest.mark.parametrize("name", ["wise-ft", "number-of-models", "distillation", "angle"])
def test_a_listed_study_takes_its_options(name: str) -> None:
    raw = yaml.safe_load((REPO / "params.yaml").read_text())
    params = sent(parse(raw | {"studies": {name: {}}}))
    study_of(name).require(name, params.studies[name], MODELS, 5, "params.yaml")


def test_nothing_asks_what_was_given_after_parameters_were_read() -> None:
    asking = {
        str(file.relative_to(REPO))
        for part in ("soup", "flows")
        for file in (REPO / part).rglob("*.py")
        if "fields_set" in (text := file.read_text()) or "exclude_unset" in text
    }
    assert asking == {
        "flows/server/temporary.py",  # of Prefect's settings
        "soup/config/named_spaces.py",
        "soup/cli/study.py",  # of the command line
        "soup/models/architecture.py",  # of a model's file
    }
