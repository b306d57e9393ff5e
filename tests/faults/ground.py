"""Ground to try faults on: tiny projects, shared servers, and what must hold after every fault."""

import contextlib
import copy
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from soup.weights.checkpoint import Checkpoint
from tests import checkouts, gates, homes, worlds
from tests.gates import Gate
from tests.servers import PrefectServer
from tests.waiting import until

FINE_TUNES = 6
SOURCES = ("soup", "flows")
SWEEP = ("prepare", "base", "probe", "finetune", "cook")  # what a trial runs, unless it runs all
ALL = (*SWEEP, "evaluate", "register", "report")
COMPUTE = {"slots": 2, "checkpoint_seconds": 0.05, "system_metrics": False}


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process does something of its own about a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.split("SigCgt:")[1].split()[0], 16)
    return bool(caught >> (number - 1) & 1)


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [child for child in map(int, found) if alive(child)]


class Warm:
    """See `tests.faults.warm`."""

    def __init__(self, folder: Path, **environment: str) -> None:
        path = f"{checkouts.REPO}:{gates.BUILT_IN}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.warm", homes.tracking(folder / "empty")],
            cwd=folder,  # its own copy of the sources comes first
            env=checkouts.environment(folder, PYTHONPATH=path, **environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / "warm.log").open("ab"),
            text=True,
            start_new_session=True,
        )
        self.fork_server: int = self._read()["fork_server"]

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def tell(self, message: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        print(json.dumps(message), file=self._process.stdin, flush=True)
        return int(self._read())

    def fine_tunes(self) -> list[int]:
        """The processes of fine-tunes under way."""
        return children(self.fork_server)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@dataclass
class Trial:
    """A project on which faults are tried.

    Attributes:
        root: its folder.
        experiment: its name in MLflow.
        uri: of the tracking store.
        environment: what a flow has besides that of the warm process.
        finished: run id and end of the ingredients that were found finished at the last look.
    """

    warm: Warm
    root: Path
    experiment: str
    uri: str
    stages: tuple[str, ...] = SWEEP
    environment: dict[str, str] = field(default_factory=dict)
    finished: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    redone: int = 0

    @property
    def log(self) -> Path:
        return self.root.with_suffix(".log")  # beside it, for its disk may be full

    def start(self) -> int:
        told = {"start": str(self.root), "log": str(self.log), "stages": list(self.stages)}
        return self.warm.tell(told | {"environment": self.environment})

    def wait(self, pid: int) -> int:
        return self.warm.tell({"wait": pid})

    def run(self) -> int:
        return self.wait(self.start())

    def kill(self, pid: int, number: int = signal.SIGKILL) -> int:
        """Send a signal; the exit code. Fine-tunes end too, which is checked."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        code = self.wait(pid)
        until(lambda: not self.warm.fine_tunes(), "the end of its fine-tunes")
        return code

    def look(self) -> None:
        """Count what was finished at the last look and is not now, or was finished again."""
        runs = self._ingredients()
        now = {run.info.run_id: run.info.end_time for run in runs if run.info.status == "FINISHED"}
        self.lost += sum(run_id not in now for run_id in self.finished)
        self.redone += sum(now.get(r, end) != end for r, end in self.finished.items())
        digests = Counter(
            run.data.tags["soup.digest"] for run in runs if run.info.status == "FINISHED"
        )
        self.redone += sum(count - 1 for count in digests.values())
        self.finished = now

    def _ingredients(self) -> list[Any]:
        import mlflow

        client = mlflow.MlflowClient(self.uri, self.uri)
        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            return []
        return list(
            client.search_runs(
                [found.experiment_id], "tags.`soup.kind` = 'ingredient'", max_results=1000
            )
        )

    def whole(self) -> None:
        """Everything is there, once, and can be read.

        Raises:
            AssertionError: something is not.
        """
        runs = self._ingredients()
        states = sorted((run.info.run_name, run.info.status) for run in runs)
        names = sorted(["probe", *(f"ft-{n:03d}" for n in range(FINE_TUNES))])
        assert states == [(name, "FINISHED") for name in names], states
        for run in runs:
            _has_its_weights(run, self.uri)
        for path in self.root.rglob("*"):
            if path.is_file():
                _read(path)

    def soup(self) -> bytes:
        return (self.root / "out" / self.experiment / "soup/model.safetensors").read_bytes()


def _has_its_weights(run: Any, uri: str) -> None:
    from soup.files import of_file

    tags = run.data.tags
    if uri.startswith("sqlite"):
        import mlflow

        model = mlflow.MlflowClient(uri, uri).get_logged_model(tags["soup.model_id"])
        folder = Path(model.artifact_location.removeprefix("file://"))
        for name in ("model.safetensors", "heldout.npz"):
            assert of_file(folder / name) == tags[f"soup.sha256.{name}"], (run.info.run_name, name)


def _read(path: Path) -> None:
    assert not path.name.startswith("."), path  # written aside, and left there
    match path.suffix:
        case ".safetensors":
            held = Checkpoint(path)
            for name in held:
                held[name]
        case ".json":
            json.loads(path.read_text())
        case ".npz":
            with np.load(path, allow_pickle=False) as held:
                for name in held.files:
                    held[name]


class Ground:
    """Images, a base model, a Prefect server and a warm process, shared by many trials.

    Args:
        prefect: a server that runs; default: one of its own.
        environment: what the warm process has besides.
    """

    def __init__(
        self, folder: Path, prefect: PrefectServer | None = None, **environment: str
    ) -> None:
        self.folder = folder
        (folder / "params.yaml").write_text(json.dumps(checkouts.parameters(folder)))
        worlds.world(folder / "data", train=40, test=12)
        worlds.draw(folder / "data" / "dark", {"blue": 8, "red": 8}, first=900)
        worlds.put(folder / "base", worlds.tiny())
        (folder / "base" / "model.safetensors").rename(folder / "base.safetensors")
        # A copy: digests are of the sources, which may be edited meanwhile.
        for name in SOURCES:
            shutil.copytree(checkouts.REPO / name, folder / name)
        shutil.copy(checkouts.REPO / "dvc.yaml", folder)
        self.gate = Gate(folder / "gate")
        self.prefect = prefect or PrefectServer(folder / "prefect")
        self._ends_prefect = prefect is None
        if prefect is None:
            self.prefect.start()
        own = {"PREFECT_API_URL": self.prefect.api, **self.gate.environment}
        self._environment = own | environment
        self._of_flows: dict[str, str] = {}
        self._warm: Warm | None = None
        self._numbers = itertools.count(1)

    @property
    def warm(self) -> Warm:
        if self._warm is None:
            self._warm = Warm(self.folder, **self._environment)
            self.prefect.ready()
        return self._warm

    def trial(
        self, stages: tuple[str, ...] = SWEEP, root: Path | None = None, **changes: Any
    ) -> Trial:
        """A project in which nothing is done yet.

        Args:
            changes: replace top-level parts of the parameters.
        """
        warm = self.warm
        name = f"trial-{next(self._numbers)}"
        root = root or self.folder / name
        root.mkdir(exist_ok=True)
        # The experiment is the project's own where a server is shared.
        uri = (self._environment | self._of_flows).get("MLFLOW_TRACKING_URI")
        experiment = name if uri else "tiny"
        sweep = checkouts.parameters(self.folder)["sweep"] | {"runs": FINE_TUNES}
        sweep["space"]["epochs"] = [4]
        plain = {"experiment": experiment, "sweep": sweep}
        plain["compute"] = COMPUTE
        parameters = checkouts.parameters(self.folder) | plain | changes
        (root / "params.yaml").write_text(json.dumps(parameters))
        if not uri:
            homes.tracking(root)
        for name in ("data", "dvc.yaml", *SOURCES):
            (root / name).symlink_to(self.folder / name)
        own = uri or f"sqlite:///{root}/mlflow.db"
        return Trial(warm, root, experiment, own, stages, {**self._of_flows})

    def of_flows(self, **environment: str) -> "Ground":
        """The same ground, for trials whose flows have this in their environment."""
        made = copy.copy(self)
        made._warm, made._of_flows = self.warm, environment
        return made

    def close(self) -> None:
        if self._warm is not None:
            self._warm.close()
        if self._ends_prefect:
            self.prefect.kill()


@contextlib.contextmanager
def ground(
    folder: Path, prefect: PrefectServer | None = None, **environment: str
) -> Iterator[Ground]:
    """See `Ground`."""
    made = Ground(folder, prefect, **environment)
    try:
        yield made
    finally:
        made.close()
