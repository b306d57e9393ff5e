"""Where fine-tunes run, as it is written in `params.yaml`."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from soup.config.validation import Strict, short_for


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
