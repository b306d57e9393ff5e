"""The models of a finished project, as `soup try` shows them: best single, soup, ensemble."""

import math
from pathlib import Path
from typing import NamedTuple

from soup.errors import BadInput
from soup.evaluation.score_text import ACCURACY
from soup.pipeline.cooking.supplies import PROBE
from soup.pipeline.project import cache_of, store_of
from soup.pipeline.stage_record import read_record
from soup.tracking import WEIGHTS_DIGEST, Store, TrackingError, folders
from soup.weights.shards import WEIGHTS_FILE

RECORDS = ("finetune", "cook")


class FinishedModels(NamedTuple):
    """Folders of models.

    Attributes:
        single: name and folder of the model that was best on held-out examples.
        soup: the recipe's name, and the folder.
        members: the folders of the models that the soup was made of, each once.
    """

    single: tuple[str, Path]
    soup: tuple[str, Path]
    members: list[Path]


def finished_models(out: Path) -> FinishedModels:
    """The models of the results in out/EXPERIMENT of a project.

    Models that MLflow keeps on a server are fetched into the project's cache, and all are checked
    against their digests. Beside that nothing is written, in MLflow neither.

    Raises:
        BadInput: the soup is not cooked, or its models are gone.
        TrackingError: MLflow does not answer, or has no such experiment.
    """
    out = out.resolve()
    for name in RECORDS:
        if not (out / f"{name}.json").is_file():
            raise BadInput(
                f"{out} has no soup yet ({name} is not done): python -m flows pipeline --params "
                "FILE, with the parameters of this experiment"
            )
    runs = read_record(out / "finetune.json", runs=dict)["runs"]
    cooked = read_record(out / "cook.json", recipe=str, kept=list)
    root = out.parents[1]
    store = store_of(root, out.name, reading=True)
    kept = [*dict.fromkeys(cooked["kept"])]
    single = cooked.get("single") or _best(store, runs, kept, cooked.get("score", ACCURACY))
    wanted = [*dict.fromkeys([single, *kept])]
    if missing := [name for name in wanted if name not in runs]:
        raise BadInput(f"{out / 'finetune.json'} has no run of {', '.join(missing)}: cook again")
    try:
        models = store.get([runs[name] for name in wanted])
        digests = {run.model_id: {WEIGHTS_FILE: run.tags[WEIGHTS_DIGEST]} for run in models}
        found = folders(store, digests, cache_of(root) / "models")
    except TrackingError as error:
        raise BadInput(
            f"the models of {out} cannot be read: {error}\nto make them again, delete "
            f"{out / 'cook.json'} and start: python -m flows pipeline --params FILE"
        ) from None
    folder = {name: found[run.model_id] for name, run in zip(wanted, models, strict=True)}
    return FinishedModels(
        (single, folder[single]), (cooked["recipe"], out / "soup"), [folder[n] for n in kept]
    )


def _best(store: Store, runs: dict[str, str], kept: list[str], score: str) -> str:
    """The best ingredient on held-out, of a project that recorded no best one.

    Args:
        runs: name -> run id, the probe's too.
        kept: names of what the soup is made of. The probe is an ingredient if it is among them.
        score: that the project's soups are chosen by.
    """
    able = {name: run for name, run in runs.items() if name != PROBE or PROBE in kept}
    ranking = [name for name, _ in store.ranking(able)]
    if not ranking:
        raise BadInput("no fine-tune of this project has a held-out score")
    if score == ACCURACY:
        return ranking[0]
    values = dict(store.ranking(able, f"heldout/{score}"))
    # Of equal ones the first, which has fewer errors, as in cooking.
    return max(ranking, key=lambda name: values.get(name, -math.inf))
