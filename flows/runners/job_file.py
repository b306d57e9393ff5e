"""What another process must know to run a fine-tune of a sweep: plain values, in a shared file."""

import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic import TypeAdapter, ValidationError

from soup.errors import some
from soup.files import write_json
from soup.pipeline.project import Project
from soup.pipeline.stage_record import DamagedRecord, read_record
from soup.pipeline.sweep.devices import Capacity
from soup.pipeline.sweep.sweep import Sweep

NAME = "order.json"


@dataclass(frozen=True)
class JobFile:
    """A sweep, as all its fine-tunes need it.

    Attributes:
        params: as in `params.yaml`.
        tags: of every run in MLflow.
        code: digest of the source files that a fine-tune's result depends on.
        sweep: run id of the sweep in MLflow.
        mlflow: MLflow's address; '' if it holds a password, which each host has to know itself.
        host: where the sweep is steered from.
        threads: CPU threads of each process of a fine-tune; 0 for its share of the worker's
            machine.
    """

    params: dict[str, Any]
    tags: dict[str, str]
    code: str
    sweep: str
    mlflow: str
    host: str
    threads: int

    @staticmethod
    def of(project: Project, code: str, sweep: Sweep, capacity: Capacity | None) -> "JobFile":
        """Describe an open sweep.

        Args:
            project: of the sweep.
            code: digest of the source files that a fine-tune's result depends on.
            sweep: the sweep.
            capacity: what each fine-tune has; None: what the worker's machine has.
        """
        params = project.params.model_dump(mode="json", by_alias=True)
        if capacity is not None:
            params["compute"]["device"] = capacity.device
        uri = sweep.store.uri
        return JobFile(
            params=params,
            tags=dict(project.tags),
            code=code,
            sweep=sweep.run_id,
            mlflow="" if "@" in uri else uri,
            host=socket.gethostname(),
            threads=capacity.threads if capacity is not None else 0,
        )

    def write(self, project: Project) -> str:
        """Write it to a new folder of the project; the folder, relative to the project's."""
        folder = project.cache / "orders" / uuid4().hex[:12]
        folder.mkdir(parents=True)
        write_json(folder / NAME, asdict(self))
        return str(folder.relative_to(project.root))

    @staticmethod
    def read(folder: Path) -> "JobFile":
        """Read what `write` wrote.

        Raises:
            DamagedRecord: the file is no job file.
            OSError: it cannot be read.
        """
        facts = read_record(folder / NAME)
        try:
            return TypeAdapter(JobFile).validate_python(facts)
        except ValidationError as error:
            wrong = some([".".join(map(str, e["loc"])) for e in error.errors()], 5)
            raise DamagedRecord(f"{folder / NAME} is no job of a sweep: {wrong}") from None
