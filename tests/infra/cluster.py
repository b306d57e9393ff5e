"""What infra/k8s comes to, rendered as `kubectl apply -k` and Prefect's worker would."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml

from tests.checkouts import REPO

K8S = REPO / "infra/k8s"
OVERLAYS = sorted(folder.name for folder in (K8S / "overlays").iterdir())
Object = dict[str, Any]

needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl, which renders kustomize, is not installed"
)
overlays = pytest.mark.parametrize("overlay", OVERLAYS)


@cache
def rendered(overlay: str) -> list[Object]:
    command = ["kubectl", "kustomize", str(K8S / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def one(overlay: str, kind: str, name: str) -> Object:
    [found] = [o for o in rendered(overlay) if o["kind"] == kind and o["metadata"]["name"] == name]
    return found


def pods(overlay: str) -> Iterator[Object]:
    for thing in rendered(overlay):
        if thing["kind"] in ("Deployment", "StatefulSet"):
            yield thing["spec"]["template"]


def valid(thing: Object) -> None:
    import kubernetes_validate

    kubernetes_validate.validate(thing, "1.33", strict=True)


def restricted(pod: Object) -> None:
    """What the Pod Security Standard `restricted` asks, which the namespace enforces."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def secrets(thing: object) -> Iterator[str]:
    """Names of the Secrets that an object reads."""
    if isinstance(thing, dict):
        for key, value in thing.items():
            if key in ("secretRef", "secretKeyRef"):
                yield value["name"]
            yield from secrets(value)
    elif isinstance(thing, list):
        for item in thing:
            yield from secrets(item)


@cache
def job(**asked: Any) -> Object:
    """The Job that a worker makes of the template, as Prefect renders it."""
    from uuid import uuid4

    from prefect.client.schemas.objects import FlowRun
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

    template = json.loads((K8S / "base/job-template.json").read_text())
    values = {key: json.loads(value) for key, value in asked.items()}
    # A client is for looking up blocks, and the template names none: nobody is asked.
    nobody: Any = object()
    configuration = asyncio.run(
        KubernetesWorkerJobConfiguration.from_template_and_values(template, values, client=nobody)
    )
    configuration.prepare_for_flow_run(FlowRun(id=uuid4(), flow_id=uuid4(), name="brave-soup"))
    manifest = configuration.job_manifest
    valid(manifest)
    return dict(manifest["spec"])
