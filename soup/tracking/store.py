"""Runs: making, resuming, ranking, and storing what belongs to them.

Every call names its run; MLflow's process-wide "active run" is never used, for it mixes up runs
that are written from several threads. Weights are stored once, as logged models of their run.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import LoggedModelInput, Param, RunTag
from mlflow.exceptions import MlflowException

from soup.errors import some
from soup.evaluation.score_text import ACCURACY
from soup.tracking import bulk_queries
from soup.tracking.data_set import DataSet, measured
from soup.tracking.description import DESCRIPTION, in_a_tag
from soup.tracking.experiment import existing, link, opened, page, require_not_deleted
from soup.tracking.limits import (
    BATCH,
    batches,
    key_of,
    long_ones,
    referring,
    shortened,
    storable,
    whole,
)
from soup.tracking.logged_model import stored_model
from soup.tracking.open_runs import begun, ended
from soup.tracking.server_check import TrackingError, is_server, require_usable, without_artifacts
from soup.tracking.stopwatch import clocked
from soup.tracking.tracked import ERRORS, PREFIX, Tracked, tracked


@clocked
class Store:
    """One experiment of a tracking store, and the registry that goes with it.

    Raises:
        TrackingError: the server does not answer, refuses, or is of another version; or the
            database is of a newer one. With `reading` also: there is no such database or
            experiment, or the database is of an older MLflow.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        artifacts: Path,
        score: str = ACCURACY,
        reading: bool = False,
    ) -> None:
        """
        Args:
            uri: of the tracking store.
            experiment: its name; made if it does not exist.
            artifacts: folder for weights and plots, where the store is a database on this machine
                (a server keeps them itself).
            score: by which MLflow's UI orders the models of a new experiment.
            reading: make and migrate nothing, because the experiment is only read.
        """
        self.uri = uri
        require_usable(uri, reading)
        try:
            self.client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
            if reading:
                self.experiment_id = existing(self.client, uri, experiment)
            else:
                self.experiment_id = opened(self.client, uri, experiment, artifacts, score)
        except MlflowException as error:
            raise TrackingError(f"MLflow at {uri} refused: {error}") from None

    def require_artifacts(self) -> None:
        """Fail now, not when the first weights are to be stored.

        Raises:
            TrackingError: the server does not reach the store of its artifacts.
        """
        wrong = is_server(self.uri) and without_artifacts(self.uri, self.experiment_id)
        if wrong:
            raise TrackingError(wrong)

    def start(
        self,
        kind: str,
        digest: str,
        name: str,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        parent: str | None = None,
        data_sets: Sequence[DataSet] = (),
    ) -> str:
        """The run of this digest, made now or, if it was interrupted, opened again; its id.

        Args:
            data_sets: that the run uses.
        """
        own = {key: storable(value) for key, value in (tags or {}).items()}
        own = {"kind": kind, "digest": digest, **own}
        interrupted = self.find(digest, finished=False)
        if interrupted is not None:
            run_id = interrupted.run_id
            self.client.update_run(run_id, status="RUNNING")
            begun(self, run_id)
            self.tag(run_id, long_ones(own))
            # What it was killed before it had; parameters cannot be changed.
            known = interrupted.params
            self.log_params(
                run_id, {k: v for k, v in (params or {}).items() if key_of(k) not in known}
            )
            self.log_inputs(run_id, interrupted.without(data_sets))
            return run_id
        short = own.items() - long_ones(own).items()
        all_tags = {PREFIX + key: value for key, value in short}
        if parent:
            all_tags["mlflow.parentRunId"] = parent
        try:
            run = self.client.create_run(self.experiment_id, None, all_tags, shortened(name, 250))
        except MlflowException:
            require_not_deleted(self.client.get_experiment(self.experiment_id), self.uri)
            raise
        run_id = run.info.run_id
        begun(self, run_id)
        self.tag(run_id, long_ones(own))
        self.log_params(run_id, params or {})
        self.log_inputs(run_id, data_sets)
        return run_id

    def find(self, digest: str, finished: bool = True) -> Tracked | None:
        """The newest run of a digest: a finished one, or else one that is not."""
        status = "=" if finished else "!="
        runs = self.client.search_runs(
            [self.experiment_id],
            f"tags.`{PREFIX}digest` = '{digest}' and attributes.status {status} 'FINISHED'",
            max_results=1,
            order_by=["attributes.start_time DESC"],
        )
        return tracked(runs[0]) if runs else None

    def get(self, run_ids: Sequence[str]) -> list[Tracked]:
        """Runs by id, in the given order.

        Raises:
            TrackingError: one is missing.
        """
        runs = bulk_queries.runs(self.client, self.experiment_id, [*dict.fromkeys(run_ids)])
        found = {run.info.run_id: tracked(run) for run in runs}
        missing = [run_id for run_id in run_ids if run_id not in found]
        if missing:
            raise TrackingError(
                f"MLflow at {self.uri} has no run {some(missing, 5)} in this experiment; one that "
                f"was deleted comes back by MLFLOW_TRACKING_URI={self.uri} mlflow runs restore "
                f"--run-id {missing[0]}"
            )
        return [found[run_id] for run_id in run_ids]

    def all_finished(self, run_ids: Iterable[str]) -> bool:
        """Whether all these runs are there and finished."""
        try:
            return all(run.status == "FINISHED" for run in self.get([*run_ids]))
        except TrackingError:
            return False

    def finished(self, parent: str = "") -> dict[str, Tracked]:
        """The newest finished run of each digest, of a parent or of the whole experiment."""
        runs = map(tracked, bulk_queries.finished(self.client, self.experiment_id, parent))
        return {run.tags["digest"]: run for run in runs if "digest" in run.tags}

    def ranked(self, run_ids: Sequence[str]) -> list[Tracked]:
        """Runs by increasing held-out errors, equal ones by name; unscored (NaN) ones left out."""
        runs = self.get(run_ids)
        scored = [run for run in runs if not math.isnan(run.cost)]
        return sorted(scored, key=lambda run: (run.cost, run.name))

    def ranking(self, runs: Mapping[str, str], metric: str = ERRORS) -> list[tuple[str, float]]:
        """As `ranked`, but names and errors alone, at a small part of the cost.

        Args:
            runs: name -> run id.
            metric: that is ranked by, the lowest first.

        Raises:
            TrackingError: a run is missing.
        """
        errors = bulk_queries.last(self.client, [*runs.values()], metric)
        for run in self.get([run_id for run_id in runs.values() if run_id not in errors]):
            known = run.cost if metric == ERRORS else run.metrics.get(metric, math.nan)
            errors |= {run.run_id: known}
        named = [(name, errors.get(run_id, math.nan)) for name, run_id in runs.items()]
        return sorted((pair for pair in named if not math.isnan(pair[1])), key=lambda p: p[::-1])

    def log(
        self,
        run_id: str,
        step: int,
        metrics: Mapping[str, float],
        model_id: str = "",
        data_sets: Iterable[DataSet] = (),
    ) -> None:
        """Metrics of one step.

        Args:
            model_id: the logged model that they are of.
            data_sets: that they were measured on, each those whose names begin as it says.
        """
        self.log_steps(run_id, {step: metrics}, model_id, data_sets)

    def log_steps(
        self,
        run_id: str,
        steps: Mapping[int, Mapping[str, float]],
        model_id: str = "",
        data_sets: Iterable[DataSet] = (),
    ) -> None:
        """Metrics of many steps in few requests; see `log`."""
        points = measured(steps, model_id, data_sets)
        for batch in batches(points):
            self.client.log_batch(run_id, metrics=batch)

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Parameters of a run; a long one becomes an artifact, and the value a reference to it."""
        texts = {key_of(key): storable(str(value)) for key, value in params.items()}
        for batch in batches([*referring(self.client, run_id, "params", texts).items()]):
            self.client.log_batch(run_id, params=[Param(key, text) for key, text in batch])

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Tags of a run; a long one becomes an artifact, and a reference to it the tag."""
        texts = {key: storable(value) for key, value in tags.items()}
        for batch in batches([*referring(self.client, run_id, "tags", texts).items()]):
            self.client.log_batch(run_id, tags=[RunTag(PREFIX + key, text) for key, text in batch])

    def whole(self, text: str) -> str:
        """A tag or parameter as it was given, also where a reference stands in its place.

        Raises:
            TrackingError: the artifact that is referred to cannot be read.
        """
        return whole(self.client, text)

    def describe(self, run_id: str, text: str, whole: str = "") -> None:
        """Markdown that MLflow's UI shows on a run's page.

        What no tag holds, or a text was shortened from, becomes the artifact description.md.

        Args:
            whole: what `text` was shortened from; '' if it is whole.
        """
        told, rest = in_a_tag(text, whole)
        if rest:
            self.log_text(run_id, rest, DESCRIPTION)
        self.client.set_tag(run_id, "mlflow.note.content", told)

    def end(self, run_id: str, failed: str = "") -> None:
        """Finish a run, as failed if a reason is given."""
        if failed:
            self.tag(run_id, {"reason": shortened(failed)})
        self.client.set_terminated(run_id, "FAILED" if failed else "FINISHED")
        ended(run_id)

    def log_files(self, run_id: str, files: Iterable[Path], folder: str = "") -> None:
        for file in files:
            self.client.log_artifact(run_id, str(file), folder or None)

    def log_text(self, run_id: str, text: str, name: str) -> None:
        self.client.log_text(run_id, text, name)

    def log_table(self, run_id: str, columns: Mapping[str, Sequence[Any]], name: str) -> None:
        """A table that MLflow's UI shows as one (a JSON file)."""
        self.client.log_table(run_id, dict(columns), name)

    def log_weights(
        self, run_id: str, name: str, folder: Path, tags: Mapping[str, str], step: int = 0
    ) -> str:
        """Store a folder of weights as a logged model of a run; its id."""
        model_id = stored_model(self.client, self.experiment_id, run_id, name, folder, tags, step)
        self.tag(run_id, {"model_id": model_id})
        return model_id

    def log_inputs(
        self, run_id: str, data_sets: Iterable[DataSet] = (), model_ids: Iterable[str] = ()
    ) -> None:
        """Show data sets and models as the inputs of a run."""
        given = [data_set.as_input() for data_set in data_sets]
        models = [LoggedModelInput(model_id) for model_id in model_ids]
        for at in range(0, max(len(given), len(models)), BATCH):
            some_sets, some_models = given[at : at + BATCH], models[at : at + BATCH]
            self.client.log_inputs(run_id, models=some_models, datasets=some_sets)

    def page(self) -> str:
        """The experiment's page in MLflow's UI; '' for a store without one."""
        return page(self.uri, self.experiment_id)

    def link(self, run_id: str) -> str:
        """A run's page in MLflow's UI; '' for a store without one."""
        return link(self.uri, f"experiments/{self.experiment_id}/runs/{run_id}")
