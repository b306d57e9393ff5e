"""What the deployments ask for, and what belongs to them, known without a server."""

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.utilities.callables import parameter_schema
from pydantic import TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema

import flows
from flows import deployments
from flows.deployments import Pool, cook_again, import_and_cook
from flows.pipeline import pipeline
from flows.project import FlowParams, default_params
from flows.stages import STAGES
from soup.config.cooking import Cook
from soup.config.params import load
from soup.errors import BadInput
from soup.recipes import RECIPES
from tests import checkouts, homes, worlds

DEPLOYED = yaml.safe_load((checkouts.REPO / "prefect.yaml").read_text())["deployments"]
ENTRIES = sorted({each["entrypoint"] for each in DEPLOYED})


def flow_at(entry: str) -> Flow[..., Any]:
    path, name = entry.split(":")
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    found = getattr(module, name)
    assert isinstance(found, Flow)
    return found


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_form_opens_filled_in_and_says_what_its_parts_are_for(entry: str) -> None:
    flow = flow_at(entry)
    schema = parameter_schema(flow).model_dump()
    assert flow.description
    params = schema["properties"]["params"]
    assert params["default"]["experiment"] == default_params().experiment
    assert "params" not in schema["required"]
    for name, each in schema["properties"].items():
        assert name == "params" or each["description"]
        assert schema["definitions"][each["$ref"].split("/")[-1]]["additionalProperties"] is False
    sweep = schema["definitions"]["Sweep"]["properties"]
    assert sweep["runs"]["exclusiveMinimum"] == 0
    assert sweep["runs"]["description"]


def test_defining_a_flow_makes_no_form_of_the_parameters() -> None:
    for flow in (*STAGES.values(), *map(flow_at, ENTRIES)):
        assert "Sweep" not in (flow.parameters.definitions or {})


def test_defining_a_flow_looks_at_no_part_of_the_parameters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at = []
    real = GenerateJsonSchema.model_schema

    def noted(self: GenerateJsonSchema, schema: Any) -> Any:
        looked_at.append(schema["cls"].__module__)
        return real(self, schema)

    def flow(params: FlowParams) -> None: ...

    monkeypatch.setattr(GenerateJsonSchema, "model_schema", noted)
    Flow(flow)
    assert looked_at
    assert not [module for module in looked_at if module.startswith("soup")]


def test_a_flow_takes_parameters_as_a_table_or_made_and_names_what_is_wrong() -> None:
    forms = TypeAdapter[Any](FlowParams)
    made = default_params()
    assert forms.validate_python(made) is made
    table = made.model_dump(mode="json", by_alias=True)
    assert forms.validate_python(table) == made
    table["sweep"] |= {"runs": 0, "batch_size": "many"}
    with pytest.raises(ValidationError) as wrong:
        forms.validate_python(table)
    assert [error["loc"] for error in wrong.value.errors()] == [
        ("sweep", "runs"),
        ("sweep", "batch_size"),
    ]


def test_the_forms_have_bounds_and_choices() -> None:
    def part(entry: str, name: str) -> dict[str, Any]:
        schema = parameter_schema(flow_at(f"flows/deployments.py:{entry}")).model_dump()
        found: dict[str, Any] = schema["definitions"][name]
        return found

    name, table = part("cook_again", "Cook")["properties"]["recipe"]["anyOf"]
    assert name["enum"] == [*RECIPES]
    recipe = part("cook_again", table["$ref"].split("/")[-1])
    assert recipe["properties"]["name"]["enum"] == [*RECIPES]
    assert {"type": "integer"} in recipe["properties"]["epochs"]["anyOf"]
    assert "learned" in recipe["properties"]["epochs"]["description"]
    pool = part("import_and_cook", "Pool")
    assert pool["required"] == ["folder", "runs"]
    assert pool["properties"]["runs"]["exclusiveMinimum"] == 0
    assert pool["properties"]["folder"]["minLength"] == 1
    registered = part("evaluate_version", "Registered")
    assert registered["required"] == ["model"]
    assert registered["properties"]["version"]["default"] == "champion"
    for each in (pool, registered):
        assert all(field["description"] for field in each["properties"].values())


def test_every_flow_of_ours_is_watched_for_its_heartbeat_and_given_time_for_three() -> None:
    text = (checkouts.REPO / "infra/prefect/automations.yaml").read_text()
    (automation,) = yaml.safe_load(text)["automations"]
    names = {"sweep", *STAGES}  # the first is the fan-out, which is made in a function
    for module in pkgutil.walk_packages(flows.__path__, "flows."):
        if module.name == "flows.server.asgi":  # makes a whole server when it is imported
            assert "@flow" not in (checkouts.REPO / "flows/server/asgi.py").read_text()
            continue
        members = vars(importlib.import_module(module.name)).values()
        names |= {member.name for member in members if isinstance(member, Flow)}
    # One on a host of a work pool beats as that host says, and is listened to by its sweep.
    names -= {"fine-tune"}
    assert set(automation["trigger"]["match_related"]["prefect.resource.name"]) == names
    beats = {
        int(each["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
        for each in DEPLOYED
    }
    text = Path(str(flows.__file__)).read_text()
    assert beats == {30}
    assert '"PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30"' in text
    assert automation["trigger"]["within"] >= 3 * max(beats)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout in which nothing was run, with an empty database."""
    homes.tracking(tmp_path)
    worlds.world(tmp_path / "data", train=12, test=4)
    for name in ("soup", "flows", "dvc.yaml"):
        (tmp_path / name).symlink_to(checkouts.REPO / name)
    checkouts.write(tmp_path)
    worlds.put(tmp_path / "base", worlds.tiny())
    (tmp_path / "base" / "model.safetensors").rename(tmp_path / "base.safetensors")
    monkeypatch.setenv("MODELSOUP_ROOT", str(tmp_path))
    for name in checkouts.SERVER:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_form_is_filled_in_from_what_params_yaml_says_when_it_is_asked_for(
    root: Path, entry: str
) -> None:
    schema = parameter_schema(flow_at(entry)).model_dump()
    assert schema["properties"]["params"]["default"]["experiment"] == "tiny"
    checkouts.write(root, experiment="changed")
    schema = parameter_schema(flow_at(entry)).model_dump()
    assert schema["properties"]["params"]["default"]["experiment"] == "changed"


def test_a_flow_without_parameters_takes_those_of_params_yaml(root: Path) -> None:
    checkouts.write(root, experiment="left-alone")
    with pytest.raises(BadInput, match="prepare is not done for these parameters of left-alone"):
        cook_again.fn(Cook(recipe="uniform"))


LOADED = """
import importlib, logging, pkgutil, sys
hook = sys.excepthook
import flows.__main__, flows.runners.pool_job
heavy = {"mlflow", "pandas", "torch"}  # a command starts Prefect's server before it imports these
assert not heavy & {*sys.modules}, heavy & {*sys.modules}
for module in pkgutil.walk_packages(flows.__path__, "flows."):
    if module.name not in ("flows.server.asgi",):
        importlib.import_module(module.name)
assert sys.excepthook is hook
assert not logging.getLogger("modelsoup").handlers
"""


@pytest.mark.slow
def test_importing_the_flows_loads_no_parameters_prints_nothing_and_hooks_nothing(
    root: Path,
) -> None:
    (root / "params.yaml").write_text("experiment: [broken")
    ran = checkouts.run(root, "python", "-c", LOADED, MODELSOUP_LOG="json")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_another_program_that_imports_the_flows_goes_on_looking_for_garbage(tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "__init__.py").write_text("import flows")
    (tmp_path / "others" / "__main__.py").write_text("import gc; print(gc.isenabled())")
    path = f"{tmp_path}:{checkouts.REPO}"
    ran = checkouts.run(tmp_path, "python", "-m", "others", PYTHONPATH=path)
    assert ran.stdout.split() == ["True"], ran.stderr


# Found by the interpreter that starts.
NOTED = """
import gc
from functools import partial

def noted(name, real):
    print(name)
    real()

gc.disable, gc.enable = partial(noted, "off", gc.disable), partial(noted, "on", gc.enable)
"""


@pytest.mark.slow
@pytest.mark.parametrize("command", ["flows.pipeline", "flows prepare", "flows pipeline"])
def test_a_command_says_what_is_wrong_with_the_parameters(root: Path, command: str) -> None:
    (root / "params.yaml").write_text("experiment: [broken")
    (root / "sitecustomize.py").write_text(NOTED)
    ran = checkouts.run(root, "python", "-m", *command.split())
    assert ran.returncode == 2
    # Nobody looks for garbage while it imports; what follows is said at exit.
    assert ran.stdout.split()[:2] == ["off", "on"]
    assert ran.stderr.startswith(f"error: {root}/params.yaml: is not YAML")
    assert "Traceback" not in ran.stderr


def test_another_soup_needs_a_finished_sweep(root: Path) -> None:
    params = load(root / "params.yaml")
    with pytest.raises(BadInput, match="prepare is not done for these parameters of tiny"):
        cook_again.fn(Cook(recipe="uniform"), params)
    assert not (root / "out").exists()


def test_a_pool_that_is_not_there_is_refused_before_anything_starts(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployments, "pipeline", pipeline.fn)
    params = load(root / "params.yaml")
    with pytest.raises(BadInput, match="is not a folder of checkpoints"):
        import_and_cook.fn(Pool(folder="nowhere", runs=2), params)
    (root / "pool").mkdir()
    with pytest.raises(BadInput, match="has 0 checkpoints"):
        import_and_cook.fn(Pool(folder="pool", runs=2), params)
    assert not (root / "out").exists()
