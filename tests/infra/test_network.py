"""infra/k8s: who may connect to whom, what the ingress shows, and what all may take together."""

import subprocess
from itertools import product
from typing import Any

import pytest
import yaml

from flows.server.guard import LOOPBACK, listed
from tests.infra.cluster import K8S, needs_kubectl, one, overlays, pods, rendered, valid
from tests.infra.policies import PLACES, Peer, connects, pod

OURS = {
    "run": pod("modelsoup"),
    "worker": pod("prefect-worker"),
    "exporter": pod("prometheus-prefect-exporter"),
    "mlflow": pod("mlflow", http=5000),
    "prefect": pod("prefect-server", http=4200),
    "postgres": pod("postgres", postgres=5432),
    "stranger": pod("stranger"),
}
OTHERS = {
    "dns": pod("kube-dns", "kube-system", "k8s-app"),
    "prometheus": pod("prometheus", "monitoring"),
    "ingress": pod("ingress-nginx", "ingress-nginx"),
    "an mlflow elsewhere": pod("mlflow", "elsewhere", http=5000),
    "the web": Peer(address="198.51.100.7"),
    "the cloud": Peer(address="169.254.169.254"),  # it tells a node its credentials
    "a private address": Peer(address="172.18.0.2"),
    **{name: Peer(address=cidr.split("/")[0]) for name, cidr in PLACES.items()},
}
PORTS = (22, 53, 80, 443, 4200, 5000, 5432, 6443)
EVERYWHERE = {
    ("run", "mlflow", 5000),
    ("run", "prefect", 4200),
    ("worker", "prefect", 4200),
    ("exporter", "prefect", 4200),
    ("prometheus", "mlflow", 5000),
    *((name, "dns", 53) for name in OURS),
    # Its chart decides at which port the exporter is asked.
    *(("prometheus", "exporter", port) for port in PORTS),
}
MORE = {
    "local": {
        ("mlflow", "postgres", 5432),
        ("prefect", "postgres", 5432),
        *(("worker", "a private address", port) for port in (443, 6443)),
    },
    "gpu": {
        *((server, "POSTGRES_CIDR", 5432) for server in ("mlflow", "prefect")),
        *((name, "S3_CIDR", 443) for name in ("mlflow", "run")),
        *(("run", "GIT_CIDR", port) for port in (443, 22)),
        *(("worker", "KUBERNETES_CIDR", port) for port in (443, 6443)),
        ("ingress", "mlflow", 5000),
        ("ingress", "prefect", 4200),
    },
}


@needs_kubectl
@overlays
def test_nobody_connects_but_those_who_need_to(overlay: str) -> None:
    peers = OURS | OTHERS
    found = {
        (one_end, other_end, port)
        for one_end, other_end, port in product(peers, peers, PORTS)
        if one_end != other_end
        and OURS.keys() & {one_end, other_end}
        and not peers[one_end].address
        and connects(overlay, peers[one_end], peers[other_end], port)
    }
    assert found == EVERYWHERE | MORE[overlay]
    assert connects(overlay, peers["run"], peers["dns"], 53, "UDP")
    assert not connects(overlay, peers["run"], peers["the web"], 53, "UDP")


@needs_kubectl
@overlays
def test_nobody_is_let_in_or_out_by_default(overlay: str) -> None:
    nobody = one(overlay, "NetworkPolicy", "nobody")["spec"]
    assert nobody == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@needs_kubectl
def test_runs_download_from_the_web_alone_and_only_where_it_is_asked_for() -> None:
    command = ["kubectl", "kustomize", str(K8S / "downloads")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    policy = yaml.safe_load(done.stdout)
    valid(policy)
    assert policy["spec"]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "modelsoup"}
    [rule] = policy["spec"]["egress"]
    assert rule["ports"] == [{"port": 443}]
    kept = rule["to"][0]["ipBlock"]["except"]
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= set(kept)
    for overlay in ("local", "gpu"):
        assert policy["metadata"]["name"] not in [o["metadata"]["name"] for o in rendered(overlay)]


@needs_kubectl
def test_the_addresses_outside_are_told_in_one_place_and_not_applied() -> None:
    assert not [o for o in rendered("gpu") if o["metadata"]["name"] == "addresses"]
    told = yaml.safe_load((K8S / "overlays/gpu/addresses.yaml").read_text())["data"]
    assert set(told.values()) == set(PLACES)
    blocks = [
        peer["ipBlock"]["cidr"]
        for policy in rendered("gpu")
        if policy["kind"] == "NetworkPolicy"
        for rule in policy["spec"].get("egress", [])
        for peer in rule["to"]
        if "ipBlock" in peer
    ]
    assert set(blocks) - {"169.254.20.10/32"} == set(PLACES)


@needs_kubectl
def test_the_ingress_shows_no_figures() -> None:
    nothing = one("gpu", "Service", "nothing")["spec"]
    assert "selector" not in nothing
    hidden = {"mlflow": "/metrics", "prefect": "/api/metrics"}
    shown = {o["metadata"]["name"]: o["spec"] for o in rendered("gpu") if o["kind"] == "Ingress"}
    assert set(shown) == set(hidden)
    for name, spec in shown.items():
        [rule] = spec["rules"]
        assert [rule["host"]] == spec["tls"][0]["hosts"]
        ways = {path["path"]: path for path in rule["http"]["paths"]}
        assert ways[hidden[name]]["pathType"] == "Prefix"
        assert ways[hidden[name]]["backend"]["service"]["name"] == "nothing"
    services = [o for o in rendered("gpu") if o["kind"] == "Service"]
    assert all(s["spec"].get("type", "ClusterIP") == "ClusterIP" for s in services)


def environment(overlay: str, name: str) -> dict[str, Any]:
    [container] = one(overlay, "Deployment", name)["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value") for each in container["env"]}


@needs_kubectl
@pytest.mark.parametrize(
    ("overlay", "mlflow", "prefect"),
    [
        ("local", "http://localhost:5000", "http://localhost:4200"),
        ("gpu", "https://mlflow.example", "https://prefect.example"),
    ],
)
def test_servers_answer_to_clients_inside_and_to_pages_of_their_own(
    overlay: str, mlflow: str, prefect: str
) -> None:
    told = environment(overlay, "prefect-server")
    assert listed(told["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"]) == [prefect]
    assert told["PREFECT_SERVER_UI_API_URL"] == f"{prefect}/api"
    hosts = {*LOOPBACK, *listed(told["MODELSOUP_PREFECT_HOSTS"])}
    worker = yaml.safe_load((K8S / "charts/prefect-worker.yaml").read_text())["worker"]
    asked = worker["selfHostedServerApiConfig"]["apiUrl"]
    assert {
        asked.split("/")[2].split(":")[0],
        prefect.split("/")[2].split(":", maxsplit=1)[0],
    } <= hosts
    [container] = one(overlay, "Deployment", "prefect-server")["spec"]["template"]["spec"][
        "containers"
    ]
    assert "flows.server.asgi:app" in container["args"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        [header] = container[probe]["httpGet"]["httpHeaders"]
        assert header["name"] == "Host"
        assert header["value"] in hosts
    told = environment(overlay, "mlflow")
    assert told["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == mlflow
    assert "*" not in told["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")


@needs_kubectl
@overlays
def test_all_pods_together_and_each_that_says_nothing_have_a_limit(overlay: str) -> None:
    hard = one(overlay, "ResourceQuota", "namespace")["spec"]["hard"]
    assert {"pods", "requests.cpu", "limits.memory", "requests.storage"} <= set(hard)
    assert hard["services.nodeports"] == hard["services.loadbalancers"] == "0"
    limits = {r["type"]: r for r in one(overlay, "LimitRange", "namespace")["spec"]["limits"]}
    assert {"memory", "ephemeral-storage"} <= set(limits["Container"]["default"])
    assert {"cpu", "memory"} <= set(limits["Container"]["defaultRequest"])
    assert "max" in limits["Container"]
    assert limits["PersistentVolumeClaim"]["max"]
    # Under a quota of memory, a pod without a limit is refused.
    for template in pods(overlay):
        for container in template["spec"]["containers"]:
            assert "memory" in container["resources"]["limits"]


@needs_kubectl
@overlays
def test_only_the_worker_has_a_token_for_kubernetes(overlay: str) -> None:
    assert one(overlay, "ServiceAccount", "default")["automountServiceAccountToken"] is False
    exporter = yaml.safe_load((K8S / "charts/prometheus-prefect-exporter.yaml").read_text())
    assert exporter["serviceAccount"] == {"create": False, "useServiceAccount": "default"}


@pytest.mark.parametrize("chart", sorted(path.name for path in (K8S / "charts").glob("*.yaml")))
def test_charts_run_as_ordinary_users_that_cannot_change_their_image(chart: str) -> None:
    values = yaml.safe_load((K8S / "charts" / chart).read_text())
    if "worker" in values:
        contexts = [values["worker"]["containerSecurityContext"]]
        contexts.append(values["worker"]["initContainer"]["containerSecurityContext"])
    else:
        assert values["podSecurityContext"]["runAsNonRoot"] is True
        assert {"requests", "limits"} <= set(values["resources"])
        contexts = [values["securityContext"]]
    for context in contexts:
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
