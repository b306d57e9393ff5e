"""cook recomputes the BatchNorm statistics of candidates, on training images alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from soup.config.recipe import Recipe
from soup.data.loading.examples import examples
from soup.data.split.manifest import Manifest
from soup.evaluation import prediction_file
from soup.evaluation.predict import predict
from soup.models import build
from soup.models.batchnorm import recalibrate, spread_evenly
from soup.models.transforms import image_input
from soup.pipeline.candidate_pool import CandidatePool
from soup.pipeline.heldout import training_of
from soup.pipeline.project import Project
from soup.pipeline.stages import cook
from soup.weights import average
from soup.weights.checkpoint import Checkpoint
from tests.pipeline.projects import probed, swept


def changed(project: Project, **soup: object) -> Project:
    cooked = project.params.soup.model_copy(update=soup)
    return replace(project, params=project.params.model_copy(update={"soup": cooked}))


@pytest.mark.slow
def test_the_soup_has_statistics_of_training_images_and_was_judged_with_them(
    tmp_path: Path,
) -> None:
    project = swept(probed(tmp_path, norm_layer="batchnorm"))
    uniform = changed(project, recipe=Recipe(name="uniform"), recalibrate=24)
    store = project.store()
    pool = CandidatePool(uniform, store)
    facts = cook.run(uniform, "recomputed")
    assert "BatchNorm statistics recomputed 2 times on 24 training images" in facts["batchnorm"]
    assert facts["batchnorm"] in facts["summary"]
    run = store.client.get_run(facts["run_id"])
    assert run.data.params["recalibrated_on"] == "24"

    chosen = training_of(uniform, pool.architecture, 24)
    paths = {project.images / row.path for row in Manifest.load(project.development).split("train")}
    assert {*chosen.images.paths} <= paths
    assert {*chosen.labels.tolist()} == {0, 1, 2}
    # The same by hand, from the manifest.
    train = Manifest.load(project.development).split("train")
    rows = [train[index] for index in spread_evenly(len(train), 24)]
    inputs = image_input(pool.architecture)
    images = examples(project.image_store(), rows, pool.architecture.classes, inputs)
    model = build(pool.architecture, average([s.ingredient.weights for s in pool.ranked]))
    pixels = inputs.prepare(images.compact(np.arange(24)))
    soup = Checkpoint(project.out / "soup" / "model.safetensors")
    for name, tensor in recalibrate(model, [pixels]).items():
        torch.testing.assert_close(soup[name], tensor, rtol=1e-5, atol=1e-6)
    # The file's model gives the logits that were judged.
    kept = prediction_file.read(project.soup_heldout)
    found = predict(build(pool.architecture, soup), pool.heldout)
    np.testing.assert_allclose(found, kept.astype(np.float32), rtol=1e-2, atol=1e-2)
    wrong = found.argmax(1) != pool.heldout.labels
    assert wrong.sum() == facts["errors"]

    averaged = cook.run(changed(project, recipe=Recipe(name="uniform"), recalibrate=0), "averaged")
    assert "batchnorm" not in averaged
    soup = Checkpoint(project.out / "soup" / "model.safetensors")
    for name, tensor in average([s.ingredient.weights for s in pool.ranked]).items():
        assert torch.equal(soup[name], tensor), name


@pytest.mark.slow
def test_a_model_without_batchnorm_never_reads_training_images(tmp_path: Path) -> None:
    project = swept(probed(tmp_path))
    plain = cook.run(changed(project, recalibrate=0), "without")
    weights = (project.out / "soup" / "model.safetensors").read_bytes()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("soup.pipeline.candidate_pool.training_of", pytest.fail)
        facts = cook.run(project, "with")
    assert (project.out / "soup" / "model.safetensors").read_bytes() == weights
    own = {"run_id": "", "model_id": "", "cost": plain["cost"]["passes"]}
    assert {**facts, **own, "cost": facts["cost"]["passes"]} == {**plain, **own}


@pytest.mark.slow
def test_the_better_of_averaged_and_recomputed_statistics_is_kept(tmp_path: Path) -> None:
    project = swept(probed(tmp_path, norm_layer="batchnorm"))
    made = {}
    for way in ("average", "recalibrate", "best"):
        chosen = changed(project, recipe=Recipe(name="uniform"), batchnorm=way, recalibrate=24)
        facts = cook.run(chosen, way)
        made[way] = facts, (project.out / "soup" / "model.safetensors").read_bytes()
    averaged, recomputed = made["average"][0], made["recalibrate"][0]
    assert averaged["errors"] != recomputed["errors"]
    better = min(("average", "recalibrate"), key=lambda way: made[way][0]["errors"])
    best, weights = made["best"]
    assert weights == made[better][1]
    assert best["errors"] == made[better][0]["errors"]
    for facts in (averaged, recomputed):
        assert f"{1 - facts['errors'] / facts['examples']:.2%}" in best["batchnorm"]
    kept = {"average": "averaged", "recalibrate": "recomputed"}[better]
    assert best["batchnorm"].endswith(f"the {kept} are kept")
    assert best["cost"]["passes"] == averaged["cost"]["passes"] + recomputed["cost"]["passes"]
    old = cook.run(changed(project, recipe=Recipe(name="uniform"), recalibrate=0), "old key")
    assert old["errors"] == averaged["errors"]
