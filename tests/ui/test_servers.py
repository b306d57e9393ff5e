"""MLflow's and Prefect's pages in a browser, after a run triggered by the deployment."""

import json
import urllib.request
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.flows.served import Served, basic
from tests.waiting import until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.ui, pytest.mark.slow]
Open = Callable[..., "Page"]
Reach = dict[str, str]
WIDE = {"width": 1600, "height": 1000}
# MLflow shows a model's pages of its own accord only since a browser was told so once.
TRAINING = "?workflowType=machine_learning"


@pytest.fixture(scope="module")
def reach(browser: "Browser", deployment: Served) -> Reach:
    """Addresses of servers in which a run of the pipeline has ended."""
    if not deployment.runs("pipeline/local"):  # the tests of the deployment have not run
        ran = deployment.run("prefect", "deployment", "run", "pipeline/local", "--watch")
        assert ran.returncode == 0, ran.stdout[-2000:] + deployment.log()[-3000:]
    return deployment.reach


def ask(address: str, body: dict[str, Any] | None = None, credentials: str = "") -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **basic(credentials)}
    request = urllib.request.Request(address, data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.fixture
def soup(reach: Reach) -> dict[str, Any]:
    """The registered version, as MLflow's API tells it."""
    query = "registered-models/alias?name=tiny-soup&alias=champion"
    found = ask(f"{reach['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/{query}")
    version: dict[str, Any] = found["model_version"]
    return version


def test_the_page_of_the_soups_run_shows_what_went_into_it(
    reach: Reach, soup: dict[str, Any], opened: Open, asked: list[str], shoot: Callable[..., None]
) -> None:
    api = f"{reach['MLFLOW_TRACKING_URI']}/api/2.0/mlflow"
    run = ask(f"{api}/runs/get?run_id={soup['run_id']}")["run"]
    experiment = run["info"]["experiment_id"]
    page = opened(
        f"{reach['MLFLOW_TRACKING_URI']}/{TRAINING}#/experiments/{experiment}"
        f"/runs/{soup['run_id']}{TRAINING}",
        **WIDE,
    )
    page.get_by_text(run["info"]["run_name"]).first.wait_for()
    page.get_by_text("heldout/accuracy").first.wait_for()
    page.get_by_text("Logged models").first.wait_for()
    shoot(page, "mlflow-run")
    inputs = run["inputs"]["model_inputs"]
    assert inputs
    for used in inputs:
        model = ask(f"{api}/logged-models/{used['model_id']}")["model"]["info"]
        page.get_by_text(model["name"]).first.wait_for(state="attached")
    assert asked == []


def test_the_registry_shows_the_champion_and_what_it_is_made_of(
    reach: Reach, soup: dict[str, Any], opened: Open, asked: list[str], shoot: Callable[..., None]
) -> None:
    page = opened(
        f"{reach['MLFLOW_TRACKING_URI']}/{TRAINING}#/models/tiny-soup"
        f"/versions/{soup['version']}{TRAINING}",
        **WIDE,
    )
    page.get_by_text("champion").first.wait_for()
    page.get_by_text("soup.recipe").first.wait_for()
    shoot(page, "mlflow-registry")
    for tag in soup["tags"]:
        page.get_by_text(tag["key"]).first.wait_for(state="attached")
    assert asked == []


def test_prefects_form_is_filled_in_from_params_yaml(
    reach: Reach, opened: Open, asked: list[str], shoot: Callable[..., None]
) -> None:
    api, auth = reach["PREFECT_API_URL"], reach["PREFECT_API_AUTH_STRING"]
    deployment = ask(f"{api}/deployments/name/pipeline/local", credentials=auth)
    form = f"{api.removesuffix('/api')}/deployments/deployment/{deployment['id']}/run"
    page = opened(form, auth=auth, **WIDE)
    page.get_by_text("Parameters").first.wait_for()
    page.get_by_text("experiment").first.wait_for()
    fields = page.locator("input, textarea")
    wanted = {"tiny", "3"}
    until(lambda: wanted <= {*fields.evaluate_all("all => all.map(e => e.value)")}, f"{wanted}")
    shoot(page, "prefect-form")
    assert asked == []


def test_prefects_graph_shows_the_stages_and_the_fine_tunes(
    reach: Reach,
    deployment: Served,
    opened: Open,
    asked: list[str],
    shoot: Callable[..., None],
) -> None:
    api, auth = reach["PREFECT_API_URL"], reach["PREFECT_API_AUTH_STRING"]
    run = deployment.runs("pipeline/local")[0]
    page = opened(f"{api.removesuffix('/api')}/runs/flow-run/{run['id']}", auth=auth, **WIDE)
    page.get_by_text("Completed").first.wait_for()
    graph = page.locator("canvas").first
    graph.wait_for()

    def colours() -> int:
        with Image.open(BytesIO(graph.screenshot())) as drawn:
            return len(drawn.convert("RGB").getcolors(1 << 24) or ())

    # It is drawn a little after it is there: bars, names and lines; an empty canvas has one.
    until(lambda: colours() > 20, "a graph that is drawn")
    shoot(page, "prefect-graph")
    page.get_by_text("Subflow Runs").first.click()
    for stage in ("prepare", "finetune", "cook", "register"):
        page.get_by_text(stage).first.wait_for()
    assert asked == []
