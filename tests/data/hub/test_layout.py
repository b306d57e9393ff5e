"""Which Parquet files a split has, from the names of files and from README.md."""

import pytest

from soup.config.yaml_text import BadYaml
from soup.data.errors import DataError
from soup.data.hub.layout import (
    chosen,
    class_names,
    configurations,
    default_configuration,
    front_matter,
)

CARD = """---
license: mit
dataset_info:
- config_name: small
  features:
  - name: text
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': neg
          '1': pos
configs:
- config_name: small
  default: true
  data_files:
  - split: train
    path: parts/train-*
  - split: test
    path: [parts/test.parquet]
- config_name: large
  data_files: large/*.parquet
---
# A data set
"""


def test_names_of_files_tell_configuration_and_split() -> None:
    files = [
        "README.md",
        "data/train-00001-of-00002.parquet",
        "data/train-00000-of-00002.parquet",
        "cola/test-00000-of-00001-0123abcd.parquet",
        "default/validation/0000.parquet",
        "odd.parquet",
        "dev/0000.parquet",
        "a/b/c/d.parquet",
        "data/train.csv",
    ]
    assert configurations(files, {}) == {
        "default": {
            "train": [files[2], files[1]],
            "validation": ["default/validation/0000.parquet"],
            "odd": ["odd.parquet"],
            "dev": ["dev/0000.parquet"],
        },
        "cola": {"test": ["cola/test-00000-of-00001-0123abcd.parquet"]},
    }


def test_the_readme_decides_where_it_names_files() -> None:
    card = front_matter(CARD, "README.md")
    files = ["parts/train-1.parquet", "parts/train-0.parquet", "parts/test.parquet",
             "parts/sub/train-2.parquet", "large/a.parquet"]  # fmt: skip
    assert configurations(files, card) == {
        "small": {
            "train": ["parts/train-0.parquet", "parts/train-1.parquet"],
            "test": ["parts/test.parquet"],
        },
        "large": {"train": ["large/a.parquet"]},
    }
    assert default_configuration(card) == "small"
    assert class_names(card, "small") == {"label": ["neg", "pos"]}
    # Files of another format alone: the readme's patterns fit no Parquet file.
    assert configurations(["parts/train-0.csv"], card) == {}


def test_files_with_paths_that_lead_out_are_not_taken() -> None:
    files = ["../train.parquet", "/etc/train.parquet", "x/../../test.parquet", "a\\b.parquet",
             "a::b.parquet"]  # fmt: skip
    assert configurations(files, {}) == {}


@pytest.mark.parametrize(
    "text",
    ["", "# no front matter", "---\nnever closed", "---\n- a list\n---\n",
     "---\nconfigs: 3\ndataset_info: [1, {features: 7}]\n---\n",
     "---\nconfigs: [{data_files: [{path: 5}]}]\ndataset_info: {features: [{dtype: 3}]}\n---\n"],
)  # fmt: skip
def test_a_readme_without_use_changes_nothing(text: str) -> None:
    card = front_matter(text, "README.md")
    assert configurations(["train.parquet"], card) == {"default": {"train": ["train.parquet"]}}
    assert default_configuration(card) == ""
    assert class_names(card, "default") == {}


def test_a_readme_that_is_no_yaml_is_named() -> None:
    with pytest.raises(BadYaml, match="README of x"):
        front_matter("---\na: [\n---\n", "README of x")


def test_a_configuration_is_chosen_or_asked_for() -> None:
    found = {"cola": {"train": ["a"]}, "rte": {"train": ["b"]}}
    assert chosen(found, "rte", "", "nyu-mll/glue") == "rte"
    assert chosen(found, None, "cola", "nyu-mll/glue") == "cola"
    assert chosen({"x": {}}, None, "", "a/b") == "x"
    assert chosen({"x": {}, "default": {}}, None, "", "a/b") == "default"
    with pytest.raises(DataError, match=r"2 configurations: cola, rte; name one: data.hub"):
        chosen(found, None, "", "nyu-mll/glue")
    with pytest.raises(DataError, match=r"no configuration 'rt' \(near: rte\)"):
        chosen(found, "rt", "", "nyu-mll/glue")
