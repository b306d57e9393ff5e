"""What was downloaded from the hub, written beside the files in the data root.

ROOT/hub/OWNER--NAME/COMMIT/... holds the files as in the repository. ROOT/hub/OWNER--NAME has a
record for each revision and configuration that was asked for: to which commit the revision led, so
that a second run reads the same data without a request. The paths of a manifest contain the commit.
"""

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from soup.config.data import Hub
from soup.data.errors import DataError
from soup.errors import near, some
from soup.files import BadJson, read_json, write_json

PREFIX = "hub:"  # of the path of a source: hub:SPLIT
CONVERTED = "refs/convert/parquet"  # the branch that the hub writes, for data in other formats
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubFiles:
    """The files of one configuration of a data set, at one commit.

    Attributes:
        name: of the data set.
        config: name of the configuration.
        ref: the branch, tag or commit that was asked for, or the branch of converted files.
        commit: to which it led, 40 hexadecimal digits.
        splits: split -> its files, as paths in the repository; not all need be downloaded.
        names: column -> the names of its classes, where README.md has them.
        have: the files that are downloaded -> their sizes in bytes.
    """

    name: str
    config: str
    ref: str
    commit: str
    splits: dict[str, list[str]]
    names: dict[str, list[str]] = field(default_factory=dict)
    have: dict[str, int] = field(default_factory=dict)

    def folder(self, root: Path) -> Path:
        """Where the files are."""
        return _folder(root, self.name) / self.commit[:12]

    def files(self, root: Path, split: str) -> tuple[Path, ...]:
        """The files of a split, downloaded or not.

        Raises:
            DataError: there is no such split.
        """
        if split not in self.splits:
            raise DataError(
                f"{self.name} ({self.config}) has no split {split!r}{near(split, self.splits)}: "
                f"it has {some([*self.splits], 12)}; name one, as in data: "
                f"{{test: {PREFIX}{[*self.splits][-1]}}}"
            )
        return tuple(self.folder(root) / file for file in self.splits[split])

    def missing(self, root: Path, split: str) -> list[str]:
        """The files of a split, as paths in the repository, that are not there in full."""
        self.files(root, split)
        lost = []
        for file in self.splits[split]:
            path = self.folder(root) / file
            if not path.is_file() or path.stat().st_size != self.have.get(file):
                lost.append(file)
        return lost


def _folder(root: Path, name: str) -> Path:
    return root / "hub" / name.replace("/", "--")


def record_file(root: Path, hub: Hub) -> Path:
    """Where the record of a data set is."""
    plain = [part.replace("/", "--") for part in (hub.revision or "main", hub.config or "")]
    return _folder(root, hub.dataset) / f"{'.'.join(part for part in plain if part)}.json"


def save(record: HubFiles, root: Path, hub: Hub) -> None:
    write_json(record_file(root, hub), asdict(record))


def load(root: Path, hub: Hub) -> HubFiles | None:
    """What was downloaded of a data set; None if nothing was.

    Raises:
        DataError: the record is damaged.
    """
    file = record_file(root, hub)
    try:
        record = HubFiles(**read_json(file))
        files = [path for split in record.splits.values() for path in split]
        if record.name != hub.dataset or not COMMIT.fullmatch(record.commit):
            raise ValueError("it is of another data set")
        if any(".." in path.split("/") or path.startswith("/") for path in files):
            raise ValueError("it names files elsewhere")
    except FileNotFoundError:
        return None
    except (OSError, BadJson, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{file} cannot be used ({error}); delete it, and prepare asks the hub again"
        ) from None
    return record


def require(root: Path, hub: Hub, split: str) -> tuple[HubFiles, tuple[Path, ...]]:
    """The record of a data set, and the files of a split, which are there.

    Raises:
        DataError: they are not downloaded, or there is no such split.
    """
    record = load(root, hub)
    if record is None or record.missing(root, split):
        raise DataError(f"{hub.dataset}, split {split}, is not in {root / 'hub'}: run prepare")
    return record, record.files(root, split)


def lineage(root: Path, hub: Hub | None) -> dict[str, str]:
    """A tag that names the data set and its commit; none without a record."""
    try:
        record = load(root, hub) if hub else None
    except DataError:
        return {}
    return {"hub": f"{record.name}@{record.commit}"} if record else {}
