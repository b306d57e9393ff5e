"""What `soup cook` does not take, and what it says to that."""

import re
from pathlib import Path

import pytest
import torch

from soup.cli.checkpoints import open_pool
from soup.cli.soup_file import write_soup
from soup.known_digests import Changed
from soup.recipes import Soup
from soup.weights import Weights, average, materialize
from soup.weights.checkpoint import Checkpoint, save
from tests.cli.conftest import Candidates, Command


def refused(candidates: Candidates, tmp_path: Path) -> dict[str, tuple[list[object], str]]:
    """Bad input: the arguments, and what the message must say."""
    good, out = candidates.models[:2], tmp_path / "out.safetensors"
    (tmp_path / "cut.safetensors").write_bytes(candidates.models[0].read_bytes()[:-100])
    nan = {n: t.clone() for n, t in Checkpoint(good[0]).items()}
    name = next(n for n in nan if nan[n].numel() > 10)
    nan[name].view(-1)[:3] = torch.nan
    save(nan, tmp_path / "nan.safetensors")
    other = {n: t for n, t in nan.items() if not n.startswith("fc")}
    save(other | {"fc.weight": torch.zeros(7, 8)}, tmp_path / "head.safetensors")
    torch.save({"w": torch.zeros(3)}, tmp_path / "pickle.pt")
    (tmp_path / "four" / "cyan").mkdir(parents=True)
    two = tmp_path / "two"
    for colour in ("red", "blue"):
        (two / colour).mkdir(parents=True)
        (two / colour / "0.png").write_bytes((candidates.heldout / colour / "000.png").read_bytes())
        (tmp_path / "four" / colour).mkdir()
    (tmp_path / "four" / "cyan" / "0.png").write_bytes((two / "red" / "0.png").read_bytes())
    (tmp_path / "one" / "red").mkdir(parents=True)
    (tmp_path / "one" / "red" / "0.png").write_bytes((two / "red" / "0.png").read_bytes())
    heldout, uniform = ["--heldout", candidates.heldout], ["-r", "uniform"]
    return {
        "F1 of one class": (
            ["--metric", "f1", "--heldout", tmp_path / "one", "-o", out, *good],
            "one has images of one class only, on which --metric f1",
        ),
        "cut short": (
            [*uniform, "-o", out, *good, tmp_path / "cut.safetensors"],
            "cut.safetensors",
        ),
        "missing": ([*uniform, "-o", out, "no.safetensors", good[0]], "no.safetensors: .*no such"),
        "NaN": (
            [*uniform, "-o", out, *good, tmp_path / "nan.safetensors"],
            rf"nan.safetensors: {name} has 3 NaN or infinite of",
        ),
        "another head": (
            [*uniform, "-o", out, *good, tmp_path / "head.safetensors"],
            r"head cannot be averaged with run0: .*fc.weight is \(3, .* and \(7, 8\)",
        ),
        "a pickle": (
            [*uniform, "-o", out, *good, tmp_path / "pickle.pt"],
            "pickle.pt: not safetensors, and pickles are not opened here; .*soup import",
        ),
        "out is an input": ([*uniform, "-o", good[0], *good], "run0.safetensors is one of the in"),
        "unknown recipe": (["-r", "stew", "-o", out, *good], "unknown recipe 'stew'; known: uni"),
        "no data": (["-r", "greedy", "-o", out, *good], "chooses by held-out images: give --held"),
        "no base": (["-r", "ties", "-o", out, *good], "needs the models' initialisation: give --b"),
        "unknown option": (
            [*uniform, "-s", "depth=3", "-o", out, *good],
            "uniform has no option 'depth'; it has schedule",
        ),
        "no number": (
            ["-r", "ties", "-s", "density=much", "--base", candidates.base, "-o", out, *good],
            "density: 'much' is no number",
        ),
        "no pair": ([*uniform, "-s", "depth", "-o", out, *good], "--set depth: give name=value"),
        "unknown metric": (
            [*heldout, "--metric", "taste", "-o", out, *good],
            "unknown metric 'taste'; known: accuracy",
        ),
        "unknown dtype": ([*uniform, "--dtype", "int3", "-o", out, *good], "unknown dtype 'int3'"),
        "unknown device": (
            [*heldout, "--device", "toaster", "-o", out, *good],
            "--device toaster: torch cannot use it here",
        ),
        "other classes": (
            ["--heldout", tmp_path / "four", "-o", out, *good],
            "class folders that the model's head does not know: cyan",
        ),
        "fewer classes than the head": (
            ["--heldout", two, "--model", "timm:test_resnet", "-o", out, *_of_ten(tmp_path)],
            r"two has 2 class folders \(blue, red\), but fc.weight of .* has 10 rows",
        ),
        "no such folder": (["--heldout", "nowhere", "-o", out, *good], "nowhere.* is not a folder"),
        "no such model": (
            [*heldout, "--model", "timm:no_net", "-o", out, *good],
            "error: --model: timm does not know 'no_net'",
        ),
        "no model": (
            [*heldout, "--model", "net", "-o", out, *good],
            "'net' is no model: give timm",
        ),
    }


def test_options_that_nothing_would_be_done_with_are_refused(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    good, out = candidates.models[:2], tmp_path / "out.safetensors"
    heldout = ["--heldout", candidates.heldout]
    for arguments, message in {
        ("--metric", "accuracy"): "--metric needs --heldout, to score",  # the default, yet typed
        ("--splits", 5): "--splits needs --heldout, to halve",
        ("--batch-size", 7): "--batch-size needs --heldout, to run",
        ("--calibration-images", 5): "--calibration-images needs --recalibrate, to take",
        ("--experiment", "x"): "--experiment needs --mlflow, to log",
        ("--calibration-images", 5, *heldout): "--calibration-images needs --recalibrate",
        ("--splits", 2, *heldout, "-r", "uniform"): "--splits is of the recipe greedy with models",
        ("--splits", 2, *heldout, "-s", "order=answers"): "--splits is of the recipe greedy",
        ("--splits", 2, *heldout, "--metric", "f1"): "and of --metric accuracy or top5",
    }.items():
        said = soup("cook", *arguments, "-o", out, *good)
        assert said.code == 2, (arguments, said)
        assert message in said.err, (arguments, said.err)
        assert not out.exists(), arguments
    said = soup("cook", "--splits", 5, "--batch-size", 7, "-o", out, *good)
    assert "--splits needs" in said.err
    assert "--batch-size needs" in said.err
    assert soup("cook", "-o", out, *good).code == 0


def _of_ten(tmp_path: Path) -> list[Path]:
    import timm

    model = timm.create_model("test_resnet", num_classes=10)
    (tmp_path / "alone").mkdir(exist_ok=True)
    save(model.state_dict(), tmp_path / "alone" / "ten.safetensors")
    return [tmp_path / "alone" / "ten.safetensors"]


def test_bad_input_names_what_and_why_and_leaves_no_output(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in candidates.models}
    for kind, (arguments, message) in refused(candidates, tmp_path).items():
        said = soup("cook", *arguments)
        assert said.code == 2, (kind, said)
        assert re.search(message, said.err), (kind, said.err)
        assert "Traceback" not in said.err
        assert not (tmp_path / "out.safetensors").exists(), kind
    assert {path: path.read_bytes() for path in candidates.models} == before


@pytest.mark.parametrize("words", ["No space left on device", "5.0 GB are needed"])
def test_no_space_left_leaves_no_output(
    soup: Command,
    candidates: Candidates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, words)

    monkeypatch.setattr("soup.weights.checkpoint._written", full)
    out = tmp_path / "soup" / "out.safetensors"
    said = soup("cook", "-r", "uniform", "-o", out, *candidates.models)
    assert said.code == 1
    assert f"out.safetensors: cannot be written: {words}" in said.err
    assert not list(out.parent.iterdir())


def test_all_that_is_wrong_with_the_files_is_said_at_once(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    said = soup("cook", "-r", "uniform", "-o", tmp_path / "o", "a.safetensors", "b.safetensors")
    assert "a.safetensors" in said.err
    assert "b.safetensors" in said.err


def test_a_model_that_is_replaced_before_its_digest_is_computed_leaves_no_soup(
    tmp_path: Path,
) -> None:
    save({"w": torch.ones(3)}, tmp_path / "a.safetensors")
    pool = open_pool([str(tmp_path / "a.safetensors")], digested=False)
    read = materialize(average([*pool.checkpoints.values()]))
    save({"w": torch.zeros(3)}, tmp_path / "a.safetensors")
    with pytest.raises(Changed, match=r"a.safetensors was changed while it was read"):
        write_soup(read, tmp_path / "soup.safetensors", pool, ["a"], {})
    assert not (tmp_path / "soup.safetensors").exists()


def test_a_base_that_is_replaced_after_it_was_read_leaves_no_soup(
    soup: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value, name in enumerate(("base", "a", "b")):
        save({"w": torch.full((3,), float(value))}, tmp_path / f"{name}.safetensors")

    def replacing(made: Soup, dtype: str | None) -> Weights:
        save({"w": torch.zeros(4)}, tmp_path / "base.safetensors")
        return made.weights

    monkeypatch.setattr("soup.cli.cook._cast", replacing)
    files = [tmp_path / f"{name}.safetensors" for name in ("base", "a", "b")]
    said = soup("cook", "-r", "stock", "-o", tmp_path / "soup.safetensors", "--base", *files)
    assert said.code == 2
    assert "base.safetensors was changed while it was read: try again" in said.err
    assert not (tmp_path / "soup.safetensors").exists()
