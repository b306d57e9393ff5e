"""The models and examples of a finished sweep, as studies get them."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn

from soup.errors import BadInput
from soup.evaluation.answer_store import AnswerStore
from soup.evaluation.examples import Examples
from soup.evaluation.metrics import Logits
from soup.evaluation.predict import predict
from soup.evaluation.prediction_cache import digest_of, how_computed
from soup.evaluation.prediction_file import overflowed
from soup.evaluation.targets import among_present
from soup.files import of_file, of_value
from soup.models import load_weights
from soup.models.batchnorm import Recalibration
from soup.pipeline.candidate_pool import CandidatePool
from soup.pipeline.evaluation_sets import answers_of, sets_of
from soup.pipeline.heldout import training_of
from soup.pipeline.project import Project
from soup.pipeline.stage_record import read_record
from soup.pipeline.study_student import Students
from soup.studies.bench import TRAIN, Bench
from soup.studies.kept import Kept
from soup.studies.model import Model
from soup.studies.point import mean, only
from soup.studies.study import BASE
from soup.tracking import (
    WEIGHTS_DIGEST,
    Store,
    Stored,
    TrackingError,
    ingredients,
    prediction_store,
)
from soup.weights import Weights
from soup.weights.checkpoint import Checkpoint
from soup.weights.shards import WEIGHTS_FILE

TRAINING = 10_000  # most training examples that the loss is computed on, where a study takes all


def models_of(project: Project, file: str) -> list[str]:
    """The names of the models of a finished sweep.

    Raises:
        BadInput: it is not finished; the message has the command that finishes it.
    """
    for name in ("finetune", "cook"):
        if not (project.out / f"{name}.json").is_file():
            raise BadInput(
                f"{project.params.experiment} has no finished sweep ({name} is not done): "
                f"python -m flows pipeline --params {file}"
            )
    return [*read_record(project.out / "finetune.json", runs=dict)["runs"]]


def bench_of(project: Project, images: int | None, file: str = "FILE") -> Bench:
    """Open a finished sweep.

    Args:
        images: most examples of each split that are used; None for all (of training, `TRAINING`).
        file: the parameter file, for the command that makes what is missing.

    Raises:
        BadInput: its models are gone; the message has the command that makes them.
    """
    with _told_how_to_make_again(file):
        store = project.store()
        pool = CandidatePool(project, store, probe_too=True)
    sets, targets = sets_of(project, pool.architecture, pool.heldout)
    train = training_of(project, pool.architecture, images or TRAINING)
    sets = {TRAIN: train, **sets}
    targets = {TRAIN: among_present(TRAIN, train.labels), **targets}
    recalibration = pool.recalibration()
    batch, bf16 = project.params.compute.eval_batch_size, project.params.evaluate.bf16
    models = {stored.ingredient.name: _model(stored) for stored in pool.everyone}
    base = BASE if BASE in models else None
    if project.params.sweep.imported is not None:  # the probe is another fine-tune of the base
        file_of_base, base = project.out / "base" / WEIGHTS_FILE, "base"
        models[base] = Model(base, Checkpoint(file_of_base), of_file(file_of_base))
    ranked = [s.ingredient.name for s in pool.everyone if s.ingredient.name != BASE]
    cooked = read_record(project.out / "cook.json", recipe=str, kept=list)
    recipe, soups = cooked["recipe"], {}
    if recipe == "greedy":
        soups["greedy"] = mean(cooked["kept"])
    elif recipe != "uniform":  # no combination with known coefficients
        name = f"{recipe} soup"
        cooked_file = project.out / "soup" / WEIGHTS_FILE
        models[name] = Model(name, Checkpoint(cooked_file), of_file(cooked_file))
        soups[recipe] = only(name)
    answers = answers_of(project)
    predictor = Predictor(pool.model, pool.architecture.model, batch, bf16, recalibration)
    return Bench(
        models=models,
        base=base,
        ranked=ranked,
        candidates=[stored.ingredient.name for stored in pool.ranked],
        soups=soups,
        sets=sets,
        targets=targets,
        shifts=[*project.params.data.shifts],
        architecture=pool.architecture,
        predict=predictor,
        kept=Kept(project.cache / "studies", answers),
        images=images,
        find=partial(_known, store, answers),
        how=how_computed(project.device(), batch, bf16),
        averaged=_statistics(recalibration),
        resampling=project.resampling,
        track=project.track,
        teach=Students(
            project.cache / "studies" / "students",
            predictor.lend,
            lambda: models[BASE].weights,
            project.track,
        ),
    )


def best_of(project: Project, file: str) -> Model:
    """The best fine-tune of a finished sweep on held-out, without a network for its passes.

    Raises:
        BadInput: it is gone, or none was scored; the message has the command that makes them.
    """
    runs = read_record(project.out / "finetune.json", runs=dict)["runs"]
    with _told_how_to_make_again(file):
        store = project.store()
        ranking = [name for name, _ in store.ranking(runs) if name != BASE]
        if not ranking:
            raise TrackingError("no fine-tune has a held-out score")
        [best] = ingredients(store, [runs[ranking[0]]], project.cache / "models")
    return _model(best)


@contextmanager
def _told_how_to_make_again(file: str) -> Iterator[None]:
    try:
        yield
    except TrackingError as error:
        raise BadInput(
            f"the models of the sweep cannot be read: {error}\n"
            f"to make them again: python -m flows finetune --params {file}"
        ) from None


class Predictor:
    """The passes of studies, all of them: loads weights into one model, and asks it.

    Weights that were asked last are not loaded again for another split.
    """

    def __init__(
        self,
        model: nn.Module,
        name: str,
        batch_size: int,
        bf16: bool,
        recalibration: Recalibration | None,
    ) -> None:
        """
        Args:
            model: on its device.
            name: of its architecture, for errors.
            batch_size: examples in each pass.
            bf16: in bfloat16 on a GPU.
            recalibration: recomputes the BatchNorm statistics of combinations, as in cooking.
        """
        self._model, self._name, self._batch_size = model, name, batch_size
        self._bf16, self._recalibration = bf16, recalibration
        self._loaded: Weights | None = None
        self.passes = 0

    def __call__(self, weights: Weights, examples: Examples, combined: bool) -> Logits:
        """The logits of weights, float32 (examples, classes); see `Bench` for the arguments."""
        if self._loaded is not weights:
            self._loaded = None  # if loading fails, the model holds neither
            load_weights(self._model, weights, self._name)
            if combined and self._recalibration is not None:
                self._recalibration(self._model, weights)
            self._loaded = weights
        self.passes += 1
        return predict(self._model, examples, self._batch_size, self._bf16)

    def lend(self) -> nn.Module:
        """The network, for use until the next pass, which loads its weights anew."""
        self._loaded = None
        return self._model


def _known(store: Store, answers: AnswerStore, split: str, digest: str) -> Logits | None:
    """The logits of this digest that are kept here, or else with a run, if any are."""
    logits = answers.find(digest)
    if logits is None:
        logits = prediction_store.find(store, split, digest)
        if logits is not None and not overflowed(logits):
            answers.keep(digest, logits)
    return logits


def _model(stored: Stored) -> Model:
    return Model(
        name=stored.ingredient.name,
        weights=stored.ingredient.weights,
        digest=stored.run.tags[WEIGHTS_DIGEST],
        settings=stored.run.settings,
        heldout=lambda: stored.logits,
    )


def _statistics(recalibration: Recalibration | None) -> str:
    """Identifies how the BatchNorm statistics of combinations are made; '' if they are averaged."""
    if recalibration is None:
        return ""
    layers = recalibration.layers
    inputs = digest_of({"inputs": recalibration.inputs})
    return of_value([inputs, recalibration.batch_size, None if layers is None else [*layers]])
