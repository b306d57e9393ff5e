"""Who is let in by the servers of `make ui` and `make deploy`, and by which password."""

import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests import checkouts, doors
from tests.flows.served import KEPT, Served, running

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow


def port(served: Served, name: str) -> int:
    found = urlsplit(served.reach[name]).port
    assert found
    return found


@pytest.fixture(scope="module")
def deploy(deployment: Served) -> Served:
    """`make deploy` where it ran before, and others could read what that left."""
    return deployment


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("doors") / "project"
    root.mkdir()
    (root / "params.yaml").write_text("experiment: none\n")
    (root / "flows").symlink_to(checkouts.REPO / "flows")
    with running(root) as served:
        yield served


def test_make_deploy_refuses_pages_of_other_sites(deploy: Served) -> None:
    auth = deploy.reach["PREFECT_API_AUTH_STRING"]
    doors.prefect_wants_a_password(port(deploy, "PREFECT_API_URL"), auth)
    doors.prefect_refuses_strangers(port(deploy, "PREFECT_API_URL"), auth)
    doors.mlflow_refuses_strangers(port(deploy, "MLFLOW_TRACKING_URI"))


def test_make_ui_refuses_pages_of_other_sites(ui: Served) -> None:
    doors.prefect_refuses_strangers(port(ui, "PREFECT_API_URL"))
    doors.mlflow_refuses_strangers(port(ui, "MLFLOW_TRACKING_URI"))
    assert not (ui.root / ".cache/ui/env").exists()
    assert "password" not in ui.said


def test_the_password_of_make_deploy_stays_and_only_its_owner_can_read_it(deploy: Served) -> None:
    env = deploy.root / ".cache/ui/env"
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert deploy.reach["PREFECT_API_AUTH_STRING"] == f"modelsoup:{KEPT}"
    assert ". .cache/ui/env && .venv/bin/prefect deployment run pipeline/local" in deploy.said
    assert "what follows PREFECT_API_AUTH_STRING= in .cache/ui/env" in deploy.said
    assert KEPT not in deploy.said
    for log in env.parent.glob("*.log"):
        assert KEPT not in log.read_text(), log
    lines = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(process.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    assert any("flows.server.asgi:app" in line for line in lines)
    assert not any(KEPT in line for line in lines)


def test_a_shell_without_the_password_is_told_where_it_is(deploy: Served) -> None:
    trigger = ("python", "-m", "flows.pipeline")
    reach = deploy.reach | {"PREFECT_API_AUTH_STRING": "modelsoup:wrong"}
    refused = checkouts.run(deploy.root, *trigger, **reach)
    assert refused.returncode == 2, refused.stderr
    assert "refuses the credentials; set PREFECT_API_AUTH_STRING" in refused.stderr
    assert "`make deploy` to .cache/ui/env" in refused.stderr
    told = deploy.run("prefect", "deployment", "ls")
    assert "pipeline/local" in told.stdout, told.stderr


@pytest.mark.ui
def test_prefects_page_asks_for_the_password_and_then_shows_the_deployments(
    deploy: Served, opened: Callable[..., "Page"], asked: list[str]
) -> None:
    address = deploy.reach["PREFECT_API_URL"].removesuffix("/api")
    page = opened(address)
    field = page.locator("input[type=password]")
    field.fill("modelsoup:wrong")
    page.keyboard.press("Enter")
    page.get_by_text("Invalid").first.wait_for()
    field.fill(deploy.reach["PREFECT_API_AUTH_STRING"])
    page.keyboard.press("Enter")
    field.wait_for(state="detached")
    page.goto(f"{address}/deployments")
    page.get_by_text("import-and-cook").first.wait_for()
    assert asked == []
