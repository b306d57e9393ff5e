"""Settings of `make services` are written and read as data: no value is ever run."""

import os
import subprocess
from pathlib import Path

import anyio
import pytest

from tests.checkouts import REPO

VALUES = [
    "$(touch made)",
    "`touch made`",
    "x; touch made; echo ",
    'it\'s "quoted" $HOME \\n \\\\ end\\',
    "two\nlines\ntouch made\n",
    '}"; touch made; : "${X:=',
    " spaces  and %s %n ",
]


def shell(folder: Path, script: str, **environment: str) -> str:
    """What a bash says that has read settings.sh in a folder of its own; NUL between values."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail; cd {folder}; {script}"],
        env={"PATH": os.environ["PATH"], "SERVICES_DIR": str(folder / "s"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


READ = f". {REPO}/infra/services/settings.sh; has_s3() {{ true; }}; "


@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_remembered_as_it_is_and_not_run(tmp_path: Path, value: str) -> None:
    names = ("MLFLOW_PASSWORD", "S3_SECRET_ACCESS_KEY", "PREFECT_PASSWORD", "S3_ENDPOINT")
    shell(tmp_path, f"{READ} remember_settings; write_env", **dict.fromkeys(names, value))
    show = "; ".join(f"printf '%s\\0' \"${name}\"" for name in names)
    assert shell(tmp_path, READ + show).split("\0") == [value] * len(names) + [""]
    sourced = shell(
        tmp_path,
        '. s/env; printf \'%s\\0\' "$MLFLOW_TRACKING_PASSWORD" "$PREFECT_API_AUTH_STRING"'
        ' "$AWS_SECRET_ACCESS_KEY"',
    )
    assert sourced.split("\0") == [value, f"modelsoup:{value}", value, ""]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s"]


@pytest.mark.parametrize("value", ["$(touch made)", "plain0", '"; touch made; : "'])
def test_settings_of_earlier_versions_are_read_as_data_as_well(tmp_path: Path, value: str) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s/settings").write_text(
        f': "${{MLFLOW_PASSWORD:={value}}}"\nPATH=/nowhere\ntouch made\n: "${{PREFECT_PORT:=4201}}"'
    )
    said = shell(tmp_path, f'{READ} printf \'%s %s\' "$PREFECT_PORT" "$MLFLOW_PASSWORD"')
    assert said == f"4201 {value}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s"]


def test_the_environment_goes_before_what_is_remembered(tmp_path: Path) -> None:
    shell(tmp_path, f"{READ} remember_settings", MLFLOW_PORT="5001")
    assert shell(tmp_path, READ + 'echo "$MLFLOW_PORT"') == "5001\n"
    assert shell(tmp_path, READ + 'echo "$MLFLOW_PORT"', MLFLOW_PORT="5002") == "5002\n"


def test_each_file_holds_only_what_its_reader_needs(tmp_path: Path) -> None:
    shell(tmp_path, f"{READ} remember_settings; write_env")
    names = {
        name: {line.split("=")[0] for line in (tmp_path / "s" / name).read_text().splitlines()}
        for name in ("env", "worker-env", "psql-env")
    }
    worker = {name.removeprefix("export ") for name in names["worker-env"]}
    assert not {name for name in worker if name.startswith(("PG", "AWS", "POSTGRES", "S3"))}
    assert {"MLFLOW_TRACKING_PASSWORD", "PREFECT_API_AUTH_STRING"} <= worker
    text = {name: (tmp_path / "s" / name).read_text() for name in names}
    assert "MLFLOW_TRACKING_USERNAME='worker'" in text["worker-env"]
    assert "MLFLOW_TRACKING_USERNAME='modelsoup'" in text["env"]
    assert not [name for name in names["env"] if "PG" in name]  # a password may hold it
    assert all("PG" in name for name in names["psql-env"])


def test_a_service_inherits_no_password_of_another(tmp_path: Path) -> None:
    given = {
        "POSTGRES_PASSWORD": "pw-postgres",
        "S3_SECRET_ACCESS_KEY": "pw-s3",
        "AWS_SECRET_ACCESS_KEY": "pw-s3",  # of a shell that sourced an env file
        "AWS_ACCESS_KEY_ID": "modelsoup",
        "PGPASSWORD": "pw-postgres",
        "MLFLOW_TRACKING_PASSWORD": "pw-mlflow",
        "PREFECT_API_AUTH_STRING": "modelsoup:pw-prefect",
    }
    assert "pw-" not in shell(tmp_path, f"{READ} env", **given)
    own = given | {"AWS_SECRET_ACCESS_KEY": "pw-mine"}  # another store, for the user's DVC remote
    assert "pw-mine" in shell(tmp_path, f"{READ} env", **own)


def test_a_port_that_is_no_number_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", READ],
        env={"PATH": os.environ["PATH"], "SERVICES_DIR": str(tmp_path), "MLFLOW_PORT": "5000 -c x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "MLFLOW_PORT is '5000 -c x', which is no port" in done.stderr


def test_an_s3_whose_address_holds_a_password_is_refused_without_showing_it(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", READ],
        env={"PATH": os.environ["PATH"], "S3_ENDPOINT": "https://ada:s3cr3t@s3.host"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "S3_ENDPOINT holds a password" in done.stderr
    assert "s3cr3t" not in done.stdout + done.stderr


def test_pools_fit_into_what_postgresql_allows() -> None:
    told = dict(
        line.split("=")
        for line in (REPO / "infra/connections/connections.env").read_text().splitlines()
        if line and not line.startswith("#")
    )
    size = int(told["MLFLOW_SQLALCHEMYSTORE_POOL_SIZE"])
    overflow = int(told["MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW"])

    async def limit() -> int:
        return int(anyio.to_thread.current_default_thread_limiter().total_tokens)

    threads, held, pools, prefect, people = anyio.run(limit), 2, 3, 30, 20
    assert size + overflow >= threads * held  # no request waits for its second connection
    of_one = threads * held + pools * size
    needed = int(told["MLFLOW_WORKERS"]) * of_one + prefect + people
    assert needed <= int(told["POSTGRES_MAX_CONNECTIONS"])


@pytest.mark.parametrize(
    ("uid", "owner", "chosen", "expected"),
    [
        (0, "root", "", {"mlflow": "nobody", "prefect": "nobody", "worker": ""}),
        (0, "ada", "", dict.fromkeys(("mlflow", "prefect", "worker"), "ada")),
        (0, "root", "srv", dict.fromkeys(("mlflow", "prefect", "worker"), "srv")),
        (1000, "ada", "", dict.fromkeys(("mlflow", "prefect", "worker"), "")),
    ],
)
def test_root_hands_the_services_over_to_another_user(
    tmp_path: Path, uid: int, owner: str, chosen: str, expected: dict[str, str]
) -> None:
    stubs = f"id() {{ echo {uid}; }}; stat() {{ echo {owner}; }}; can_run() {{ true; }}; DIR=d; "
    script = f". {REPO}/infra/services/user.sh; {stubs}"
    for name, user in expected.items():
        words = shell(tmp_path, f"{script} as_user {name}", SERVICES_USER=chosen).split()
        assert (words[1:4] == ["setpriv", "--reuid", user]) == bool(user), name
        assert bool(words) == bool(user)


def test_what_has_to_stay_roots_is_said_and_a_named_user_who_cannot_is_refused(
    tmp_path: Path,
) -> None:
    stubs = "id() { echo 0; }; stat() { echo root; }; can_run() { false; }; DIR=d; "
    stubs += 'USED=(postgres mlflow worker); fail() { echo "error: $*"; exit 0; }; '
    script = f". {REPO}/infra/services/user.sh; {stubs} check_users 2>&1"
    assert shell(tmp_path, script).startswith("warning: as root run mlflow worker; start the")
    refused = shell(tmp_path, script, SERVICES_USER="srv")
    assert refused.startswith("error: SERVICES_USER=srv cannot read")
