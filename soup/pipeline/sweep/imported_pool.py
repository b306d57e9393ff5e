"""A pool of checkpoints that were fine-tuned elsewhere, in the place of a sweep.

Each is read from whatever file it is in, scored on held-out and kept in MLflow as an ingredient;
from there on (cook, evaluate, register, report) nothing knows the difference.
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from soup.data.loading.images import Images
from soup.data.split.prepare import read_csv
from soup.errors import BadInput
from soup.evaluation.heldout import Result, heldout_images, scored
from soup.files import of_file, of_value
from soup.models import Architecture, build, load_weights, mismatch_message
from soup.models.conversion.read_weights import weights_of
from soup.pipeline.project import Project
from soup.pipeline.sweep.devices import Devices
from soup.pipeline.sweep.recording import finish_sweep, record_ingredient
from soup.pipeline.sweep.sweep import SweepError, Watcher
from soup.tracking import Store

SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
# Beside the published pool: model's name -> hyperparameters, under names of its own.
PARAMETERS = "hparam_info.json"
PUBLISHED = {"wd": "weight_decay", "smoothing": "label_smoothing", "mix": "mixup", "aug": "augment"}


@dataclass(frozen=True)
class ImportedPool:
    """A sweep that others made, open in MLflow; has the same parts as a `Sweep`.

    Attributes:
        run_id: of the parent run.
        steps: by ingredient; to read and to score it is one.
        finished: the run ids, by name, of those that were there when it was opened.
    """

    store: Store
    run_id: str
    steps: dict[str, int]
    finished: dict[str, dict[str, str]]
    _project: Project
    _files: Mapping[str, Path]
    _parameters: Mapping[str, Mapping[str, Any]]
    _tags: dict[str, str]
    _code: str
    _architecture: Architecture
    _heldout: Images
    _probe: Result
    _sources: Mapping[str, str]

    @staticmethod
    def open(project: Project, code: str) -> "ImportedPool":
        """Find the checkpoints, see whether all of them fit the base, and open the parent run.

        Args:
            code: digest of the source files that the scores depend on.

        Raises:
            BadInput: checkpoints are missing or do not fit; all that is wrong is listed.
            TrackingError: MLflow does not answer.
        """
        start = project.out / "probe"
        files = pool_files(project)
        architecture = Architecture.load(start / "model.json")
        _require_fit(files, architecture)
        base, split = of_file(start / "model.safetensors"), of_file(project.development)
        sources = {name: of_file(file) for name, file in files.items()}
        digest = of_value({"import": sources, "base": base, "split": split, "code": code})
        store = project.store()
        tags = project.lineage() | {"base": base, "split": split, "sweep": digest}
        known = store.find(digest)
        name = f"imported {digest[:8]}"
        run_id = known.run_id if known else store.start("sweep", digest, name, tags)
        probed = json.loads((project.out / "probe.json").read_text())
        cache = project.cache / "images"
        before = store.finished(run_id)
        own = {name: _own(name, source, base, split, code) for name, source in sources.items()}
        return ImportedPool(
            store,
            run_id,
            dict.fromkeys(files, 1),
            {name: {name: before[one].run_id} for name, one in own.items() if one in before},
            project,
            files,
            hyperparameters(files),
            tags,
            code,
            architecture,
            heldout_images(read_csv(project.development), project.images, architecture, cache),
            Result(probed["errors"], probed["examples"], start),
            sources,
        )

    def run(
        self,
        name: str,
        devices: Devices,
        watcher: Watcher,
        release: Callable[[], None] = lambda: None,
    ) -> dict[str, str]:
        """Score and keep one checkpoint, or find that it was; its run id, by its name.

        Args:
            release: called when the devices are free for another.
        """
        source = self._sources[name]
        digest = _own(name, source, self._tags["base"], self._tags["split"], self._code)
        folder = self._project.cache / "runs" / digest
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Two pipelines on one store: the second waits, and then finds it done.
        with FileLock(folder.with_suffix(".lock")):
            known = self.store.find(digest)
            if known is not None:
                watcher.done(name, "imported before")
                return {name: known.run_id}
            parameters = self._parameters.get(name, {})
            tags = {**self._tags, "imported": self._files[name].name, "sha256.imported": source}
            run_id = self.store.start("ingredient", digest, name, tags, parameters, self.run_id)
            model = build(self._architecture)
            load_weights(model, weights_of(self._files[name]), name)
            notes = {"base": self._tags["base"], "source": source}
            if "lr" in parameters:  # what `soup explain` asks for
                notes["lr"] = f"{parameters['lr']:.6g}"
            size = self._project.params.compute.eval_batch_size
            result = scored(
                model.to(devices[0]), self._heldout, self._architecture, folder, size, notes
            )
            release()
            record_ingredient(self.store, run_id, name, result, tags, step=0)
            shutil.rmtree(folder, ignore_errors=True)
            watcher.done(name, f"{result.accuracy:.2%} held-out")
        return {name: run_id}

    def close(self, outcomes: Mapping[str, dict[str, str] | BaseException]) -> dict[str, Any]:
        """End the sweep with what each import returned or raised; facts for the record.

        Raises:
            SweepError: none could be imported.
        """
        failed = {name: str(o) for name, o in outcomes.items() if isinstance(o, BaseException)}
        if len(failed) == len(outcomes):
            last = [*failed.values()][-1]
            self.store.end(self.run_id, failed="nothing could be imported")
            raise SweepError(f"none of {len(failed)} checkpoints could be imported: {last}")
        runs, best = finish_sweep(
            self.store, self.run_id, self._probe, self._tags, outcomes.values()
        )
        return {
            "sweep": self.run_id,
            "runs": runs,
            "failed": failed,
            "listing": listing(self._project),
            "summary": f"{len(runs) - 1} of {len(outcomes)} checkpoints imported, {best}",
        }


def pool_files(project: Project) -> dict[str, Path]:
    """Name -> file of the pool's first `sweep.runs` checkpoints; model_2 comes before model_10.

    Raises:
        BadInput: the folder is missing, or has fewer.
    """
    sweep = project.params.sweep
    folder = project.root / str(sweep.imported)
    if not folder.is_dir():
        raise BadInput(f"sweep.import: {folder} is not a folder of checkpoints")
    found = sorted((f for f in folder.iterdir() if f.suffix in SUFFIXES), key=_natural)
    if len(found) < sweep.runs:
        raise BadInput(
            f"sweep.import: {folder} has {len(found)} checkpoints ({', '.join(SUFFIXES)}), but "
            f"sweep.runs is {sweep.runs}: fetch the others, or lower it"
        )
    return {file.stem: file for file in found[: sweep.runs]}


def hyperparameters(files: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """What a file beside the checkpoints tells of them, under the names that our runs have.

    Raises:
        BadInput: the file is not JSON of that kind.
    """
    told = next(iter(files.values())).parent / PARAMETERS
    if not told.is_file():
        return {}
    try:
        every = {name: dict(values) for name, values in json.loads(told.read_text()).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise BadInput(f"{told}: is not model's name -> hyperparameters: {error}") from None
    return {
        name: {
            PUBLISHED.get(str(key), str(key)): _ours(key, value) for key, value in values.items()
        }
        for name, values in every.items()
        if name in files
    }


def listing(project: Project) -> str:
    """A digest of which files the pool has, with sizes and times: must it be looked at again?"""
    stats = ((name, file.stat()) for name, file in pool_files(project).items())
    return of_value([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])


def _own(name: str, source: str, base: str, split: str, code: str) -> str:
    """The digest of an ingredient."""
    return of_value({"import": source, "name": name, "base": base, "split": split, "code": code})


def _ours(key: str, value: Any) -> Any:
    return "none" if key == "aug" and value is None else value


def _natural(file: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", file.stem)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _require_fit(files: Mapping[str, Path], architecture: Architecture) -> None:
    own = build(architecture).state_dict()
    problems = []
    for name, file in files.items():
        try:
            problems.append(
                mismatch_message(own, weights_of(file), f"{architecture.model}: {name}")
            )
        except BadInput as error:
            problems.append(str(error))
    found = [problem for problem in problems if problem]
    if found:
        more = [f"and {len(found) - 5} more checkpoints"] if len(found) > 5 else []
        raise BadInput("\n".join([*found[:5], *more]))
