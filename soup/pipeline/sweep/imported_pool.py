"""A pool of checkpoints that were fine-tuned elsewhere, in the place of a sweep.

Each is read from whatever file it is in, scored on held-out and kept in MLflow as an ingredient;
from there on (cook, evaluate, register, report) nothing knows the difference.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soup.errors import BadInput, some
from soup.evaluation.examples import Examples
from soup.evaluation.heldout import scored
from soup.files import of_file, of_value, read_json
from soup.models import DESCRIPTION_FILE, Architecture, build
from soup.models.building import mismatch_message, outline_of
from soup.models.by_name import contradictions
from soup.models.conversion import description_of, source_files
from soup.models.conversion.read_weights import weights_of
from soup.pipeline.heldout import heldout_of
from soup.pipeline.project import Project
from soup.pipeline.sweep.part import Lent, Part
from soup.train.finetune import FINAL_WEIGHTS, Results
from soup.train.loop import Log
from soup.train.worker_process import Failed

SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
# Rows of the results, and of studies, that are no ingredients; so are soups: "greedy soup".
RESERVED = {
    *("probe", "base", "zero-shot", "best single", "ensemble", "greedy ensemble"),
    *("uniform", "greedy", "distilled"),
}
# Beside the published pool: model's name -> hyperparameters, under names of its own.
PARAMETERS = "hparam_info.json"
PUBLISHED = {"wd": "weight_decay", "smoothing": "label_smoothing", "mix": "mixup", "aug": "augment"}


@dataclass(frozen=True)
class ImportedCheckpoint(Part):
    """One checkpoint that was fine-tuned elsewhere.

    Its results are never found on disk: it is read and scored again, which takes one pass.

    Attributes:
        file: in any format that `soup import` reads.
        source: SHA-256 of the file.
        heldout: the images that it is scored on.
        eval_batch_size: images a pass.
        base: digest of the base's weights.
    """

    file: Path
    source: str
    architecture: Architecture
    heldout: Examples
    eval_batch_size: int
    base: str

    def make(
        self,
        devices: Lent,
        begun: Callable[[], object],
        freed: Callable[[], object],
        _log: Log,
        _say: Callable[[str], None],
        _until: float,
    ) -> Results:
        device, *_ = devices if isinstance(devices, tuple) else devices()
        begun()
        notes = {"base": self.base, "source": self.source}
        if "lr" in self.params:  # what `soup explain` asks for
            notes["lr"] = f"{self.params['lr']:.6g}"
        try:
            model = build(self.architecture, weights_of(self.file), self.name)
        except BadInput as error:
            raise Failed(str(error)) from None
        model = model.to(device)
        size = self.eval_batch_size
        result = scored(model, self.heldout, self.architecture, self.folder, size, notes)
        freed()
        return {FINAL_WEIGHTS: result}


def checkpoints(project: Project, shared: Mapping[str, str]) -> dict[str, ImportedCheckpoint]:
    """The checkpoints of the pool by name, all of which fit the base.

    Args:
        shared: digests of what all scores depend on: code, base, model, split.

    Raises:
        BadInput: checkpoints are missing or do not fit; all that is wrong is listed.
    """
    files = pool_files(project)
    architecture = Architecture.load(project.out / "probe" / DESCRIPTION_FILE)
    _require_fit(files, architecture)
    for problem in other_inputs(files, architecture):
        project.say(f"warning: {problem}")
    heldout = heldout_of(project, architecture)
    params = hyperparameters(files)
    pool = {}
    for name, file in files.items():
        source = of_file(file)
        digest = of_value({"import": source, "name": name, **shared})
        pool[name] = ImportedCheckpoint(
            digest,
            name,
            project.cache / "runs" / digest,
            1,
            params.get(name, {}),
            {"imported": file.name, "sha256.imported": source},
            file,
            source,
            architecture,
            heldout,
            project.params.compute.eval_batch_size,
            shared["base"],
        )
    return pool


def pool_files(project: Project) -> dict[str, Path]:
    """Name -> file of the pool's first `sweep.runs` checkpoints; model_2 comes before model_10.

    A name is that of the file without its suffix; with it where two files differ by suffix alone.

    Raises:
        BadInput: the folder is missing, or has fewer, or a name is that of another model.
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
    stems = Counter(file.stem for file in found)
    files = {f.stem if stems[f.stem] == 1 else f.name: f for f in found[: sweep.runs]}
    taken = RESERVED | {recipe.label for recipe in project.params.soup.recipes}
    wrong = [str(f) for name, f in files.items() if name in taken or name.endswith(" soup")]
    if wrong:
        raise BadInput(
            f"sweep.import: {some(wrong, 5)}: the pipeline gives this name to another model of its "
            "own; rename the file"
        )
    return files


def hyperparameters(files: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """What a file beside the checkpoints tells of them, under the names that our runs have.

    Raises:
        BadInput: the file is not JSON of that kind.
    """
    told = next(iter(files.values())).parent / PARAMETERS
    if not told.is_file():
        return {}
    try:
        every = {name: dict(values) for name, values in read_json(told).items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise BadInput(f"{told}: is not model's name -> hyperparameters: {error}") from None
    return {
        name: {
            PUBLISHED.get(str(key), str(key)): "none" if (key, value) == ("aug", None) else value
            for key, value in values.items()
        }
        for name, values in ((name, every.get(file.stem)) for name, file in files.items())
        if values is not None
    }


def listing(project: Project) -> str:
    """A digest of which files the pool has, with sizes and times: must it be looked at again?"""
    stats = ((name, file.stat()) for name, file in pool_files(project).items())
    return of_value([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])


def _natural(file: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", file.stem)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def other_inputs(files: Mapping[str, Path], architecture: Architecture) -> list[str]:
    """What the files say of their input that is not so in the base; at most one line.

    Raises:
        BadInput: what a file says of its model is damaged.
    """
    said = {}
    for name, file in files.items():
        # A safetensors file says it in its header, and is not read whole for it.
        content = None if file.suffix == ".safetensors" else source_files.contents(file)
        fields = description_of(file, content)
        if fields.get("model", "").partition(".")[0] == architecture.model.partition(".")[0]:
            said[name] = fields
    problems = contradictions(architecture, said, {"classes"})
    remedy = "set base.image_size, base.mean and base.std to what they were trained with"
    return [f"{some(problems, 5, '; ')}: {remedy}"] if problems else []


def _require_fit(files: Mapping[str, Path], architecture: Architecture) -> None:
    own = outline_of(architecture).state_dict()
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
        raise BadInput(some(found, 5, "\n") + (" checkpoints" if len(found) > 5 else ""))
