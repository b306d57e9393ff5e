"""A sweep: K ingredients of one initialisation, each kept in MLflow under its digest.

A larger K finds the first ingredients finished. An interrupted one goes on from its state on disk.
"""

import logging
import math
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from soup.evaluation.heldout import Result
from soup.files import write_json
from soup.pipeline.project import Project
from soup.pipeline.stage_record import read_record
from soup.pipeline.sweep.devices import Devices
from soup.pipeline.sweep.heldout_score import HeldoutScore
from soup.pipeline.sweep.ingredient_runs import IngredientRuns
from soup.pipeline.sweep.metric_queue import MetricQueue, Steps
from soup.pipeline.sweep.part import Lent, Part, RunId, StoppedEarly, SweepError
from soup.pipeline.sweep.watcher import Watcher
from soup.tracking import Store, end_with, log_system_metrics
from soup.train.finetune import FINAL_WEIGHTS, Results
from soup.train.run_state import Stopped
from soup.train.worker_process import Crashed, Failed

log = logging.getLogger("modelsoup")
PROBE_AFTER = 5.0  # seconds in which the first fine-tunes begin, undisturbed


@dataclass(frozen=True)
class Sweep:
    """A sweep that is open in MLflow (`opening.py`).

    Attributes:
        store: the experiment.
        run_id: of the parent run.
        parts: by name: fine-tunes, or checkpoints that were fine-tuned elsewhere.
        finished: of each part that was finished when the sweep was opened, the run ids of its
            ingredients, by name.
        imported: whether the parts are checkpoints that were fine-tuned elsewhere.
        listing: a digest of the folder that these are in; '' for fine-tunes.
        score: that ingredients are ranked by.
    """

    store: Store
    run_id: str
    parts: Mapping[str, Part]
    finished: dict[str, dict[str, str]]
    imported: bool
    listing: str
    score: HeldoutScore
    _runs: IngredientRuns
    _cache: Path
    _probe: Result

    @property
    def steps(self) -> dict[str, int]:
        """Steps of each part."""
        return {name: part.steps for name, part in self.parts.items()}

    def longest_first(self) -> list[str]:
        """The names of the parts in the order to begin them in.

        A long one that begins last would leave other devices without work at the end. No result
        depends on the order.
        """
        return sorted(self.parts, key=lambda name: -self.parts[name].length)

    @contextmanager
    def probe_kept_meanwhile(self) -> Iterator[None]:
        """Store the linear probe while devices train. `close` does it if this could not."""
        over = threading.Event()

        def keep() -> None:
            if not over.wait(PROBE_AFTER):
                with suppress(Exception):
                    self._runs.keep_probe(self._probe)

        with ThreadPoolExecutor(1) as beside:
            beside.submit(keep)
            try:
                yield
            finally:
                over.set()

    def machine(self, project: Project) -> AbstractContextManager[None]:
        """Log the machine's use to the parent run meanwhile, unless nothing trains or it is off."""
        if self.imported or not project.params.compute.system_metrics:
            return nullcontext()
        return log_system_metrics(self.store, self.run_id, project.say)

    def run(
        self,
        name: str,
        devices: Lent,
        watcher: Watcher,
        release: Callable[[], None] = lambda: None,
    ) -> dict[str, str]:
        """Make one part, or find it finished; the run ids of its ingredients, by name.

        While it is made, and no sooner, its run is begun in MLflow: devices wait for no server.

        Args:
            devices: that it is made on, or what waits for them.
            release: called when the devices are free for another; results are stored after.

        Raises:
            Failed: it diverged or its process ended; the run is marked failed, with the reason.
        """
        part = self.parts[name]
        with part.lock():
            if self.store.find(part.digest) is not None:
                shutil.rmtree(part.folder, ignore_errors=True)
                watcher.done(name, "finished before")
                stored = {shown: self.store.find(d) for shown, d in part.digests.items()}
                return {shown: run.run_id for shown, run in stored.items() if run}
            run_id = cache(partial(self._runs.begin, part))
            started = time.monotonic()

            def lend() -> Devices:
                nonlocal started
                borrowed = devices if isinstance(devices, tuple) else devices()
                started = time.monotonic()
                return borrowed

            with self._ended_by_error(run_id, name, watcher):
                results: Results | float | None = part.results()
                if results is None:
                    results = self._make(part, run_id, name, lend, watcher, 1.0, release)
                else:
                    release()
                assert not isinstance(results, float)
                seconds = time.monotonic() - started
                keep, averages = self._runs.keep_average, filter(None, results)
                ids = {part.names[a]: keep(part, a, results[a]) for a in averages}
                # The part itself is stored last: if it is there, so are its averages.
                final = results[FINAL_WEIGHTS]
                self._runs.keep(run_id(), name, final, part.tags, part.steps)
            scores = ", ".join(f"{a} {self.score.text_of(r)}".strip() for a, r in results.items())
            shutil.rmtree(part.folder, ignore_errors=True)
            watcher.done(name, f"{scores} held-out in {seconds:.0f} s")
        return {**ids, part.names[FINAL_WEIGHTS]: run_id()}

    def train_until(self, name: str, devices: Lent, watcher: Watcher, share: float) -> float:
        """Train a share of a fine-tune's steps, and pause it.

        Returns:
            Its held-out score there; infinity if it finished without having been asked there.

        Raises:
            Failed: as `run`.
        """
        part = self.parts[name]
        metric = self.score.rung(share)
        rung = part.folder / f"{metric.replace('/', '-')}.json"
        with part.lock():
            finished = self.store.find(part.digest)
            if finished is not None:
                return finished.metrics.get(metric, math.inf)
            if rung.is_file():
                return float(read_record(rung, score=float)["score"])
            run_id = cache(partial(self._runs.begin, part))
            with self._ended_by_error(run_id, name, watcher):
                reached = self._make(part, run_id, name, devices, watcher, share)
            if not isinstance(reached, float):  # so short a run that the rung is its end
                return self.score.value(reached[FINAL_WEIGHTS])
            # For when it is finished, and others are compared with it.
            self.store.log(run_id(), part.steps, {metric: reached})
            write_json(rung, {"score": reached})
        return reached

    def stop(self, name: str, reason: str, watcher: Watcher) -> StoppedEarly:
        """Mark a fine-tune as stopped early, with the reason; its state stays for another day."""
        run = self.store.find(self.parts[name].digest, finished=False)
        if run is not None:
            self.store.end(run.run_id, failed=reason)
        watcher.done(name, reason)
        return StoppedEarly(reason)

    def close(self, outcomes: Mapping[str, dict[str, str] | BaseException]) -> dict[str, Any]:
        """End the sweep with what each part returned or raised; facts for the record.

        Raises:
            SweepError: none finished; the message says what to change.
            Exception: what a part raised that is no failure of its own: a full disk, a store that
                is gone. The next start goes on.
        """
        for outcome in outcomes.values():
            expected = isinstance(outcome, Failed | StoppedEarly)
            if isinstance(outcome, BaseException) and not expected:
                raise outcome
        failed = {name: str(o) for name, o in outcomes.items() if isinstance(o, BaseException)}
        if len(failed) == len(outcomes):
            last = [*failed.values()][-1]
            self.store.end(self.run_id, failed="nothing could be made")
            raise SweepError(
                f"none of {len(failed)} checkpoints could be imported: {last}"
                if self.imported
                else f"all {len(failed)} fine-tunes failed, the last because {last}"
            )
        runs, best = self._runs.finish(self._probe, outcomes.values(), self._cache)
        what = "checkpoints imported" if self.imported else f"fine-tunes, {len(runs)} ingredients"
        summary = f"{len(outcomes) - len(failed)} of {len(outcomes)} {what}, {best}"
        self.store.describe(self.run_id, summary)
        return {
            "sweep": self.run_id,
            "runs": runs,
            "failed": failed,
            "crashed": [n for n, o in outcomes.items() if isinstance(o, Crashed)],
            "listing": self.listing,
            "score": self.score.name,
            "summary": summary,
        }

    def _make(
        self,
        part: Part,
        run_id: RunId,
        name: str,
        devices: Lent,
        watcher: Watcher,
        until: float,
        freed: Callable[[], object] = lambda: None,
    ) -> Results | float:
        def send(steps: Steps) -> None:
            self.store.log_steps(run_id(), steps)

        def log(step: int, metrics: dict[str, float]) -> None:
            queue.add(step, metrics)
            watcher.step(name, step, metrics)

        def say(message: str) -> None:
            self.store.tag(run_id(), {"note": message[:4000]})
            watcher.say(f"{name}: {message}")

        with MetricQueue(send) as queue:
            return part.make(devices, run_id, freed, log, say, until)

    @contextmanager
    def _ended_by_error(self, run_id: RunId, name: str, watcher: Watcher) -> Iterator[None]:
        """End the run of a part as failed if an error ends the block; not if all are to stop."""
        try:
            yield
        except Stopped:
            raise
        except Exception as error:
            if not run_id.cache_info().currsize and not isinstance(error, Failed):
                raise  # the store did not take it
            end_with(self.store, run_id(), error)
            watcher.done(name, f"failed: {error}")
            raise
