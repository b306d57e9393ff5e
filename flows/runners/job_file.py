"""What another process must know to run a fine-tune of a sweep: plain values, in a shared file."""

import json
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from soup.files import write_json
from soup.pipeline.project import Project
from soup.pipeline.sweep.devices import Capacity
from soup.pipeline.sweep.sweep import Sweep


@dataclass(frozen=True)
class Order:
    """One sweep, for all its fine-tunes.

    Attributes:
        params: as in `params.yaml`.
        tags: of every run.
        code: digest of the source files that a fine-tune's result depends on.
        sweep: run id of the sweep in MLflow.
        mlflow: where that is; '' if the address holds a password, which each host has to know.
        host: that the sweep is steered from.
        threads: of computation on the CPU, of each process of a fine-tune; 0 for its share
            of the machine that it comes to.
    """

    params: dict[str, Any]
    tags: dict[str, str]
    code: str
    sweep: str
    mlflow: str
    host: str
    threads: int

    @staticmethod
    def of(project: Project, code: str, sweep: Sweep, room: Capacity | None) -> "Order":
        params = project.params.model_dump(mode="json", by_alias=True)
        if room is not None:
            params["compute"]["device"] = room.device
        host, uri = socket.gethostname(), sweep.store.uri
        mlflow = "" if "@" in uri else uri
        threads = room.threads if room is not None else 0
        return Order(params, dict(project.tags), code, sweep.run_id, mlflow, host, threads)

    def write(self, project: Project) -> str:
        """Put it where the other side finds it; its folder, relative to the project's."""
        folder = project.cache / "orders" / uuid4().hex[:12]
        folder.mkdir(parents=True)
        write_json(folder / "order.json", asdict(self))
        return str(folder.relative_to(project.root))

    @staticmethod
    def read(folder: Path) -> "Order":
        return Order(**json.loads((folder / "order.json").read_text()))
