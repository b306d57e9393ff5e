"""A registered version, scored on the images of given parameters as its users would get it.

Nothing of the pipeline's files is used but the split: the weights come from the registry.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from soup import tracking
from soup.errors import BadInput, some
from soup.evaluation.diagnosis.low_scores import Answers, low_scores
from soup.evaluation.metrics import Logits, predicted
from soup.evaluation.number_scores import NumberScore
from soup.evaluation.number_tables import number_table
from soup.evaluation.predict import predict
from soup.evaluation.prediction_cache import how_computed
from soup.evaluation.prediction_file import to_float16_keeping_argmax
from soup.evaluation.result_tables import Model, table
from soup.evaluation.score_table import with_score
from soup.evaluation.score_text import ACCURACY, score_text
from soup.evaluation.scores import ConfusionScore
from soup.evaluation.split_scores import score_splits
from soup.evaluation.targets import columns_of
from soup.files import of_code, of_file, of_libraries, of_value
from soup.models import open_model
from soup.pipeline.data_sets import evaluation_sets
from soup.pipeline.evaluation_sets import sets_of
from soup.pipeline.heldout import heldout_of
from soup.pipeline.project import Project
from soup.pipeline.stages.evaluated_figures import named
from soup.pipeline.task_score import score_of
from soup.weights.checkpoint import Checkpoint
from soup.weights.shards import WEIGHTS_FILE


@tracking.runs_end_with_block()
def evaluate(project: Project, model: str, which: str) -> dict[str, Any]:
    """Score a version on held-out, test and shifts: a run of its own, and tags on the version.

    A version that was scored in the same way before is not scored again.

    Args:
        model: its name in the registry.
        which: a number, or an alias.

    Raises:
        TrackingError: there is no such version, or it cannot be downloaded.
        BadInput: it knows other classes than the split has.
    """
    params, store = project.params, project.store()
    version = tracking.version(store, model, which)
    target = project.cache / "versions" / f"{version.model}-{version.number}"
    folder = tracking.fetch(store, version, target)
    architecture, network = open_model(folder)
    classes = project.classes()
    if {*architecture.classes} != {*classes}:
        raise BadInput(
            f"{model} version {version.number} knows {_few(architecture.classes)}; the "
            f"{project.unit} of {params.experiment} are of {_few(classes)}: give the parameters "
            "it was made with"
        )
    score_name, score = score_of(params, architecture.classes)
    manifests = (project.development, project.evaluation, project.protocols)
    how = [_digest(version, folder), architecture.text(), *map(of_file, manifests)]
    how += [] if score is None else [score_name]
    how.append(how_computed(project.device(), params.compute.eval_batch_size))
    how.append(of_code("soup.models", "soup.evaluation"))
    how.append(of_libraries("torch", architecture.package))
    digest = of_value(["evaluation", model, version.number, how, params.evaluate.model_dump()])
    known = store.find(digest)
    if known is None:
        sets, keys = sets_of(project, architecture, heldout_of(project, architecture))
        network = network.to(project.device())
        size, bf16 = params.compute.eval_batch_size, params.evaluate.bf16

        def logits(_: str, split: str) -> Logits:
            exact = predict(network, sets[split], size, bf16 and split != "heldout")
            if split == "heldout" and not project.predicts_numbers:
                answers = {name: Answers(predicted(exact))}
                for warning in low_scores(answers, sets[split].labels, classes):
                    project.say(f"warning: {warning}")
            # Rounded as in the table of the pipeline, whose figures these are compared with.
            return to_float16_keeping_argmax(exact, columns_of(keys, split))

        name = f"{model} version {version.number}"
        with project.track("evaluating", sum(map(len, sets.values()))) as advance:
            by_name = score_splits([name], {}, keys, logits, params.evaluate.ece_bins, advance)
        row = Model(name, "registered", by_name[name])
        shifts, resampling = [*params.data.shifts], project.resampling
        if isinstance(score, NumberScore):
            results = number_table([row], shifts, resampling, score_name)
        else:
            results = table([row], shifts, resampling)
        if isinstance(score, ConfusionScore):
            results = with_score(results, [row], shifts, score_name, score, keys, resampling)
        known = _logged(project, store, version, digest, results)
    splits = ("heldout", "test", "shifts")
    accuracies, by_score = (
        {s: known.metrics[f"{s}/{name}"] for s in splits if f"{s}/{name}" in known.metrics}
        for name in (ACCURACY, score_name)
    )
    place = f"evaluation.{params.experiment}"
    scores = {f"{place}.{split}": f"{value:.6f}" for split, value in by_score.items()}
    tracking.annotate(store, version, {place: known.run_id, **scores})
    told = ", ".join(f"{split} {score_text(score_name, x)}" for split, x in by_score.items())
    return {
        "model": model,
        "version": version.number,
        "run_id": known.run_id,
        **({ACCURACY: accuracies} if accuracies else {}),
        score_name: by_score,
        "summary": f"{model} version {version.number}: {told}",
    }


def _digest(version: tracking.Version, folder: Path) -> str:
    """SHA-256 of the weights: as registered, if the download was checked by it; or computed."""
    registered = tracking.registered_files(version).items()
    digests = [digest for path, digest in registered if path.endswith(WEIGHTS_FILE)]
    return digests[0] if digests else Checkpoint(folder / WEIGHTS_FILE).digest()


def _logged(
    project: Project,
    store: tracking.Store,
    version: tracking.Version,
    digest: str,
    results: pd.DataFrame,
) -> tracking.Tracked:
    """The results as a run whose input is the version's model."""
    tags = {**project.lineage(), "model": version.model, "version": version.number}
    if version.run_id:
        tags["run"] = version.run_id
    title = f"evaluation of {version.model} {version.number}"
    run_id = store.start("evaluation", digest, title, tags)
    model_id = tracking.model_of(store, version)
    used = evaluation_sets(project)
    store.log_inputs(run_id, used, filter(None, [model_id]))
    store.log(run_id, 0, named(results), model_id, used)
    columns = results.astype(object).where(results.notna(), None).to_dict("list")
    store.log_table(run_id, columns, "results.json")
    store.end(run_id)
    return store.get([run_id])[0]


def _few(names: tuple[str, ...]) -> str:
    return f"{len(names)} classes ({some(names, 5, last=' ')})"
