"""Who reaches whom in the cluster: only what a network policy lets through, and of the internet only the internet."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from tests.kustomize import OVERLAYS, Manifest, find, select

ROLES = {"orchestrator", "worker", "sequencer", "migrate"}
STORES = {"postgres": 5432, "mongo": 27017, "redis": 6379}
METADATA = ("169.254.169.254", "fd00:ec2::254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "::ffff:169.254.169.254")
HOUSE = ("10.1.2.3", "172.16.0.1", "192.168.1.1", "127.0.0.1", "100.64.0.1", "::1", "fd12::1", "fe80::1")
PUBLIC = ("1.1.1.1", "172.32.0.1", "192.169.0.1", "2606:4700:4700::1111")

overlays = pytest.mark.parametrize("overlay", OVERLAYS)


@overlays
def test_nothing_passes_unless_it_is_let_through(overlay: str) -> None:
    deny = find(overlay, "NetworkPolicy")["default-deny"]["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def list_rules(overlay: str, way: str) -> list[tuple[set[str], list[Manifest], set[int]]]:
    """Return for each rule whose pods it is for, whom it lets through, and at which ports."""
    return [
        (select(overlay, policy["spec"]["podSelector"]), rule["from" if way == "ingress" else "to"], ports_of(rule))
        for policy in find(overlay, "NetworkPolicy").values()
        for rule in policy["spec"].get(way, ())
    ]


def ports_of(rule: Manifest) -> set[int]:
    return {port["port"] for port in rule["ports"]}


@overlays
def test_only_the_ingress_and_prometheus_come_in(overlay: str) -> None:
    outside = [
        (pods, peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], ports)
        for pods, peers, ports in list_rules(overlay, "ingress")
        for peer in peers
        if "namespaceSelector" in peer
    ]
    assert outside == [
        ({"orchestrator"}, "ingress-nginx", {3000}),
        ({"orchestrator", "worker", "sequencer"}, "monitoring", {9464}),
    ]


@overlays
def test_every_role_reaches_its_stores(overlay: str) -> None:
    reached: dict[int, set[str]] = {}
    for pods, _, ports in list_rules(overlay, "egress"):
        for port in ports:
            reached.setdefault(port, set()).update(pods)
    assert [reached[port] for port in STORES.values()] == [ROLES] * 3
    assert reached[53] >= ROLES
    assert reached.keys() == {53, 443, *STORES.values()}
    assert reached[443] == {"orchestrator", "worker"}


def test_a_store_of_the_dev_overlay_lets_the_roles_in_and_they_may_go_there() -> None:
    inwards = {next(iter(pods)): (peers, ports) for pods, peers, ports in list_rules("dev", "ingress")[2:]}
    outwards = [
        (pods, select("dev", peers[0]["podSelector"]), ports)
        for pods, peers, ports in list_rules("dev", "egress")
        if "podSelector" in peers[0] and "namespaceSelector" not in peers[0]
    ]
    assert inwards.keys() == STORES.keys()
    for store, port in STORES.items():
        peers, ports = inwards[store]
        assert (select("dev", peers[0]["podSelector"]), ports) == (ROLES, {port})
        assert (ROLES, {store}, {port}) in outwards


@pytest.mark.parametrize("address", [*METADATA, *HOUSE, *PUBLIC])
def test_the_internet_is_neither_the_house_nor_the_clouds_metadata(address: str) -> None:
    ((_, peers, _),) = [rule for rule in list_rules("production", "egress") if rule[2] == {443}]
    assert any(lets_through(peer["ipBlock"], address) for peer in peers) == (address in PUBLIC)


def lets_through(block: dict[str, Any], address: str) -> bool:
    def holds(network: str) -> bool:
        return ip_address(address) in ip_network(network)

    return holds(block["cidr"]) and not any(map(holds, block["except"]))
