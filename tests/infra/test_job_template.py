"""The Job that a worker makes of infra/k8s/base/job-template.json, as Prefect renders it."""

import json
import re

import pytest

from tests.checkouts import REPO
from tests.infra.cluster import (
    K8S,
    job,
    needs_kubectl,
    one,
    overlays,
    rendered,
    restricted,
    secrets,
)

# Prefect's integration takes seconds to import.
pytestmark = pytest.mark.slow


def test_a_run_on_two_gpus_asks_for_them_for_their_nodes_and_for_shared_memory() -> None:
    spec = job(gpus="2", node_selector='{"nvidia.com/gpu.product": "H100"}', shm_size='"16Gi"')[
        "template"
    ]["spec"]
    [container] = spec["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert spec["nodeSelector"] == {"nvidia.com/gpu.product": "H100"}
    [shared] = [m["name"] for m in container["volumeMounts"] if m["mountPath"] == "/dev/shm"]
    [volume] = [v for v in spec["volumes"] if v["name"] == shared]
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}


def test_a_run_is_an_ordinary_user_with_results_that_outlive_it() -> None:
    spec = job()["template"]["spec"]
    restricted(spec)
    [container] = spec["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {"/tmp", "/dev/shm"} <= {mount["mountPath"] for mount in container["volumeMounts"]}
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 0
    kept = {m["mountPath"] for m in container["volumeMounts"] if m["name"] == "project"}
    assert kept == {"/app/out", "/app/data", "/app/.cache"}
    assert spec["restartPolicy"] == "Never"
    assert container["image"].startswith("modelsoup/worker")
    assert container["args"] == ["prefect", "flow-run", "execute"]


def test_the_template_has_all_that_the_installed_integration_asks_for() -> None:
    from prefect_kubernetes.worker import KubernetesWorker

    ours = json.loads((K8S / "base/job-template.json").read_text())
    theirs = KubernetesWorker.get_default_base_job_template()
    assert set(ours["job_configuration"]) == set(theirs["job_configuration"])
    own = set(ours["variables"]["properties"]) - set(theirs["variables"]["properties"])
    assert own == {"gpus", "node_selector", "shm_size"}
    assert set(theirs["variables"]["properties"]) <= set(ours["variables"]["properties"])
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(ours["job_configuration"])))
    assert used == set(ours["variables"]["properties"])


@needs_kubectl
@overlays
def test_what_a_run_names_is_there(overlay: str) -> None:
    spec = job()["template"]["spec"]
    claims = {o["metadata"]["name"] for o in rendered(overlay) if "Claim" in o["kind"]}
    for volume in spec["volumes"]:
        if "persistentVolumeClaim" in volume:
            assert volume["persistentVolumeClaim"]["claimName"] in claims
    [container] = spec["containers"]
    [told] = [e["configMapRef"]["name"] for e in container["envFrom"] if "configMapRef" in e]
    environment = one(overlay, "ConfigMap", told)["data"]
    assert environment["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert environment["MODELSOUP_ROOT"] == "/app"
    for name in secrets(spec):
        assert f"create secret generic {name} " in (REPO / "docs/containers.md").read_text()
    labels = job()["template"]["metadata"]["labels"]
    allowed = one(overlay, "NetworkPolicy", "mlflow")["spec"]["ingress"][0]["from"]
    assert {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "modelsoup"}}} in allowed
    assert labels["app.kubernetes.io/name"] == "modelsoup"
