"""The page that `make ui` names, in a browser: runs with scores as columns, the best first."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import pytest

from soup.pipeline.stages.register import REPORT, _linked
from soup.tracking import Store
from tests.servers import MlflowServer, running

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.ui, pytest.mark.slow]
Open = Callable[..., "Page"]
SCORES = {"ft-000": 0.81, "ft-001": 0.93, "ft-002": 0.87, "greedy soup": 0.95}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """An experiment with a sweep of three fine-tunes, and a soup."""
    folder = tmp_path_factory.mktemp("ui")
    server = MlflowServer(folder)
    with running(server):
        made = Store(server.address, "pets", folder)
        sweep = made.start("sweep", "sweep", "sweep 1a2b", {}, {"space.lr.max": "1e-4"})
        for name, score in SCORES.items():
            parent = None if "soup" in name else sweep
            run = made.start("x", name, name, {}, {"lr": "3e-05"}, parent)
            splits = ("heldout", "test", "shifts")
            made.log(run, 0, {f"{s}/accuracy": score - i / 100 for i, s in enumerate(splits)})
            (tracked,) = made.get([run])
            made.describe(run, f"A soup, with its {_linked(made, tracked, 'report', REPORT)}.")
            made.log_text(run, "<h1>What the soup gains</h1>", "report.html")
            made.end(run)
        made.end(sweep)
        yield made


def test_runs_are_listed_with_held_out_test_and_shift_accuracy_the_best_first(
    store: Store, opened: Open, asked: list[str], shoot: Callable[..., None]
) -> None:
    page = opened(store.page(), width=1600, height=700)
    cells = page.locator("[role=gridcell][col-id*='accuracy']")
    page.get_by_text("0.95").first.wait_for()
    heads = page.locator("[role=columnheader][col-id*='accuracy']").all_inner_texts()
    # In the order that MLflow gives them, whatever it is asked for.
    shown = sorted(head.strip().split("\n")[0] for head in heads)
    assert shown == ["heldout/accuracy", "shifts/accuracy", "test/accuracy"]
    shoot(page, "mlflow-experiment")
    assert {"0.95", "0.94", "0.93"} <= {*cells.all_inner_texts()}
    names = page.locator("[role=gridcell] a[href*='/runs/']").all_inner_texts()
    best_first = sorted(SCORES, key=lambda name: -SCORES[name])
    assert [name for name in names if name in SCORES] == best_first
    assert asked == []


def test_the_description_of_a_soup_leads_to_its_report(
    store: Store, opened: Open, asked: list[str]
) -> None:
    soup = store.find("greedy soup")
    assert soup is not None
    page = opened(store.link(soup.run_id), width=1600)
    leads = page.get_by_role("link", name="report", exact=True).get_attribute("href")
    assert leads is not None
    page = opened(urljoin(f"{store.uri}/", leads), width=1600)
    page.frame_locator("iframe").get_by_text("What the soup gains").wait_for()
    assert f"/runs/{soup.run_id}/artifacts/report.html" in page.url
    assert asked == []
