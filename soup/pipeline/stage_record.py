"""The record of a finished stage: the digest of its parameters, inputs and source files.

`dvc.yaml` alone lists what a stage depends on. DVC and this project read the same list, and so
agree on which stages are out of date.
"""

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, reduce
from operator import getitem
from pathlib import Path
from typing import Any

from soup.config.params import Base, Params
from soup.config.validation import ParamsError
from soup.config.yaml_text import parse_yaml, read_yaml
from soup.errors import BadInput, some
from soup.files import BadJson, of_file, of_files, of_value, read_json, write_json
from soup.known_digests import sha256

# This code decides which fine-tunes there are, and how they are stored, but not their results: the
# digest of a fine-tune has its hyperparameters. So the code counts for the stage alone.
LAYS_OUT = {
    Path("soup/config"),
    Path("soup/pipeline/sweep"),
    Path("soup/pipeline/task_score.py"),
}
# Keys that a stage does not read though they stand in a section that it does.
UNREAD = {("cook", "soup"): ("compare",)}
# Values of `base.weights` that name no file, though there may be a folder of that name.
NO_FILES = ("pretrained", "random", "embedded")


@dataclass(frozen=True)
class Stage:
    """A stage of `dvc.yaml` for given parameters.

    Attributes:
        name: its name.
        digest: of its parameters, inputs and source files.
        code: of the source files that decide a fine-tune's result, for given hyperparameters.
        outs: what it writes, its record excepted.
        record: a JSON file that says which digest the outs were made for.
        reads: the SHA-256 of each file that the parameters name and that is there.
        started: when this object was made, for the time it takes.
    """

    name: str
    digest: str
    code: str
    outs: tuple[Path, ...]
    record: Path
    reads: Mapping[str, str] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic, compare=False)

    def finished(self) -> dict[str, Any] | None:
        """The record, if it was made for this digest and every output is as it was left.

        A file that was read and is gone changes nothing: the outputs do not need it any more.
        """
        try:
            record = read_json(self.record)
        except (OSError, BadJson):
            return None
        if not isinstance(record, dict) or record.get("digest") != self.digest:
            return None
        made, read = record.get("outs"), record.get("reads", {})
        if not isinstance(made, dict) or not isinstance(read, dict):
            return None
        unchanged = all(read.get(file) == digest for file, digest in self.reads.items()) and all(
            out.is_file() and of_file(out) == made.get(out.name) for out in self.outs
        )
        return record if unchanged else None

    def finish(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Write the record; called last, so that a record exists only for complete outputs."""
        record = {
            "stage": self.name,
            "digest": self.digest,
            "outs": {out.name: of_file(out) for out in self.outs},
            "seconds": round(time.monotonic() - self.started, 1),
            **({"reads": self.reads} if self.reads else {}),
            **facts,
        }
        write_json(self.record, record)
        return record


class DamagedRecord(BadInput, ValueError):
    """What a stage wrote is not what it writes; the message names the file and the remedy."""


def read_record(path: Path, **kinds: type) -> dict[str, Any]:
    """The facts that a stage wrote as JSON.

    Args:
        path: the file.
        kinds: the keys that are needed, and the type of each.

    Raises:
        FileNotFoundError: the stage has not run.
        DamagedRecord: the file is damaged, or lacks a key.
    """
    remedy = "delete it and start the pipeline again, which writes it anew"
    try:
        facts = read_json(path)
    except BadJson as error:
        raise DamagedRecord(f"{error}; {remedy}") from None
    if not isinstance(facts, dict):
        raise DamagedRecord(f"{path} is no table of facts; {remedy}")
    wrong = [key for key, kind in kinds.items() if not isinstance(facts.get(key), kind)]
    if wrong:
        raise DamagedRecord(f"{path} has no usable {some(wrong, 5, last=' ')}; {remedy}")
    return facts


def read_rows(path: Path, **kinds: type) -> list[dict[str, Any]]:
    """A table that a stage wrote as JSON, a row after the other.

    Args:
        path: the file.
        kinds: the keys that each row needs, and the type of each.

    Raises:
        FileNotFoundError: the stage has not run.
        DamagedRecord: the file is damaged, or a row lacks a key.
    """
    remedy = "delete it and start the pipeline again, which writes it anew"
    try:
        rows = read_json(path)
    except BadJson as error:
        raise DamagedRecord(f"{error}; {remedy}") from None
    whole = isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    if not whole or not all(isinstance(r.get(k), kind) for r in rows for k, kind in kinds.items()):
        raise DamagedRecord(f"{path} is no table of {', '.join(kinds)}; {remedy}")
    return [*rows]


def stage(name: str, params: Params, root: Path) -> Stage:
    """Read a stage's definition from `dvc.yaml` and digest what it depends on.

    Args:
        name: of the stage; of one that DVC makes of a table (`foreach`), TEMPLATE@KEY.

    Raises:
        FileNotFoundError: an input is missing; the message says which stage makes it.
        Changed: a file that the parameters name was changed while its digest was computed.
    """
    values = params.model_dump(mode="json", by_alias=True)
    template, _, key = name.partition("@")
    values["key"] = key

    def value(match: re.Match[str]) -> str:
        return str(reduce(getitem, match[1].split("."), values))

    text = re.sub(r"\$\{([\w.]+)\}", value, (root / "dvc.yaml").read_text())  # as DVC does
    definition = _stages(text, str(root / "dvc.yaml"))[template]
    definition = definition["do"] if key else definition
    deps = [Path(dep) for dep in definition.get("deps", [])]
    for dep in deps:
        if not (root / dep).exists():
            raise FileNotFoundError(
                f"{name} needs {dep}, which is missing: run the stages before it"
            )
    sources = [dep for dep in deps if dep.parts[0] == "soup"]
    paths = [path for path in definition.get("params", []) if path != "experiment"]
    made_of = {
        "params": {
            path: _read_by(name, path, reduce(getitem, path.split("."), values)) for path in paths
        },
        "deps": of_files(_files(deps, root), root),
    }
    outs = [
        root / (out if isinstance(out, str) else next(iter(out)))
        for kind in ("outs", "metrics", "plots")
        for out in definition.get(kind, [])
    ]
    record = next(out for out in outs if out.name == f"{key or name}.json")
    return Stage(
        name=name,
        digest=of_value(made_of),
        code=of_files(_files((s for s in sources if s not in LAYS_OUT), root), root),
        outs=tuple(out for out in outs if out != record),
        record=record,
        reads={file: sha256(file) for file in _named_by(params.base)} if name == "base" else {},
    )


@lru_cache(maxsize=2)
def _stages(text: str, source: str) -> Any:
    """The stages of `dvc.yaml`, not to be changed: all stages of a run read the same text."""
    return parse_yaml(text, source)["stages"]


def _read_by(stage: str, section: str, values: Any) -> Any:
    """The keys of a section that a stage reads; DVC compares whole sections."""
    if (stage, section) == ("base", "data"):  # what it pretrains on, and the prompt of the task
        world = values["shapes"] or {}
        return {"text": values["text"]} | {key: world.get(key) for key in ("seed", "upstream")}
    unread = UNREAD.get((stage, section), ())
    return {k: v for k, v in values.items() if k not in unread} if unread else values


def _named_by(base: Base) -> list[str]:
    """The files that a base is read from: those that it names, and of its folders those inside."""
    overlay = base.kwargs.get("pretrained_cfg_overlay")  # of timm
    weights = overlay.get("file") if isinstance(overlay, Mapping) else None
    named = [
        base.model,
        base.tokenizer,
        weights,
        None if base.weights in NO_FILES else base.weights,
    ]
    names = [name for name in named if isinstance(name, str)]
    found = {Path(name) for name in names if Path(name).is_file()}
    # An index names shards beside it. timm and open_clip take no folder without a schema.
    folders = {file.parent for file in found if file.name.endswith(".index.json")}
    folders |= {
        Path(name.removeprefix("local-dir:"))
        for name in names
        if name.startswith("local-dir:") or base.library == "transformers"
    }
    for folder in folders:
        found |= {f for f in folder.iterdir() if f.is_file()} if folder.is_dir() else set()
    return sorted(map(str, found))


def require_sections(file: Path, root: Path) -> None:
    """Check that a parameter file has every section that `dvc.yaml` compares: DVC has no defaults.

    Raises:
        ParamsError: sections are left out.
    """
    stages = read_yaml(root / "dvc.yaml")["stages"].values()
    given = read_yaml(file)
    lacking = {key: None for stage in stages for key in stage.get("params", []) if key not in given}
    if lacking:
        raise ParamsError(
            f"{file} leaves out {', '.join(lacking)}, which DVC compares; for the defaults add\n"
            + "\n".join(f"{key}: {{}}" for key in lacking)
        )


def _files(deps: Iterable[Path], root: Path) -> list[Path]:
    """The files among paths relative to the root; of a folder, all below but compiled code."""
    found: list[Path] = []
    for dep in deps:
        below = (root / dep).rglob("*") if (root / dep).is_dir() else [root / dep]
        found += [f.relative_to(root) for f in below if f.is_file() and f.suffix != ".pyc"]
    return sorted(found)
