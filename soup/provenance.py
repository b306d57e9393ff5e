"""Digests: every step's output is named by what made it.

`dvc.yaml` is the one list of what a stage depends on (its part of the parameters, its inputs, its
source files), so that DVC and this project agree on what is out of date by construction.
"""

import hashlib
import json
import re
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from soup.files import write_json
from soup.params import Params


def of_file(path: str | Path) -> str:
    """The SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_value(value: object) -> str:
    """The SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def of_files(paths: Iterable[str | Path], root: Path) -> str:
    """One digest for several files, by their paths relative to the root and their bytes."""
    return of_value({str(path): of_file(root / path) for path in paths})


@dataclass(frozen=True)
class Stage:
    """A stage of `dvc.yaml` for given parameters.

    Attributes:
        name: its name.
        digest: of its parameters, inputs and source files.
        code: of its source files alone.
        outs: what it writes, its record excepted.
        record: a JSON file that says which digest the outs were made for.
        started: when this object was made, for the time it takes.
    """

    name: str
    digest: str
    code: str
    outs: tuple[Path, ...]
    record: Path
    started: float = field(default_factory=time.monotonic, compare=False)

    def finished(self) -> dict[str, Any] | None:
        """The record, if it was made for this digest and every output is as it was left."""
        try:
            record: dict[str, Any] = json.loads(self.record.read_text())
        except (OSError, json.JSONDecodeError):
            return None
        if record.get("digest") != self.digest:
            return None
        whole = all(
            out.is_file() and of_file(out) == record["outs"].get(out.name) for out in self.outs
        )
        return record if whole else None

    def finish(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Write the record, last, so that it stands only for outputs that are whole."""
        record = {
            "stage": self.name,
            "digest": self.digest,
            "outs": {out.name: of_file(out) for out in self.outs},
            "seconds": round(time.monotonic() - self.started, 1),
            **facts,
        }
        write_json(self.record, record)
        return record


def stage(name: str, params: Params, root: Path) -> Stage:
    """Read a stage's definition from `dvc.yaml` and digest what it depends on.

    Raises:
        FileNotFoundError: an input is missing; the message says which stage makes it.
    """
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    values = params.model_dump(mode="json", by_alias=True)
    definition = _fill(stages[name], values)
    deps = [Path(dep) for dep in definition.get("deps", [])]
    for dep in deps:
        if not (root / dep).exists():
            raise FileNotFoundError(
                f"{name} needs {dep}, which is missing: run the stages before it"
            )
    sources = [dep for dep in deps if dep.suffix in (".py", ".j2", ".css")]
    keys = [key for key in definition.get("params", []) if key != "experiment"]
    made_of = {
        "params": {key: values[key] for key in keys},
        "deps": of_files(deps, root),
    }
    outs = [
        root / _path(out)
        for kind in ("outs", "metrics", "plots")
        for out in definition.get(kind, [])
    ]
    record = next(out for out in outs if out.name == f"{name}.json")
    return Stage(
        name=name,
        digest=of_value(made_of),
        code=of_files(sources, root),
        outs=tuple(out for out in outs if out != record),
        record=record,
    )


def _fill(node: Any, values: Mapping[str, Any]) -> Any:
    """Replace ${a.b} by the parameter's value, as DVC does."""
    if isinstance(node, str):
        return re.sub(r"\$\{([\w.]+)\}", lambda m: str(_lookup(values, m[1])), node)
    if isinstance(node, list):
        return [_fill(each, values) for each in node]
    if isinstance(node, dict):
        return {_fill(key, values): _fill(value, values) for key, value in node.items()}
    return node


def _lookup(values: Mapping[str, Any], key: str) -> Any:
    value: Any = values
    for part in key.split("."):
        value = value[part]
    return value


def _path(out: str | dict[str, Any]) -> str:
    return out if isinstance(out, str) else next(iter(out))


def git_commit(root: Path) -> str:
    """The commit of the checkout, with '+changes' if the work tree differs; '' outside git."""

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(
                ["git", *arguments],
                cwd=root,
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    changed = commit and git("status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if changed else commit
