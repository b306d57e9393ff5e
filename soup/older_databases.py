"""SQLite databases of an earlier MLflow or Prefect, copied before the present one migrates them.

Both programs migrate a database when they open it, be it only to read, and the earlier program then
refuses it. There is no way back but a copy.

    python -m soup.older_databases mlflow mlflow.db prefect .prefect/prefect.db

prints what was copied. The schemas that a program knows are read from the text of its migrations,
so that neither program is imported.
"""

import ast
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock

from soup.errors import BadInput, some
from soup.files import atomic_write

_ASSIGNED = re.compile(r"^(revision|down_revision)(?:: [^=]+)? = (.+)$", re.MULTILINE)


class OtherSchema(BadInput, RuntimeError):
    """A database that the installed program cannot use; the message says how to go on."""


@dataclass(frozen=True)
class Program:
    """A program with databases.

    Attributes:
        name: of its package.
        migrations: the folder of its migrations in the package.
        upgrade: the command that migrates a database, at whose end the address of the database is
            put; empty for a program that does so by itself whenever it starts.
    """

    name: str
    migrations: str
    upgrade: tuple[str, ...] = ()

    @property
    def release(self) -> str:
        return version(self.name)


MLFLOW = Program("mlflow", "store/db_migrations/versions", ("mlflow", "db", "upgrade"))
PREFECT = Program("prefect", "server/database/_migrations/versions/sqlite")
PROGRAMS = {program.name: program for program in (MLFLOW, PREFECT)}


def bring_up_to_date(database: Path, program: Program) -> str:
    """Copy a database whose schema is older than the program's, and migrate it.

    Returns:
        What was done, for people; '' if the database is up to date, or there is none.

    Raises:
        OtherSchema: a newer program migrated the database, or it cannot be copied or migrated.
    """
    if not database.is_file() or schema_of(database) in ("", _schemas(program)[0]):
        return ""
    with _locked(database):
        found = schema_of(database)  # another process may have migrated it meanwhile
        newest, known = _schemas(program)
        if found == newest:
            return ""
        if found not in known:
            raise OtherSchema(_too_new(database, program, found))
        copied = _copy(database, program)
        if program.upgrade:
            _migrate(database, program, copied)
    happens = "is migrated" if program.upgrade else "will be migrated when its server starts,"
    return (
        f"{database} was of an earlier {program.name} and {happens} to {program.release}, after "
        f"which earlier releases refuse it; as it was, it is in {copied.name}"
    )


def is_older(database: Path, program: Program) -> bool:
    """Whether the program would migrate a database, if it opened it.

    Raises:
        OtherSchema: a newer program migrated the database, or it cannot be read, or is empty.
    """
    found = schema_of(database)
    if not found:
        raise OtherSchema(f"{database} is no database of {program.name}")
    newest, known = _schemas(program)
    if found not in known:
        raise OtherSchema(_too_new(database, program, found))
    return found != newest


def schema_of(database: Path) -> str:
    """The revision of a database's schema, as Alembic noted it; '' if it has none.

    Raises:
        OtherSchema: the file is no SQLite database, or cannot be read.
    """
    query = "SELECT version_num FROM alembic_version"
    try:
        with closing(_opened(database)) as connection:
            (named,) = connection.execute(
                "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"
            ).fetchone()
            row = connection.execute(query).fetchone() if named else None
    except sqlite3.Error as error:
        raise OtherSchema(f"{database} cannot be read as a SQLite database: {error}") from None
    return str(row[0]) if row else ""


def copies(database: Path) -> list[Path]:
    """The copies of a database, the newest last."""
    found = database.parent.glob(f"{database.name}.before-*")
    return sorted(found, key=lambda file: file.stat().st_mtime_ns)


def _opened(database: Path) -> sqlite3.Connection:
    """A connection that writes nothing, and waits for those who write."""
    return sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True, timeout=60)


@contextmanager
def _locked(database: Path) -> Iterator[None]:
    """Let no other process bring the database up to date meanwhile."""
    lock = FileLock(f"{database}.lock")
    try:
        lock.acquire()
    except OSError as error:
        raise OtherSchema(
            f"{database} is of an earlier program, and is neither copied nor migrated because its "
            f"folder cannot be written: {error}"
        ) from None
    try:
        yield
    finally:
        lock.release()


@cache
def _schemas(program: Program) -> tuple[str, frozenset[str]]:
    """The newest schema of the installed program, and all that it can migrate from."""
    spec = find_spec(program.name)
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / program.migrations
    known: set[str] = set()
    replaced: set[str] = set()
    for file in folder.glob("*.py"):
        said = dict(_ASSIGNED.findall(file.read_text(encoding="utf-8")))
        if "revision" in said:
            known.add(ast.literal_eval(said["revision"]))
            before = ast.literal_eval(said.get("down_revision", "None"))
            replaced |= {before} if isinstance(before, str) else {*(before or ())}
    (newest,) = known - replaced
    return newest, frozenset(known)


def _copy(database: Path, program: Program) -> Path:
    start = f"{database.name}.before-{program.name}-{program.release}"
    taken = {file.name for file in copies(database)}
    names = [start, *(f"{start}-{number}" for number in range(2, len(taken) + 3))]
    target = database.with_name(next(name for name in names if name not in taken))
    try:
        with (
            atomic_write(target) as aside,
            closing(_opened(database)) as source,
            closing(sqlite3.connect(aside)) as copy,
        ):
            source.backup(copy)  # whole, whoever writes meanwhile
    except (OSError, sqlite3.Error) as error:
        raise OtherSchema(
            f"{database} is of an earlier {program.name}, and is not migrated because it cannot be "
            f"copied to {target.name} before: {error}"
        ) from None
    return target


def _migrate(database: Path, program: Program, copied: Path) -> None:
    command = [sys.executable, "-m", *program.upgrade, f"sqlite:///{database.resolve()}"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        last = ran.stderr.strip().splitlines()[-1:] or [f"exit code {ran.returncode}"]
        raise OtherSchema(
            f"{program.name} {program.release} cannot migrate {database}: {last[0][:500]}; as it "
            f"was, it is in {copied.name}"
        )


def _too_new(database: Path, program: Program, found: str) -> str:
    kept = [file.name for file in copies(database)]
    remedy = ""
    if kept:
        # The log beside a database would be replayed over the copy.
        logs = f"{database.name}-wal {database.name}-shm"
        back = f"rm -f {logs} && mv {kept[-1]} {database.name}"
        remedy = (
            f", or put back a copy from before ({some(kept, 3)}): stop the servers that use it, "
            f"then in {database.parent} {back}"
        )
    return (
        f"{database} has schema {found}, which {program.name} {program.release} does not know: a "
        f"newer {program.name} has migrated it. Install that one (pip install -U {program.name})"
        f"{remedy}"
    )


def main(arguments: list[str]) -> None:
    """Bring databases up to date: name of the program, database, and so on."""
    for name, database in zip(arguments[::2], arguments[1::2], strict=True):
        try:
            done = bring_up_to_date(Path(database), PROGRAMS[name])
        except OtherSchema as error:
            sys.exit(f"error: {error}")
        if done:
            print(done)


if __name__ == "__main__":
    main(sys.argv[1:])
