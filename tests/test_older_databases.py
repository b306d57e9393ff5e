"""Databases of earlier programs are copied before they are migrated; newer ones are refused."""

import shutil
import sqlite3
import subprocess
import threading
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest

from soup import older_databases
from soup.older_databases import MLFLOW, PREFECT, OtherSchema, Program, bring_up_to_date, copies
from soup.tracking import Store, TrackingError, registry_at, require_experiment
from tests import checkouts, homes
from tests.flows.served import ask
from tests.servers import PrefectServer, running

NEWER = "ffffffffffff"  # a schema that nobody knows


def revision(database: Path, value: str = "") -> str:
    with closing(sqlite3.connect(database)) as connection, connection:
        if value:
            connection.execute("UPDATE alembic_version SET version_num = ?", (value,))
        (row,) = connection.execute("SELECT version_num FROM alembic_version")
    return str(row[0])


def before(newest: str, program: Program) -> str:
    """The schema that the newest one replaced."""
    spec = find_spec(program.name)
    assert spec is not None
    assert spec.submodule_search_locations
    for file in (Path(spec.submodule_search_locations[0]) / program.migrations).glob("*.py"):
        text = file.read_text()
        if f'\nrevision = "{newest}"' in text:
            line = next(line for line in text.splitlines() if line.startswith("down_revision"))
            return line.split('"')[1]
    raise AssertionError(newest)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database of Prefect that is one schema behind."""
    database = homes.furnish(tmp_path) / "prefect.db"
    revision(database, before(revision(database), PREFECT))
    return database


def test_an_old_database_is_copied_once_and_named(old: Path) -> None:
    newest, found = older_databases._schemas(PREFECT)[0], revision(old)
    told = bring_up_to_date(old, PREFECT)
    (copy,) = copies(old)
    assert copy.name == f"prefect.db.before-prefect-{PREFECT.release}"
    assert told.startswith(
        f"{old} was of an earlier prefect and will be migrated when its server starts, to "
    )
    assert told.endswith(f"as it was, it is in {copy.name}")
    assert revision(copy) == found
    revision(old, newest)  # as Prefect does
    assert bring_up_to_date(old, PREFECT) == ""
    # Put back, used and migrated again: what was copied before stays.
    shutil.copy(copy, old)
    assert bring_up_to_date(old, PREFECT).endswith("-2")
    assert [file.name for file in copies(old)] == [copy.name, f"{copy.name}-2"]


def test_a_database_that_is_only_read_is_neither_made_nor_migrated(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    uri = f"sqlite:///{database}"
    with pytest.raises(TrackingError, match=r"mlflow.db is not there: set MLFLOW_TRACKING_URI"):
        Store(uri, "any", tmp_path, reading=True)
    assert [*tmp_path.iterdir()] == []
    homes.tracking(tmp_path)
    with pytest.raises(TrackingError, match=r"has no experiment any: set MLFLOW_TRACKING_URI"):
        Store(uri, "any", tmp_path, reading=True)
    made = Store(uri, "any", tmp_path)
    for address in (uri, f"{uri}?timeout=60"):
        assert Store(address, "any", tmp_path, reading=True).experiment_id == made.experiment_id
        assert registry_at(address).uri == address
    newest = revision(database)
    for schema, message in (
        (
            before(newest, MLFLOW),
            "is of an earlier MLflow; .* -m soup.older_databases mlflow .*mlflow.db",
        ),
        (NEWER, f"has schema {NEWER}, which mlflow"),
    ):
        revision(database, schema)
        with pytest.raises(TrackingError, match=message):
            Store(uri, "any", tmp_path, reading=True)
        assert (revision(database), copies(database)) == (schema, [])
    database.write_bytes(b"")
    with pytest.raises(TrackingError, match=r"mlflow.db is no database of mlflow"):
        Store(uri, "any", tmp_path, reading=True)
    assert database.read_bytes() == b""


def test_a_copy_has_what_is_not_yet_in_the_file_of_a_database_that_is_open(old: Path) -> None:
    with closing(sqlite3.connect(old)) as writing:
        writing.execute("PRAGMA journal_mode = WAL")
        with writing:
            writing.execute("CREATE TABLE mine (x)")
            writing.execute("INSERT INTO mine VALUES (7)")
        bring_up_to_date(old, PREFECT)
    with closing(sqlite3.connect(copies(old)[0])) as copied:
        assert copied.execute("SELECT x FROM mine").fetchall() == [(7,)]


def test_a_database_that_cannot_be_copied_is_not_migrated(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(older_databases, "atomic_write", full)
    migrating = Program("prefect", PREFECT.migrations, ("false",))
    said = r"is not migrated because it cannot be copied to prefect\.db\.before.*: .*No space left"
    with pytest.raises(OtherSchema, match=said):
        bring_up_to_date(old, migrating)
    assert copies(old) == []


def test_a_migration_that_fails_names_the_copy(old: Path) -> None:
    failing = Program("prefect", PREFECT.migrations, ("no_such_program",))
    with pytest.raises(OtherSchema, match=r"cannot migrate .*No module.*; as it was, it is in pre"):
        bring_up_to_date(old, failing)
    assert len(copies(old)) == 1


def test_a_database_of_a_newer_program_is_refused_with_the_ways_back(old: Path) -> None:
    bring_up_to_date(old, PREFECT)
    revision(old, NEWER)
    with pytest.raises(OtherSchema) as refused:
        bring_up_to_date(old, PREFECT)
    text = str(refused.value)
    assert f"has schema {NEWER}, which prefect {PREFECT.release} does not know" in text
    assert "pip install -U prefect" in text
    assert f"rm -f prefect.db-wal prefect.db-shm && mv {copies(old)[0].name} prefect.db" in text


def test_the_way_back_leaves_nothing_of_the_newer_program(old: Path) -> None:
    found = revision(old)
    bring_up_to_date(old, PREFECT)
    with closing(sqlite3.connect(old)) as newer:
        newer.execute("PRAGMA journal_mode = WAL")
        newer.execute("PRAGMA wal_autocheckpoint = 0")
        with newer:
            newer.execute("UPDATE alembic_version SET version_num = ?", [NEWER])
        for log in ("-wal", "-shm"):  # as a killed server leaves them
            shutil.copy(f"{old}{log}", f"{old}{log}.left")
    for log in ("-wal", "-shm"):
        Path(f"{old}{log}.left").rename(f"{old}{log}")
    with pytest.raises(OtherSchema) as refused:
        bring_up_to_date(old, PREFECT)
    back = str(refused.value).rpartition(f"then in {old.parent} ")[2]
    subprocess.run(back, shell=True, cwd=old.parent, check=True)
    assert revision(old) == found


def test_a_folder_that_cannot_be_written_is_named(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("filelock.FileLock.acquire", refused)
    with pytest.raises(OtherSchema, match=r"neither copied nor migrated .*: .*Permission denied"):
        bring_up_to_date(old, PREFECT)
    assert copies(old) == []


def test_what_is_no_database_is_named_and_none_or_an_empty_one_is_left_alone(
    tmp_path: Path,
) -> None:
    assert bring_up_to_date(tmp_path / "none.db", MLFLOW) == ""
    (tmp_path / "empty.db").touch()
    assert bring_up_to_date(tmp_path / "empty.db", MLFLOW) == ""
    (tmp_path / "text.db").write_text("no database " * 100)
    with pytest.raises(OtherSchema, match=r"text\.db cannot be read as a SQLite database"):
        bring_up_to_date(tmp_path / "text.db", MLFLOW)


def test_the_command_tells_what_it_copied_or_why_not(old: Path) -> None:
    def run(database: Path) -> tuple[int, str, str]:
        command = ("python", "-m", "soup.older_databases", "prefect", str(database))
        ran = checkouts.run(old.parent, *command, PYTHONPATH=str(checkouts.REPO))
        return ran.returncode, ran.stdout, ran.stderr

    code, said, _ = run(old)
    assert (code, "was of an earlier prefect" in said) == (0, True)
    revision(old, NEWER)
    code, _, said = run(old)
    assert (code, said.startswith("error: ")) == (1, True)


@pytest.fixture(scope="module")
def of_old_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that MLflow's own migrations made, up to a schema of last year, with a run."""
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config
    from mlflow.store.tracking.dbmodels.initial_models import Base
    from sqlalchemy import create_engine

    database = tmp_path_factory.mktemp("old") / "mlflow.db"
    engine = create_engine(f"sqlite:///{database}")
    Base.metadata.create_all(engine)
    config = _get_alembic_config(f"sqlite:///{database}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "5b0e9adcef9c")  # of MLflow 2.10: no logged models, no data sets
    engine.dispose()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage) "
            "VALUES (1, 'old', '/nowhere', 'active')"
        )
        connection.execute(
            "INSERT INTO runs (run_uuid, name, status, lifecycle_stage, experiment_id, start_time, "
            f"source_type, user_id) VALUES ('{'7' * 32}', 'an old run', 'FINISHED', 'active', 1, 1,"
            " 'LOCAL', 'me')"
        )
        connection.execute(f"INSERT INTO tags VALUES ('soup.digest', 'old', '{'7' * 32}')")
    return database


@pytest.mark.slow
def test_a_store_of_an_earlier_mlflow_opens_with_its_runs_after_a_copy(
    of_old_mlflow: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = tmp_path / "mlflow.db"
    shutil.copy(of_old_mlflow, database)
    uri = f"sqlite:///{database}"
    opened: list[Store] = []

    def open_it() -> None:
        opened.append(Store(uri, "old", tmp_path))

    threads = [threading.Thread(target=open_it) for _ in range(2)]  # two who begin at once
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in opened:
        run = store.find("old")
        assert run is not None
        assert run.name == "an old run"
    assert len(opened) == 2
    (copy,) = copies(database)
    assert revision(copy) == revision(of_old_mlflow)
    assert revision(database) == older_databases._schemas(MLFLOW)[0] != revision(copy)
    (told,) = [text for text in caplog.messages if "was of an earlier mlflow" in text]
    assert copy.name in told


@pytest.mark.slow
def test_a_history_of_an_earlier_prefect_opens_with_its_flows_after_a_copy(tmp_path: Path) -> None:
    """Prefect's own migrations make the old database, up to a schema of two years ago."""
    database = tmp_path / "prefect.db"
    command = ("python", "-m", "prefect", "server", "database", "upgrade", "-y", "-r")
    ran = checkouts.run(tmp_path, *command, "67f886da208e", PREFECT_HOME=str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO flow (name, tags) VALUES ('an old flow', '[]')")
    assert "was of an earlier prefect" in bring_up_to_date(database, PREFECT)
    assert revision(copies(database)[0]) == "67f886da208e"
    server = PrefectServer(tmp_path)
    with running(server):
        (flow,) = ask(server.api, "/flows/filter", {})
    assert flow["name"] == "an old flow"
    assert revision(database) == older_databases._schemas(PREFECT)[0]
    assert bring_up_to_date(database, PREFECT) == ""


def test_a_store_of_a_newer_mlflow_is_refused_before_it_is_touched(tmp_path: Path) -> None:
    uri = homes.tracking(tmp_path)
    revision(tmp_path / "mlflow.db", NEWER)
    for opens in (
        lambda: Store(uri, "any", tmp_path),
        lambda: registry_at(uri),
        lambda: require_experiment(uri, "any"),
    ):
        with pytest.raises(TrackingError, match=f"has schema {NEWER}, which mlflow"):
            opens()
