"""What can be known to be wrong before anything is started."""

from flows.project import open_project, root
from soup.config.params import Base, Params


def require_experiment(params: Params) -> None:
    """Check that the experiment was not deleted in MLflow; it need not exist, nor MLflow answer.

    Raises:
        TrackingError: it was.
    """
    from soup.tracking import default_uri, require_experiment

    require_experiment(default_uri(root()), params.experiment)


def check(params: Params) -> None:
    """Check that the parameters can be carried out on this machine and its servers.

    Raises:
        ParamsError: the grid is smaller than the number of runs.
        NoDevices: one fine-tune is to have more devices than there are.
        BadInput: checkpoints to import are not there, timm has no such optimizer, a recipe lacks
            what it needs or refuses its options, the library has no such base, or there is no place
            for fine-tunes as `compute.runner` and `compute.limit` say.
        TrackingError: MLflow does not answer, does not reach its artifacts, or the experiment was
            deleted in it.
    """
    from flows.runners import choose
    from soup.pipeline.cooking import supplies
    from soup.pipeline.sweep.imported_pool import pool_files
    from soup.pipeline.sweep.sampling import sample
    from soup.train import optimizer

    choose.require(params)
    optimizer.require(params.sweep.optimizer)
    supplies.require(params)
    sample(params.sweep)
    if not _base_is_there(params):
        _require_base(params.base)
    project = open_project(params)
    if params.sweep.imported is not None:
        pool_files(project)
    project.store().require_artifacts()


def _base_is_there(params: Params) -> bool:
    """Whether the base was made before, whatever has become of the file it was made from."""
    from soup.pipeline.stage_record import stage

    try:
        return stage("base", params, root()).finished() is not None
    except FileNotFoundError:  # the split is not there yet
        return False


def _require_base(base: Base) -> None:
    if base.library == "timm":
        from soup.models import timm_init

        timm_init.require(base)
    elif base.library == "transformers":
        from soup.models.building import library

        library(base.library)  # says so if transformers is not installed
        from soup.models import transformers_init

        transformers_init.require(base)
    else:
        from soup.models import clip_init

        clip_init.require(base)
