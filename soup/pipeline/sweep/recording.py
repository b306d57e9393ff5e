"""Scored models kept in MLflow as ingredients of a sweep."""

from collections.abc import Callable, Iterable, Mapping

from soup.evaluation.heldout import Result
from soup.files import of_file, of_value
from soup.pipeline.sweep.part import Part
from soup.tracking import Store


def tell_unused(store: Store, parts: Iterable[Part], say: Callable[[str], None]) -> None:
    """Say how many finished ingredients the experiment has, if a new sweep can reuse none of them.

    Args:
        parts: of the new sweep.
    """
    wanted = {digest for part in parts for digest in part.digests.values()}
    finished = {
        digest: run
        for digest, run in store.finished().items()
        if run.tags["kind"] == "ingredient" and run.name != "probe"
    }
    if finished and not wanted & finished.keys():
        say(
            f"{len(finished)} finished ingredients of this experiment are not reused: code, base "
            "model, split or hyperparameters differ from those of this sweep"
        )


def record_ingredient(
    store: Store, run_id: str, name: str, result: Result, tags: Mapping[str, str], step: int
) -> None:
    """Store weights, answers and score of an ingredient in its run, and end the run."""
    digests = {f"sha256.{f.name}": of_file(f) for f in (result.weights, result.predictions)}
    store.tag(run_id, digests)
    store.log_weights(run_id, name, result.weights.parent, {**tags, **digests}, step)
    store.log(run_id, step, {"heldout/errors": result.errors, "heldout/accuracy": result.accuracy})
    store.end(run_id)


def record_probe(store: Store, sweep: str, probe: Result, tags: Mapping[str, str]) -> str:
    """The linear probe as an ingredient of a sweep, as in the paper; its run id."""
    digest = of_value({"probe": tags["base"], "sweep": tags["sweep"]})
    known = store.find(digest)
    if known is not None:
        return known.run_id
    run_id = store.start("ingredient", digest, "probe", tags, parent=sweep)
    record_ingredient(store, run_id, "probe", probe, tags, step=0)
    return run_id


def finish_sweep(
    store: Store,
    sweep: str,
    probe: Result,
    tags: Mapping[str, str],
    outcomes: Iterable[Mapping[str, str] | BaseException],
) -> tuple[dict[str, str], str]:
    """End a sweep: the run ids of its ingredients by name, and which of them is the best.

    Args:
        outcomes: the run ids, by name, of what each part of it made; or what it raised.
    """
    runs = {"probe": record_probe(store, sweep, probe, tags)}
    for outcome in outcomes:
        if not isinstance(outcome, BaseException):
            # A grid may hold one configuration twice; it is one ingredient.
            runs |= {name: run for name, run in outcome.items() if run not in runs.values()}
    store.end(sweep)
    best, errors = store.ranking(runs)[0]
    return runs, f"best {best} {1 - errors / probe.examples:.2%} held-out"
