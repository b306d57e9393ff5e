"""The models of a finished project, as `soup try` shows them: best single, soup, ensemble."""

from pathlib import Path
from typing import NamedTuple

from soup.errors import BadInput
from soup.pipeline.stage_record import read_record
from soup.tracking import Store, TrackingError, default_uri, ingredients

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
    against their digests.

    Raises:
        BadInput: the soup is not cooked, or its models are gone.
        TrackingError: MLflow does not answer.
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
    store = Store(default_uri(root), out.name, root / "mlruns")
    kept = [*dict.fromkeys(cooked["kept"])]
    single = cooked.get("single") or _best(store, runs)
    wanted = dict.fromkeys([single, *kept])
    if missing := [name for name in wanted if name not in runs]:
        raise BadInput(f"{out / 'finetune.json'} has no run of {', '.join(missing)}: cook again")
    try:
        stored = ingredients(store, [runs[name] for name in wanted], root / ".cache/soup/models")
    except TrackingError as error:
        raise BadInput(
            f"the models of {out} cannot be read: {error}\nto make them again: python -m flows "
            "pipeline --params FILE"
        ) from None
    folders = {model.ingredient.name: model.folder for model in stored}
    return FinishedModels(
        (single, folders[single]), (cooked["recipe"], out / "soup"), [folders[n] for n in kept]
    )


def _best(store: Store, runs: dict[str, str]) -> str:
    """The fine-tune with the fewest held-out errors, of a project that recorded no best one."""
    ranking = [name for name, _ in store.ranking(runs) if name != "probe"]
    if not ranking:
        raise BadInput("no fine-tune of this project has a held-out score")
    return ranking[0]
