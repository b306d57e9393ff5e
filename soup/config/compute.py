"""Where and how fast the work runs, as it is written in `params.yaml`."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from soup.config.validation import Name, Strict, short_for


class RunnerConfig(Strict):
    """Which machines fine-tune; a kind alone, where it needs no more."""

    kind: Literal["local", "ray", "pool"] = Field(
        "local", description="processes of this machine, a Ray cluster, a Prefect work pool"
    )
    address: str | None = Field(
        None,
        description="of a Ray cluster that runs (auto, ray://HOST:10001); default: one is started "
        "on this machine",
    )
    workers: PositiveInt | None = Field(
        None, description="how many to start on this machine; default: one a GPU, or one a core"
    )
    pool: str | None = Field(None, description="name of the Prefect work pool")

    @field_validator("kind", mode="before")
    @classmethod
    def dask_is_gone(cls, kind: object) -> object:
        if kind == "dask":
            raise ValueError(
                "the Dask runner is gone; use ray, or a Prefect work pool "
                "({kind: pool, pool: NAME}), as docs/scale-out.md says"
            )
        return kind

    @model_validator(mode="after")
    def belong_to_the_kind(self) -> Self:
        for name in ("address", "workers"):
            if getattr(self, name) is not None and self.kind != "ray":
                raise ValueError(f"{name} is for kind: ray, and this is {self.kind}")
        if self.address is not None and self.workers is not None:
            raise ValueError(
                "give 'address' (a cluster that runs) or 'workers' (to start), not both"
            )
        if (self.kind == "pool") != (self.pool is not None):
            raise ValueError("kind: pool and the name of the work pool, 'pool', go together")
        return self


Runner = Annotated[RunnerConfig, short_for("kind", json_schema_input_type=str | RunnerConfig)]


class Compute(Strict):
    """Where the work runs and how fast. A finished fine-tune stays valid when any of this changes.

    Two settings touch results all the same, and are kept with each run: `devices_per_run` (mixup
    and drop path draw other random numbers) and `slots` (fine-tunes get more or fewer threads,
    which sum in another order: the last bits differ).
    """

    runner: Runner = Field(RunnerConfig(), description="where fine-tunes run; docs/scale-out.md")
    limit: Name | None = Field(
        None, description="Prefect concurrency limit that sweeps share; a slot is one device"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    slots: PositiveInt | None = Field(
        None, description="fine-tunes at once; default: one a GPU, or one a CPU core"
    )
    devices_per_run: PositiveInt = Field(
        1,
        description="GPUs (or CPU processes) that share one fine-tune; dropout and mixup then draw "
        "anew, the rest is the same to float tolerance",
    )
    sharding: Literal["none", "full"] = Field(
        "none", description="full: the model itself is spread over them, where it does not fit one"
    )
    system_metrics: bool = Field(
        True, description="log use of CPU, memory and GPUs over time to the sweep's run in MLflow"
    )
    checkpoint_seconds: float = Field(
        60, ge=0, description="between a fine-tune's checkpoints; 0 for one after each step"
    )
    checkpoint_steps: PositiveInt | None = Field(
        None, description="a checkpoint every so many steps too"
    )
    eval_batch_size: PositiveInt = 256
    cache_gib: PositiveFloat = Field(
        8,
        description="decoded images and features kept on disk for reuse, in all; those not used "
        "for longest are removed, and a set without room is read from its files each time. As much "
        "again for the answers of models, and for soups",
    )
