"""Who may connect to whom by the NetworkPolicies of an overlay, as Kubernetes defines them."""

import ipaddress
from dataclasses import dataclass, field
from typing import Any

from tests.infra.cluster import Object, rendered

NAME = "app.kubernetes.io/name"
# Addresses for documentation, in the place of those that a user fills in.
PLACES = {
    "POSTGRES_CIDR": "203.0.113.1/32",
    "S3_CIDR": "203.0.113.2/32",
    "GIT_CIDR": "203.0.113.3/32",
    "KUBERNETES_CIDR": "203.0.113.4/32",
}


@dataclass(frozen=True)
class Peer:
    """A pod, or what is outside.

    Attributes:
        labels: of a pod.
        namespace: of a pod.
        address: of what is outside.
        ports: numbers by name.
    """

    labels: dict[str, str] = field(default_factory=dict)
    namespace: str = "modelsoup"
    address: str = ""
    ports: dict[str, int] = field(default_factory=dict)


def pod(name: str, namespace: str = "modelsoup", label: str = NAME, **ports: int) -> Peer:
    return Peer({label: name}, namespace, ports=ports)


def connects(overlay: str, source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether the policies of both ends let a connection pass."""
    policies = [o["spec"] for o in rendered(overlay) if o["kind"] == "NetworkPolicy"]
    out = _passes(policies, "Egress", source, target, target, port, protocol)
    return out and _passes(policies, "Ingress", target, source, target, port, protocol)


def _passes(
    policies: list[Object], way: str, own: Peer, other: Peer, target: Peer, port: int, protocol: str
) -> bool:
    if own.address or own.namespace != "modelsoup":
        return True  # none of our policies is about it
    about = [p for p in policies if way in p["policyTypes"] and _has(p["podSelector"], own.labels)]
    rules = [rule for p in about for rule in p.get(way.lower(), [])]
    peers = "to" if way == "Egress" else "from"
    return not about or any(
        (peers not in rule or any(_is(peer, other) for peer in rule[peers]))
        and ("ports" not in rule or any(_at(p, target, port, protocol) for p in rule["ports"]))
        for rule in rules
    )


def _has(selector: Object, labels: dict[str, str]) -> bool:
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def _is(peer: Object, other: Peer) -> bool:
    if "ipBlock" in peer:
        if not other.address:
            return False
        cidr = peer["ipBlock"]["cidr"]
        inside = [PLACES.get(cidr, cidr)]
        address = ipaddress.ip_address(other.address)
        if any(address in ipaddress.ip_network(e) for e in peer["ipBlock"].get("except", [])):
            return False
        return any(address in ipaddress.ip_network(block) for block in inside)
    if other.address:
        return False
    if "namespaceSelector" in peer:
        named = {"kubernetes.io/metadata.name": other.namespace}
        if not _has(peer["namespaceSelector"], named):
            return False
    elif other.namespace != "modelsoup":
        return False
    return _has(peer.get("podSelector", {}), other.labels)


def _at(rule: Any, target: Peer, port: int, protocol: str) -> bool:
    wanted = rule["port"]
    number = target.ports.get(wanted) if isinstance(wanted, str) else wanted
    return number == port and rule.get("protocol", "TCP") == protocol
