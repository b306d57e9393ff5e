"""No address is shown with a password in it: error paths of each door, searched for the secret."""

import json
import logging
import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from soup.config.params import ParamsError, parse
from soup.errors import BadInput, hide_passwords, without_password
from tests import checkouts

SECRET = "s3cr3t-of-ada"
INFRA = checkouts.REPO / "infra/prefect"
AWAY = f"http://ada:{SECRET}@127.0.0.1:9"  # nobody listens there


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"http://ada:{SECRET}@host:5000/x failed", "http://host:5000/x failed"),
        (f"postgresql+psycopg://ada:{SECRET}@db/mlflow", "postgresql+psycopg://db/mlflow"),
        (f"http://ada:half/{SECRET}@host/x", "http://host/x"),
        (f"http://ada:h@lf/{SECRET}@host/x", "http://host/x"),
        (f"http://ada:12345@host, https://{SECRET}@git.host/a.git", "http://host, https://git.host/a.git"),
        (f"https://hook/x?token={SECRET}&y=1", "https://hook/x?token=***&y=1"),
        (f"'s3://b/x?X-Amz-Signature={SECRET}'", "'s3://b/x?X-Amz-Signature=***'"),
        (f'{{"a":"http://u:{SECRET}@h/x","b":"m@n"}}', '{"a":"http://h/x","b":"m@n"}'),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
        ("git@host:a/b.git", "git@host:a/b.git"),
        ("http://h/#/x?workflowType=a&viewStateShareKey=b", "http://h/#/x?workflowType=a&viewStateShareKey=b"),
    ],
)  # fmt: skip
def test_what_is_secret_in_an_address_is_left_out_and_nothing_else(text: str, shown: str) -> None:
    assert without_password(text) == shown
    assert without_password(shown) == shown


def test_an_error_and_what_led_to_it_are_told_without_passwords() -> None:
    error = RuntimeError(f"no MLflow at {AWAY}", 7)
    error.__cause__ = ConnectionError(f"{AWAY} refused")
    hide_passwords(error)
    assert error.args == ("no MLflow at http://127.0.0.1:9", 7)
    assert str(error.__cause__) == "http://127.0.0.1:9 refused"


def test_log_records_of_any_library_hold_no_password(caplog: pytest.LogCaptureFixture) -> None:
    import flows

    assert flows
    log = logging.getLogger("some.library")
    log.warning("asking %s for %d", AWAY, 3)
    log.warning("100%% of %s", AWAY)
    error = ConnectionError(AWAY)
    log.error("it failed", exc_info=error)
    assert "asking http://127.0.0.1:9 for 3" in caplog.text
    assert "100% of http://127.0.0.1:9" in caplog.text
    assert SECRET not in caplog.text


def test_parameters_with_a_password_are_refused_where_it_stands(tmp_path: Path) -> None:
    plain = checkouts.parameters(tmp_path)
    assert parse(plain)
    plain["base"]["weights"] = f"https://ada:{SECRET}@host/w.safetensors"
    with pytest.raises(ParamsError, match=r"base\.weights: holds a password or token") as told:
        parse(plain)
    assert SECRET not in str(told.value)


@pytest.mark.parametrize(
    "words", [("champion", "list", "m"), ("champion", "promote", "m", "1")], ids=" ".join
)
def test_the_command_names_no_password_of_a_registry(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from soup.cli.app import app

    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code != 0
    assert SECRET not in ran.output + repr(ran.exception)


def test_what_the_command_prints_of_a_registry_has_no_password(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from soup.cli import terminal

    terminal.table(f"m in {AWAY}", ["registry"], [[AWAY]])
    terminal.say("the registry", AWAY)
    terminal.print_json({"server": AWAY})
    told = capsys.readouterr()
    assert SECRET not in told.out + told.err
    assert json.loads(told.out) == {"server": "http://127.0.0.1:9"}


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_URI", "PREFECT_API_URL"])
def test_a_pipeline_whose_server_is_away_leaves_no_password_anywhere(
    variable: str, tmp_path: Path
) -> None:
    root = checkouts.make(tmp_path / "project")
    more = {variable: AWAY + ("/api" if variable == "PREFECT_API_URL" else "")}
    more |= {"MODELSOUP_LOG": "json"} if variable == "PREFECT_API_URL" else {}
    ran = checkouts.pipeline(root, MODELSOUP_WEBHOOK=f"{AWAY}/{SECRET}", **more)
    assert ran.returncode != 0
    assert "127.0.0.1:9" in ran.stderr
    assert SECRET not in ran.stdout + ran.stderr
    for file in root.rglob("*"):
        if file.is_file() and ".git" not in file.parts:
            assert SECRET.encode() not in file.read_bytes(), file


REPOSITORIES = {
    f"https://ada:{SECRET}@host/a.git": False,
    f"https://{SECRET}@host/a.git": False,
    f"ssh://git:{SECRET}@host/a.git": False,
    f"https://host/a.git?private_token={SECRET}": False,
    "https://host/a.git": True,
    "git@host:a/b.git": True,
    "ssh://git@host/a.git": True,
    "/srv/git/a": True,
}


@pytest.mark.parametrize(("repository", "plain"), REPOSITORIES.items())
def test_a_repository_with_a_token_is_refused_for_deployments_and_when_it_is_cloned(
    repository: str, plain: bool
) -> None:
    require = runpy.run_path(str(INFRA / "surroundings.py"))["require_no_token"]
    if plain:
        require(repository)
    else:
        with pytest.raises(SystemExit, match="credential helper") as refused:
            require(repository)
        assert SECRET not in str(refused.value)
    deployments = yaml.safe_load((checkouts.REPO / "prefect.yaml").read_text())["deployments"]
    [git] = [deployment for deployment in deployments if deployment["name"] == "git"]
    step = git["pull"][0]["prefect.deployments.steps.run_shell_script"]["script"]
    assert "\n" not in step.strip()  # each line would be a command of its own
    env = os.environ | {"MODELSOUP_REPOSITORY": repository}
    checked = subprocess.run(
        shlex.split(step), env=env, capture_output=True, text=True, check=False
    )
    assert checked.returncode == (0 if plain else 2), checked.stderr
    assert SECRET not in checked.stderr
    assert ("credential helper" in checked.stderr) == (not plain)


def test_deploying_refuses_it_before_anything_is_on_the_server() -> None:
    env = dict(os.environ) | {
        "MODELSOUP_REPOSITORY": f"https://ada:{SECRET}@host/a.git",
        "PREFECT_API_URL": f"{AWAY}/api",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    ran = subprocess.run(
        ["bash", str(INFRA / "deploy.sh")], env=env, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert "MODELSOUP_REPOSITORY (https://host/a.git, or" in ran.stderr
    assert SECRET not in ran.stdout + ran.stderr


def test_bad_input_is_told_without_the_password() -> None:
    assert SECRET not in str(BadInput(f"{AWAY} is not there"))
