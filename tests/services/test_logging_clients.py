"""The servers of `make services` under many clients, and who may see and do what in them."""

import re
import subprocess
from pathlib import Path

import pytest

from benchmarks import logging_clients
from tests.services.questions import ask, mlflow_user, query
from tests.services.started import Services, missing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing() or "all is installed"),
]
WRITES = 4  # rounds of each client
SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"


def test_fifty_clients_that_log_at_once_lose_nothing_and_get_no_error(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in services.env.items():
        monkeypatch.setenv(name, value)
    uri = services.env["MLFLOW_TRACKING_URI"]

    def stop(outcome: logging_clients.Outcome, rounds: int) -> bool:
        return rounds >= WRITES or bool(outcome.errors)

    outcomes = logging_clients.log(uri, "fifty", 50, stop)
    assert [outcome.errors for outcome in outcomes if outcome.errors] == []
    assert [outcome.lost for outcome in outcomes if outcome.lost] == []
    for outcome in outcomes:
        assert {len(values) for values in outcome.metrics.values()} == {WRITES}
        assert len(outcome.metrics) == logging_clients.BATCH + 1
        assert (len(outcome.params), len(outcome.tags)) == (1, WRITES)


def test_a_server_that_answers_but_cannot_write_is_told(services: Services) -> None:
    """A lock that another holds stands for whatever keeps MLflow from writing."""
    import psycopg

    port = services.ports["MLFLOW_PORT"]
    assert "mlflow runs\n" in services.script("status").stdout
    env = services.administrator
    with psycopg.connect(
        host=env["PGHOST"],
        port=int(env["PGPORT"]),
        user=env["PGUSER"],
        password=env["PGPASSWORD"],
        dbname="mlflow",
    ) as held:
        held.execute("lock table metrics in access exclusive mode")
        assert ask(port, "/health")[0] == 200
        status = services.script("status")
        held.rollback()
    assert status.returncode == 1
    assert "mlflow runs, but does not answer" in status.stdout
    assert "mlflow runs\n" in services.script("status").stdout


def test_each_server_has_a_role_of_its_own_that_reaches_only_its_database(
    services: Services,
) -> None:
    import psycopg

    rows = query(services, "postgres", "select rolname, rolsuper, rolcreatedb from pg_roles")
    roles = {row[0]: row[1:] for row in rows if not row[0].startswith("pg_")}
    assert roles["mlflow"] == roles["prefect"] == (False, False)
    owned = query(
        services,
        "postgres",
        "select datname, pg_get_userbyid(datdba) from pg_database where datname !~ '^template'",
    )
    assert dict(owned) == {
        "postgres": "modelsoup",
        "mlflow": "mlflow",
        "mlflow_auth": "mlflow",
        "prefect": "prefect",
    }
    connected = query(
        services,
        "postgres",
        "select distinct usename, datname from pg_stat_activity where backend_type = "
        "'client backend' and datname <> 'postgres'",
    )
    assert set(connected) <= {
        ("mlflow", "mlflow"),
        ("mlflow", "mlflow_auth"),
        ("prefect", "prefect"),
    }
    password = services.remembered["MLFLOW_DATABASE_PASSWORD"]
    assert query(services, "mlflow", "select 1", PGUSER="mlflow", PGPASSWORD=password) == [(1,)]
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        query(services, "prefect", "select 1", PGUSER="mlflow", PGPASSWORD=password)


def test_tables_that_the_administrator_owned_are_handed_to_the_servers_role(
    services: Services,
) -> None:
    """What a folder of an earlier version holds, where one role owned everything."""
    import psycopg

    env = services.administrator | {
        name: services.remembered[name]
        for name in ("MLFLOW_DATABASE_PASSWORD", "PREFECT_DATABASE_PASSWORD")
    }
    with psycopg.connect(
        host=env["PGHOST"],
        port=int(env["PGPORT"]),
        user=env["PGUSER"],
        password=env["PGPASSWORD"],
        dbname="prefect",
        autocommit=True,
    ) as opened:
        opened.execute("create type earlier as enum ('a')")
        opened.execute("create table old (id serial primary key, kind earlier)")
        ran = services.run("bash", "infra/postgres/databases.sh", "mlflow_auth", **env)
        assert ran.returncode == 0, ran.stderr
        owners = "select pg_get_userbyid(relowner) from pg_class where relname ~ '^old'"
        assert set(opened.execute(owners).fetchall()) == {("prefect",)}
        kinds = "select pg_get_userbyid(typowner) from pg_type where typname = 'earlier'"
        assert opened.execute(kinds).fetchall() == [("prefect",)]
        opened.execute("drop table old")
        opened.execute("drop type earlier")


def test_no_process_has_a_password_that_is_not_its_own(services: Services) -> None:
    known = services.remembered
    own = {
        "mlflow": {"MLFLOW_DATABASE_PASSWORD", "MLFLOW_PASSWORD", "S3_SECRET_ACCESS_KEY"},
        "prefect": {"PREFECT_DATABASE_PASSWORD", "PREFECT_PASSWORD"},
        "worker": {"MLFLOW_WORKER_PASSWORD", "PREFECT_PASSWORD"},
    }
    own["mlflow"].add("MLFLOW_FLASK_SERVER_SECRET_KEY")
    secrets = {name: value for name, value in known.items() if re.search("PASSWORD|SECRET", name)}
    assert len(secrets) == 8
    seen = set()
    for pid in services.processes():
        try:
            environ = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        name = re.search(r"MODELSOUP_SERVICE=\S*?/([a-z0-9]+)\0", environ)
        assert name
        seen.add(name[1])
        has = {key for key, value in secrets.items() if value in environ}
        assert has <= own.get(name[1], {"S3_SECRET_ACCESS_KEY"}), name[1]
    assert {"mlflow", "prefect", "worker"} <= seen


def user(services: Services, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    more |= {"SERVICES_DIR": str(services.folder)}
    return services.run("bash", "infra/mlflow_user.sh", *arguments, **more)


def test_a_person_gets_a_user_whose_password_is_told_once_and_who_is_no_administrator(
    services: Services,
) -> None:
    port = services.ports["MLFLOW_PORT"]
    made = user(services, "ada")
    assert made.returncode == 0, made.stderr
    told = re.search(r"^password \(told this once\): (\S{32})$", made.stdout, re.M)
    assert told
    ada = f"ada:{told[1]}"
    assert ask(port, SEARCH, ada)[0] == 200
    assert ask(port, "/api/2.0/mlflow/users/get?username=modelsoup", ada)[0] == 403
    again = user(services, "ada", "READ")
    assert again.stdout == "ada was there, and may READ\n"
    other = user(services, "ada", "--new-password")
    assert other.stdout.startswith("ada was there, and may what it might before\n")
    assert ask(port, SEARCH, ada)[0] == 401  # at once: the cache of passwords is told
    assert ask(port, SEARCH, "ada:" + other.stdout.split(": ")[1].strip())[0] == 200
    for log in (services.folder / "logs").iterdir():
        assert told[1] not in log.read_text(errors="replace")


@pytest.mark.parametrize("name", ["", "-x", "a b", "$(touch made)", "a/../b"])
def test_a_name_that_is_none_is_refused(services: Services, name: str) -> None:
    made = user(services, name)
    assert made.returncode == 2
    assert "name" in made.stderr
    assert not (services.root / "made").exists()


def test_permissions_decide_what_a_person_may_do(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    def sign_in(name: str, password: str) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)

    sign_in(*mlflow_user(services).split(":"))
    uri = services.env["MLFLOW_TRACKING_URI"]
    client = mlflow.MlflowClient(uri, uri)
    shared = client.create_experiment("shared")
    run_id = client.create_run(shared).info.run_id
    for name, permission in (("eve", "READ"), ("bob", "MANAGE")):
        sign_in(name, user(services, name, permission).stdout.split(": ")[1].strip())
        assert [run.info.run_id for run in client.search_runs([shared])] == [run_id]
        for change in (
            lambda: client.log_metric(run_id, "x", 1.0),
            lambda: client.delete_run(run_id),
        ):
            if permission == "READ":
                with pytest.raises(mlflow.MlflowException, match="Permission denied"):
                    change()
            else:
                change()


def test_where_no_services_run_a_user_is_refused_with_the_remedy(
    services: Services, tmp_path: Path
) -> None:
    ran = services.run(
        "bash", "infra/mlflow_user.sh", "ada", SERVICES_DIR=str(tmp_path / "nothing")
    )
    assert ran.returncode == 2
    assert "make services" in ran.stderr
