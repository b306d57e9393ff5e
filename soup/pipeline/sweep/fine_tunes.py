"""What a fine-tune leaves in MLflow is known by: names, digests, metrics."""

from collections.abc import Mapping

from soup.files import of_value
from soup.tracking import Tracked
from soup.train.finetune import FINAL_WEIGHTS, Job, ingredients_of


def names_of(name: str, job: Job) -> dict[str, str]:
    """The ingredients of a fine-tune, by which average they are."""
    return {each: f"{name}-{each}" if each else name for each in ingredients_of(job.sweep)}


def own_digest(digest: str, average: str) -> str:
    """The digest of an ingredient of a fine-tune."""
    return (
        digest if average == FINAL_WEIGHTS else of_value({"fine-tune": digest, "average": average})
    )


def rung_metric(share: float) -> str:
    """Held-out accuracy at a share of the run."""
    return f"rung/{share:g}"


def finished_among(
    jobs: Mapping[str, tuple[str, Job]], runs: Mapping[str, Tracked]
) -> dict[str, dict[str, str]]:
    """Which fine-tunes are among the finished runs: name -> run ids of its ingredients, by name.

    Args:
        jobs: name -> digest and job.
        runs: by digest.
    """
    found = {}
    for name, (digest, job) in jobs.items():
        if digest in runs:  # stored last: if it is there, so are its averages
            own = {shown: own_digest(digest, each) for each, shown in names_of(name, job).items()}
            found[name] = {shown: runs[one].run_id for shown, one in own.items() if one in runs}
    return found
