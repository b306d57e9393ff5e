"""The library example of the README runs as it is printed."""

import re
from pathlib import Path

import pytest
import torch

import soup
from tests.checkouts import REPO


def test_the_example_makes_both_soups_of_the_files_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (REPO / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    models = {name: torch.nn.Linear(8, 3).state_dict() for name in ("A", "B", "C")}
    for name, weights in models.items():
        soup.save(weights, f"{name}.safetensors")
    exec(example, {})
    uniform = soup.Checkpoint("uniform.safetensors")
    expected = torch.stack([weights["weight"].double() for weights in models.values()]).mean(dim=0)
    assert torch.equal(uniform["weight"], expected.float())
    assert soup.Checkpoint("greedy.safetensors").keys() == models["A"].keys()
