"""A parameter file is checked as a whole: every problem, where it is, what it got."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from soup.config.params import Params, load, parse
from soup.config.validation import ParamsError
from tests.config.given import LEAST, given, problems

ROOT = Path(__file__).parents[2]


def test_the_demos_parameters_are_valid() -> None:
    assert load(ROOT / "params.yaml").base.weights == "embedded"


def test_every_problem_of_a_file_is_listed_with_its_key_and_what_it_got(tmp_path: Path) -> None:
    raw = given(
        data__heldout__fraction=1.5,
        sweep__runs="many",
        sweep__space__lr=[1e-5, -1],
        base__library="keras",
        evaluate__confidence=0,
    )
    del raw["experiment"]
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(ParamsError) as error:
        load(path)
    assert str(error.value).splitlines() == [
        f"{path}: 6 problems",
        "  experiment: missing",
        "  data.heldout.fraction: must be less than 1, got 1.5",
        "  base.library: must be 'timm', 'open_clip' or 'transformers', got 'keras'",
        "  sweep.runs: must be a whole number, got 'many'",
        "  sweep.space.lr.1: must be at least 0, got -1",
        "  evaluate.confidence: must be greater than 0, got 0",
    ]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (
            "sweeep",
            "did you mean sweep?; known here: "
            "experiment, data, base, probe, sweep, soup, evaluate, register, studies, compute",
        ),
        ("soup__ties", "did you mean tie?; "
         "known here: recipe, compare, score, tie, include_probe, batchnorm, recalibrate"),
        ("data__heldout__share", "known here: fraction, per_class, index, folder"),
        ("data__shapes__colour", "known here: seed, train, test, shift, upstream"),
        ("sweep__space__lr__low", "known here: min, max, scale, zero"),
        ("sweep__space__lr__maxx", "did you mean max?; known here: min, max, scale, zero"),
        ("soup__runs", "did you mean sweep.runs?; "
         "known here: recipe, compare, score, tie, include_probe, batchnorm, recalibrate"),
        ("data__heldout__lr", "did you mean base.pretrain.lr, sweep.swa.lr, sweep.space.lr?; "
         "known here: fraction, per_class, index, folder"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_told_the_known_ones_and_the_nearest(path: str, told: str) -> None:
    assert f"{path.replace('__', '.')}: unknown key; {told}" in problems(**{path: 1})


def test_an_unknown_key_of_a_shift_is_told_the_known_ones() -> None:
    shift = {"folder": "v2", "name": "index"}
    expected = ["data.shifts.v2.name: unknown key; known here: folder, layout, classes"]
    assert problems(data__shifts={"v2": shift}) == expected


@pytest.mark.parametrize(
    ("shift", "told"),
    [
        ({"layout": "map"}, "layout: map needs a class map, 'classes: FILE'"),
        ({"layout": "objectnet", "classes": "a.csv"}, "layout: objectnet takes no class map"),
        ({"layout": "imagenet"}, "must be 'auto', 'name', 'index', 'map', 'imagenetv2'"),
    ],
)
def test_a_shift_has_a_known_layout_and_a_map_only_where_it_is_read(
    shift: dict[str, str], told: str
) -> None:
    (said,) = problems(data__shifts={"v2": {"folder": "v2", **shift}})
    assert said.startswith("data.shifts.v2")
    assert told in said


def test_a_shift_is_not_named_as_another_split() -> None:
    named = {name: {"folder": "x"} for name in ("real", "test", "v2")}
    told = ["data: shifts may not be called real, test: these are splits"]
    assert problems(data__shifts=named) == told


def test_numbers_that_yaml_takes_for_text_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(given()) + "probe: {penalty: 1e-6}\n")
    assert yaml.safe_load(path.read_text())["probe"]["penalty"] == "1e-6"
    assert load(path).probe.penalty == 1e-6


@pytest.mark.parametrize("form", [{"fraction": 0.2}, {"per_class": 26}])
def test_held_out_is_a_share_or_a_number_of_images(form: dict[str, float]) -> None:
    heldout = parse(given(data__heldout=form)).data.heldout
    assert heldout.model_dump(exclude_none=True) == form


@pytest.mark.parametrize(
    "form", [{}, {"fraction": 0.2, "per_class": 26}, {"index": "i.npy", "fraction": 0.1}]
)
def test_held_out_is_not_both_and_not_neither(form: dict[str, float]) -> None:
    told = ["data.heldout: give exactly one of 'fraction', 'per_class', 'index' and 'folder'"]
    assert problems(data__heldout=form) == told


@pytest.mark.parametrize(
    ("base", "problem"),
    [
        ({"weights": "embedded"}, "weights: embedded and a 'pretrain' block go together"),
        ({"pretrain": {}}, "weights: embedded and a 'pretrain' block go together"),
        ({"templates": ["a {}", "a"]}, "templates without {} for the class name: ['a']"),
        ({"head": "zeroshot"}, "head: zeroshot needs a text tower; a timm model has none"),
    ],
)
def test_a_base_that_cannot_be_made_is_an_error(base: dict[str, Any], problem: str) -> None:
    assert problems(base={"model": "resnet18"} | base) == [f"base: {problem}"]


NO_NAME = "must be letters, digits, '.', '_' and '-', the first a letter or digit"


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("experiment", "../cats", f"{NO_NAME}, got '../cats'; such as cats"),
        ("experiment", "my cats!", f"{NO_NAME}, got 'my cats!'; such as my-cats"),
        ("experiment", "", f"{NO_NAME}, got ''"),
        ("experiment", 7, "must be text, got 7; put it in quotes: '7'"),
        ("register__model", "a/b", f"{NO_NAME}, got 'a/b'; such as a-b"),
        ("data__heldout__fraction", "20%", "must be a number, got '20%'; write 0.2"),
        ("data__heldout__fraction", 20, "must be less than 1, got 20; it is a share: 20% is 0.2"),
        ("sweep__swa", {"lr": "50 %"}, "must be a number, got '50 %'; write 0.5"),
        ("base__image_size", "32px", "must be a whole number, got '32px'; write 32, without 'px'"),
        ("compute__cache_gib", "8 GiB", "must be a number, got '8 GiB'; write 8, without 'GiB'"),
        ("sweep__space__epochs", [0.5], "must be a whole number, got 0.5; such as 1"),
        ("sweep__space__epochs", 0.5, "must be a whole number, got 0.5; such as 1"),
        ("base__pretrain__epochs", 2.6, "must be a whole number, got 2.6; such as 3"),
        ("sweep__seed", 2**33, "must be less than 4294967296, got 8589934592"),
        ("sweep__space__lr", "1e-3x", "must be a number, got '1e-3x'; write 1e-3, without 'x'"),
        ("sweep__space__lr", "high", "must be a number, got 'high'"),
        ("sweep__space__lr", "1.2.3%", "must be a number, got '1.2.3%'"),
        ("sweep__space__lr", True, "must be a value, a list of values, or a range, got True"),
        ("sweep__space__lr", None, "must be a value, a list of values, or a range, got None"),
        ("sweep__space__epochs", "1.5", "must be a whole number, got '1.5'; such as 2"),
        ("soup__tie", 3, "must be 'keep' or 'reject', got 3"),
        ("data__heldout__fraction", "9", "must be less than 1, got '9'; it is a share: 9% is 0.09"),
        ("sweep__compile", "maybe", "must be true or false, got 'maybe'"),
        ("base__class_names", "cat", "must be a list, got 'cat'"),
        ("base__mean", 0.5, "must be a list, got 0.5"),
        ("soup__tie", "kep", "must be 'keep' or 'reject', got 'kep'; did you mean keep?"),
        ("evaluate", "all", "must be a table of keys, got 'all'"),
        ("soup__recalibrate", 1, "one image has no variance: give 2 or more, or 0, got 1"),
        ("soup__recalibrate", -3, "must be at least 0, got -3"),
        ("sweep__halving", {"rungs": []}, "has too few entries: at least 1, got []"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_used_is_told_in_our_words(key: str, value: Any, told: str) -> None:
    [said] = problems(**{key: value})
    assert said.startswith(key.replace("__", "."))
    assert said.partition(": ")[2] == told


def test_halving_of_what_is_imported_is_refused() -> None:
    (told,) = problems(sweep__import="pool", sweep__halving={})
    assert told == "sweep: halving stops fine-tunes, and import trains none; leave one out"
    for key, value in (("sweep__import", "pool"), ("sweep__halving", {})):
        parse(given(**{key: value}))


def test_one_value_is_a_list_of_it_wherever_there_may_be_several() -> None:
    space = {"epochs": 3, "augment": "medium", "seed": 7}
    params = parse(
        given(
            sweep__space=space,
            sweep__ema=0.9,
            sweep__halving={"rungs": 0.5},
            evaluate__keep_predictions="test",
        )
    )
    assert params == parse(
        given(
            sweep__space={key: [value] for key, value in space.items()},
            sweep__ema=[0.9],
            sweep__halving={"rungs": [0.5]},
            evaluate__keep_predictions=["test"],
        )
    )


@pytest.mark.parametrize("raw", [None, [], "text"])
def test_what_is_not_a_table_is_an_error(raw: object) -> None:
    with pytest.raises(ParamsError, match="the file: must be a table of keys"):
        parse(raw)


def test_a_file_that_is_missing_or_not_yaml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"missing\.yaml: cannot be read: .*No such file"):
        load(tmp_path / "missing.yaml")
    (tmp_path / "broken.yaml").write_text("data: {root: [")
    with pytest.raises(ParamsError, match=r"broken\.yaml: is not YAML: "):
        load(tmp_path / "broken.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ParamsError, match=r"binary\.yaml: cannot be read: "):
        load(tmp_path / "binary.yaml")


def test_prefects_form_names_describes_and_requires_what_the_file_does() -> None:
    schema = Params.model_json_schema()
    json.dumps(schema)
    assert schema["required"] == ["experiment", "data", "base", "sweep"]
    assert "register" in schema["properties"]
    tie = schema["$defs"]["Cook"]["properties"]["tie"]
    assert tie["enum"] == ["keep", "reject"]
    assert "published code" in tie["description"]


def test_parameters_survive_a_round_trip_through_a_form() -> None:
    params = load(ROOT / "params.yaml")
    assert Params.model_validate(params.model_dump(mode="json", by_alias=True)) == params
    assert Params.model_validate(params.model_dump(mode="json")) == params


def test_parameters_cannot_be_changed_after_they_were_checked() -> None:
    params = parse(given())
    with pytest.raises(ValueError, match="frozen"):
        params.sweep.runs = 5  # type: ignore[misc]


def test_predictions_are_kept_of_splits_that_there_are() -> None:
    shifts = {"sketch": {"folder": "s"}}
    kept = parse(given(data__shifts=shifts, evaluate__keep_predictions=["test", "sketch"]))
    assert kept.evaluate.keep_predictions == ["test", "sketch"]
    (problem,) = problems(data__shifts=shifts, evaluate__keep_predictions=["v2", "test", "heldout"])
    assert "no split v2, heldout; there are test, sketch" in problem


@pytest.mark.parametrize(
    ("sweep", "named"),
    [
        ({"ema": [0.9], "compile": True}, "ema, compile"),
        ({"swa": {}}, "swa"),
        ({"space": {"sam": [0.0, 0.1]}}, "sam"),
        ({"space": {"sam": {"min": 0, "max": 0.1}}}, "sam"),
    ],
)
def test_a_sharded_model_goes_without_what_needs_it_whole(
    sweep: dict[str, Any], named: str
) -> None:
    many = {**LEAST, "sweep": {"runs": 2, **sweep}}
    with pytest.raises(ParamsError, match=f"sharding: full goes without {named}, which need"):
        parse(many | {"compute": {"sharding": "full"}})
    assert parse(many).compute.sharding == "none"
    assert parse(LEAST | {"compute": {"sharding": "full"}}).compute.sharding == "full"
