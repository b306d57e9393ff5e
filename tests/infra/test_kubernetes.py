"""infra/k8s: no cluster runs here, so what would be applied is rendered and checked by schema."""

import re

import yaml

from tests.checkouts import REPO
from tests.infra.cluster import (
    K8S,
    needs_kubectl,
    one,
    overlays,
    pods,
    rendered,
    restricted,
    secrets,
    valid,
)
from tests.infra.lock import versions


@needs_kubectl
@overlays
def test_every_object_is_what_kubernetes_knows(overlay: str) -> None:
    for thing in rendered(overlay):
        valid(thing)
        if thing["kind"] != "Namespace":
            assert thing["metadata"]["namespace"] == "modelsoup"


@needs_kubectl
@overlays
def test_pods_are_let_in_by_the_namespaces_own_rule(overlay: str) -> None:
    labels = one(overlay, "Namespace", "modelsoup")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for template in pods(overlay):
        restricted(template["spec"])
        for container in template["spec"]["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert "readinessProbe" in container
            assert re.search(r":[\w.-]*\d+\.\d+", container["image"])
            assert {"requests", "limits"} <= set(container["resources"])


@needs_kubectl
@overlays
def test_what_an_object_names_is_there(overlay: str) -> None:
    claims = {o["metadata"]["name"] for o in rendered(overlay) if "Claim" in o["kind"]}
    maps = {o["metadata"]["name"] for o in rendered(overlay) if o["kind"] == "ConfigMap"}
    for pod in (template["spec"] for template in pods(overlay)):
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        volumes |= {"data": {}}  # of the StatefulSet's own claim template
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps
    for name in ("mlflow", "prefect-server"):
        service = one(overlay, "Service", name)
        labels = one(overlay, "Deployment", name)["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["selector"].items() <= labels.items()


@needs_kubectl
def test_overlays_differ_in_where_weights_are() -> None:
    def told(overlay: str) -> str:
        [container] = one(overlay, "Deployment", "mlflow")["spec"]["template"]["spec"]["containers"]
        return {e["name"]: e.get("value") for e in container["env"]}["ARTIFACTS"]

    assert told("local").startswith("file:///")
    assert told("gpu").startswith("s3://")
    kinds = [(o["kind"], o["metadata"]["name"]) for o in rendered("gpu")]
    assert ("PersistentVolumeClaim", "mlflow-artifacts") not in kinds
    assert one("gpu", "ResourceQuota", "gpus")["spec"]["hard"] == {"requests.nvidia.com/gpu": "8"}


@needs_kubectl
def test_the_worker_is_given_the_template_and_postgres_its_databases() -> None:
    given = one("local", "ConfigMap", "job-template")["data"]["baseJobTemplate.json"]
    assert given == (K8S / "base/job-template.json").read_text()
    stateful = one("local", "StatefulSet", "postgres")["spec"]["template"]["spec"]
    [name] = [v["configMap"]["name"] for v in stateful["volumes"] if "configMap" in v]
    assert "create database" in one("local", "ConfigMap", name)["data"]["databases.sh"]


@needs_kubectl
@overlays
def test_secrets_are_named_and_never_made(overlay: str) -> None:
    assert not [o for o in rendered(overlay) if o["kind"] == "Secret"]
    told = (REPO / "docs/containers.md").read_text()
    for name in set(secrets(rendered(overlay))):
        assert f"create secret generic {name} " in told


def test_the_charts_are_given_versions_of_the_lock_and_secrets_by_name() -> None:
    for path in sorted((K8S / "charts").glob("*.yaml")):
        text = path.read_text()
        values = yaml.safe_load(text)
        assert "authString" not in text
        assert "password" not in text.lower().replace("user:password", "")
        for tag in re.findall(r"[tT]ag: (\S+)", text):
            assert re.match(r"\d+\.\d+\.\d+", tag)
        if path.stem == "prefect-worker":
            tag = values["worker"]["image"]["prefectTag"]
            assert tag.split("-")[0] == versions()["prefect"]
    worker = yaml.safe_load((K8S / "charts/prefect-worker.yaml").read_text())["worker"]
    assert worker["config"]["baseJobTemplate"]["existingConfigMapName"] == "job-template"
    namespace = yaml.safe_load((K8S / "base/kustomization.yaml").read_text())["namespace"]
    api = worker["selfHostedServerApiConfig"]["apiUrl"]
    assert api == f"http://prefect-server.{namespace}.svc.cluster.local:4200/api"
    exporter = yaml.safe_load((K8S / "charts/prometheus-prefect-exporter.yaml").read_text())
    assert exporter["prefectApiUrl"] == api


@needs_kubectl
@overlays
def test_runs_have_neither_the_administrators_nor_the_databases_password(overlay: str) -> None:
    [container] = one(overlay, "Deployment", "mlflow")["spec"]["template"]["spec"]["containers"]
    servers = {
        source["secretRef"]["name"] for source in container["envFrom"] if "secretRef" in source
    }
    job = (K8S / "base/job-template.json").read_text()
    runs = set(re.findall(r'"secretRef": \{\s*"name": "([^"]+)"', job))
    assert servers == {"mlflow"}
    assert runs == {"modelsoup"}
    told = (REPO / "docs/containers.md").read_text()
    made = dict(re.findall(r"create secret generic (\S+) (.*)", told))
    assert "PGUSER=mlflow " in made["mlflow"]
    assert "MLFLOW_AUTH_ADMIN_PASSWORD" in made["mlflow"]
    assert re.findall(r"--from-literal ([A-Z_]+)", made["modelsoup"]) == [
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
    ]
    assert "USERNAME=worker" in made["modelsoup"]
    assert "//prefect:" in made["prefect-database"]


@needs_kubectl
@overlays
def test_mlflow_is_ready_when_it_can_write_and_its_pools_are_of_the_one_file(overlay: str) -> None:
    [container] = one(overlay, "Deployment", "mlflow")["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"]["exec"]["command"] == ["python", "/etc/mlflow/health.py"]
    assert not any("--workers" in word for word in container["args"])
    [name] = [s["configMapRef"]["name"] for s in container["envFrom"] if "configMapRef" in s]
    told = one(overlay, "ConfigMap", name)["data"]
    lines = (K8S.parent / "connections/connections.env").read_text().splitlines()
    assert told == dict(line.split("=") for line in lines if line and line[0] != "#")


@needs_kubectl
def test_postgresql_allows_as_many_connections_as_that_file_says() -> None:
    pod = one("local", "StatefulSet", "postgres")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert "max_connections=$(POSTGRES_MAX_CONNECTIONS)" in container["args"]
    [source] = container["envFrom"]
    assert (
        "POSTGRES_MAX_CONNECTIONS"
        in one("local", "ConfigMap", source["configMapRef"]["name"])["data"]
    )
    told = {entry["name"]: entry for entry in container["env"]}
    assert told["POSTGRES_USER"]["value"] not in ("mlflow", "prefect")
    assert {"MLFLOW_DATABASE_PASSWORD", "PREFECT_DATABASE_PASSWORD"} <= set(told)
