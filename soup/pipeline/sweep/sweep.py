"""A sweep: K fine-tunes of one initialisation, each kept in MLflow under its digest.

An ingredient's digest is made of its configuration, the initialisation, the split and the code, and
of nothing else: a larger K finds the first ones finished, an interrupted one goes on in its run and
from its state on disk, a changed one is made anew.
"""

import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from filelock import FileLock

from soup.config.sampling import configurations
from soup.data.split.prepare import read_csv
from soup.errors import Failure
from soup.evaluation.heldout import Result
from soup.files import of_file, of_value, write_json
from soup.pipeline.project import Project
from soup.pipeline.sweep.devices import Devices
from soup.pipeline.sweep.fine_tunes import finished_among, names_of, own_digest, rung_metric
from soup.pipeline.sweep.recording import finish_sweep, record_ingredient
from soup.tracking import Store, log_system_metrics
from soup.train.batches import steps_per_epoch
from soup.train.finetune import FINAL_WEIGHTS, Job, Results, finished
from soup.train.worker_process import Crashed, Failed
from soup.train.worker_process import run as in_process

log = logging.getLogger("modelsoup")

# What decides which fine-tunes there are, not what becomes of one.
SEARCH = {"runs", "method", "seed", "space", "halving"}


class SweepError(Failure, RuntimeError):
    """A sweep without a single ingredient; the message says what to change."""


@runtime_checkable
class Watcher(Protocol):
    """Is told how the fine-tunes go on."""

    def step(self, name: str, step: int, metrics: Mapping[str, float]) -> None: ...

    def done(self, name: str, message: str) -> None: ...

    def say(self, message: str) -> None: ...


class StoppedEarly(Failure, RuntimeError):
    """A fine-tune that successive halving stopped; the message says by how much it lagged."""


@dataclass(frozen=True)
class Sweep:
    """A sweep that is open in MLflow.

    Attributes:
        run_id: of the parent run.
        steps: how many steps each fine-tune takes.
        finished: the run ids of the ingredients, by name, of each fine-tune that was finished when
            the sweep was opened.
    """

    store: Store
    run_id: str
    steps: dict[str, int]
    finished: dict[str, dict[str, str]]
    _jobs: dict[str, tuple[str, Job]]
    _tags: dict[str, str]
    _probe: Result

    @staticmethod
    def open(project: Project, code: str, threads: int) -> "Sweep":
        """Find or make the parent run, and lay out the fine-tunes.

        Args:
            code: digest of the source files that a fine-tune's result depends on.
            threads: CPU threads of each fine-tune.

        Raises:
            TrackingError: MLflow does not answer.
            ValueError: the search space has fewer points than runs.
        """
        s, c = project.params.sweep, project.params.compute
        start = project.out / "probe"
        base, split = of_file(start / "model.safetensors"), of_file(project.development)
        shared = {
            "code": code,
            "base": base,
            "split": split,
            **s.model_dump(mode="json", exclude=SEARCH),
        }
        space = s.model_dump(mode="json", include={"method", "seed", "space"})
        digest = of_value({"sweep": shared, "space": space})
        store = project.store()
        tags = project.lineage() | {"base": base, "split": split, "sweep": digest}
        known = store.find(digest)
        name = f"sweep {digest[:8]}"
        run_id = known.run_id if known else store.start("sweep", digest, name, tags)
        jobs: dict[str, tuple[str, Job]] = {}
        for index, configuration in enumerate(configurations(s)):
            own = of_value({"configuration": configuration.as_dict(), **shared})
            jobs[f"ft-{index:03d}"] = (
                own,
                Job(
                    configuration=configuration,
                    sweep=s,
                    compute=c,
                    start=start,
                    development=project.development,
                    root=project.images,
                    folder=project.cache / "runs" / own,
                    cache=project.cache / "images",
                    devices=("cpu",),
                    threads=threads,
                ),
            )
        train = sum(row.split == "train" for row in read_csv(project.development))
        each = steps_per_epoch(train, s.batch_size)
        steps = {name: job.configuration.epochs * each for name, (_, job) in jobs.items()}
        probed = json.loads((project.out / "probe.json").read_text())
        probe = Result(probed["errors"], probed["examples"], start)
        finished = finished_among(jobs, store.finished(run_id))
        for name in finished:
            shutil.rmtree(jobs[name][1].folder, ignore_errors=True)
        return Sweep(store, run_id, steps, finished, jobs, tags, probe)

    def machine(self, project: Project) -> AbstractContextManager[None]:
        """Log what the machine does meanwhile to the parent run, unless that is switched off."""
        if not project.params.compute.system_metrics:
            return nullcontext()
        return log_system_metrics(self.store, self.run_id, project.say)

    def run(
        self,
        name: str,
        devices: Devices,
        watcher: Watcher,
        release: Callable[[], None] = lambda: None,
    ) -> dict[str, str]:
        """Run one fine-tune, or find it finished; the run ids of its ingredients, by name.

        Args:
            release: called when the devices are free for another; what is made is stored after.

        Raises:
            Failed: it diverged or its process ended; the run is marked failed, with the reason.
        """
        digest, job = self._jobs[name]
        names = names_of(name, job)
        with self._lock(job):
            # The fine-tune itself is stored last: if it is there, so are its averages.
            if self.store.find(digest) is not None:
                shutil.rmtree(job.folder, ignore_errors=True)
                watcher.done(name, "finished before")
                known = {names[e]: self.store.find(own_digest(digest, e)) for e in names}
                return {each: found.run_id for each, found in known.items() if found}
            started = time.monotonic()
            run_id = self._start(digest, name, name, FINAL_WEIGHTS)
            results = finished(job) or self._train(run_id, name, devices, watcher, 1.0)
            assert not isinstance(results, float)
            seconds = time.monotonic() - started
            release()
            runs = {}
            for each in results:
                if each != FINAL_WEIGHTS:
                    runs[names[each]] = self._averaged(digest, name, each, results[each])
            record_ingredient(
                self.store, run_id, name, results[FINAL_WEIGHTS], self._tags, self.steps[name]
            )
            runs[names[FINAL_WEIGHTS]] = run_id
            shutil.rmtree(job.folder, ignore_errors=True)
            told = ", ".join(f"{e} {r.accuracy:.2%}".strip() for e, r in results.items())
            watcher.done(name, f"{told} held-out in {seconds:.0f} s")
        return runs

    def train_until(self, name: str, devices: Devices, watcher: Watcher, share: float) -> float:
        """Take a fine-tune to a share of its run, and pause it.

        Returns:
            Its held-out accuracy there; infinity if it finished without having been asked there.

        Raises:
            Failed: as `run`.
        """
        digest, job = self._jobs[name]
        kept = job.folder / f"rung-{share:g}.json"
        with self._lock(job):
            known = self.store.find(digest)
            if known is not None:
                return known.metrics.get(rung_metric(share), math.inf)
            if kept.is_file():
                return float(json.loads(kept.read_text())["accuracy"])
            run_id = self._start(digest, name, name, FINAL_WEIGHTS)
            accuracy = self._train(run_id, name, devices, watcher, share)
            if not isinstance(accuracy, float):  # so short a run that the rung is its end
                return accuracy[FINAL_WEIGHTS].accuracy
            # For when it is finished, and others are compared with it.
            self.store.log(run_id, self.steps[name], {rung_metric(share): accuracy})
            write_json(kept, {"accuracy": accuracy})
        return accuracy

    def stop(self, name: str, reason: str, watcher: Watcher) -> StoppedEarly:
        """Mark a fine-tune as stopped early, with the reason; its state stays for another day."""
        digest, _ = self._jobs[name]
        run = self.store.find(digest, finished=False)
        if run is not None:
            self.store.end(run.run_id, failed=reason)
        watcher.done(name, reason)
        return StoppedEarly(reason)

    def _train(
        self, run_id: str, name: str, devices: Devices, watcher: Watcher, until: float
    ) -> Results | float:
        _, job = self._jobs[name]

        def log(step: int, metrics: dict[str, float]) -> None:
            self.store.log(run_id, step, metrics)
            watcher.step(name, step, metrics)

        def say(message: str) -> None:
            self.store.tag(run_id, {"note": message[:4000]})
            watcher.say(f"{name}: {message}")

        try:
            return in_process(replace(job, devices=devices, until=until), log, say)
        except Failed as error:
            self.store.end(run_id, failed=str(error))
            watcher.done(name, f"failed: {error}")
            raise

    def _lock(self, job: Job) -> FileLock:
        """Two pipelines on one store: the second waits, and then finds it finished."""
        job.folder.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(job.folder.with_suffix(".lock"))

    def _start(self, digest: str, shown: str, name: str, average: str) -> str:
        params = self._jobs[name][1].configuration.as_dict()
        if average != FINAL_WEIGHTS:
            params["average"] = average
        run_id = self.store.start("ingredient", digest, shown, self._tags, params, self.run_id)
        log.info("run opened", extra={"fine_tune": shown, "run": run_id})
        return run_id

    def _averaged(self, digest: str, name: str, average: str, result: Result) -> str:
        """The run of an average of a fine-tune's weights, an ingredient of its own."""
        own, shown = own_digest(digest, average), names_of(name, self._jobs[name][1])[average]
        known = self.store.find(own)
        if known is not None:  # stored before what was interrupted
            return known.run_id
        run_id = self._start(own, shown, name, average)
        record_ingredient(self.store, run_id, shown, result, self._tags, self.steps[name])
        return run_id

    def close(self, outcomes: Mapping[str, dict[str, str] | BaseException]) -> dict[str, Any]:
        """End the sweep with what each fine-tune returned or raised; facts for the record.

        Raises:
            SweepError: none finished; the message says what to change.
            Exception: what a fine-tune raised that is none of its own failures: a disk that is
                full, a store that is gone. The next start goes on.
        """
        for outcome in outcomes.values():
            if isinstance(outcome, BaseException) and not isinstance(
                outcome, Failed | StoppedEarly
            ):
                raise outcome
        failed = {name: str(o) for name, o in outcomes.items() if isinstance(o, BaseException)}
        if len(failed) == len(outcomes):
            self.store.end(self.run_id, failed="every fine-tune failed")
            last = [*failed.values()][-1]
            raise SweepError(
                f"all {len(failed)} fine-tunes failed, the last because {last}; "
                "if they diverged, lower sweep.space.lr or sweep.clip"
            )
        runs, best = finish_sweep(
            self.store, self.run_id, self._probe, self._tags, outcomes.values()
        )
        return {
            "sweep": self.run_id,
            "runs": runs,
            "failed": failed,
            "crashed": [n for n, o in outcomes.items() if isinstance(o, Crashed)],
            "summary": f"{len(outcomes) - len(failed)} of {len(outcomes)} fine-tunes, "
            f"{len(runs)} ingredients, {best}",
        }
