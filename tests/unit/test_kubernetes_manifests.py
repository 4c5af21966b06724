"""What would be applied to a cluster: each container at the restricted level, and names that must agree do agree."""

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.kustomize import KUBERNETES, OVERLAYS, Manifest, containers_of, find, pod_of, render, select

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("agents", "audit", "orchestrator_site", "toolgate")
LIBRARIES_READ = {"FORWARDED_ALLOW_IPS", "PGSSLMODE"}  # uvicorn, libpq
ROLES = {
    "orchestrator": ["serve", "--only", "web", "--host", "0.0.0.0"],
    "worker": ["worker"],
    "sequencer": ["sequencer"],
    "migrate": ["prepare"],
}
STORES = {"postgres": 5432, "mongo": 27017, "redis": 6379}
KEPT_VOLUMES = {"configMap", "secret", "emptyDir", "persistentVolumeClaim"}

WORKLOADS = [(overlay, manifest) for overlay in OVERLAYS for manifest in render(overlay) if pod_of(manifest)]
NAMES = [f"{overlay}-{manifest['metadata']['name']}" for overlay, manifest in WORKLOADS]
overlays = pytest.mark.parametrize("overlay", OVERLAYS)
workloads = pytest.mark.parametrize(("overlay", "manifest"), WORKLOADS, ids=NAMES)


def settings_of(overlay: str, container: Manifest) -> dict[str, str]:
    """Return what a container finds in its environment."""
    maps = find(overlay, "ConfigMap")
    values: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        values |= maps[source["configMapRef"]["name"]]["data"]
    return values | {pair["name"]: pair["value"] for pair in container.get("env", ())}


@cache
def list_settings() -> set[str]:
    """Return the variables that the product reads, each by a call with its name."""
    names = set()
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and re.fullmatch(r"(os\.environ\.get|read_\w+)", ast.unparse(node.func)):
                values = [*node.args[:1], *(word.value for word in node.keywords if word.arg == "completed_by")]
                names |= {str(value.value) for value in values if isinstance(value, ast.Constant)}
    return names


def test_there_is_something_to_look_at() -> None:
    assert set(NAMES) == {f"production-{name}" for name in ROLES} | {f"dev-{name}" for name in ROLES | STORES}


# --- each container -------------------------------------------------------------------------------------------
@workloads
def test_a_pod_is_at_the_restricted_level(overlay: str, manifest: Manifest) -> None:
    pod = pod_of(manifest)
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == (999 if manifest["metadata"]["name"] in STORES else 1001)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    for volume in pod["volumes"]:
        assert len(volume.keys() & KEPT_VOLUMES) == 1, volume
    for container in containers_of(manifest):
        own = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert container["securityContext"] == own, container["name"]
        assert not any("hostPort" in port for port in container.get("ports", ()))


@overlays
def test_the_namespace_refuses_what_is_below_that_level(overlay: str) -> None:
    (namespace,) = find(overlay, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    here = {manifest["metadata"].get("namespace") for manifest in render(overlay) if manifest["kind"] != "Namespace"}
    assert here == {namespace["metadata"]["name"]}


@workloads
def test_a_pod_has_no_token_and_no_variables_that_it_was_not_given(overlay: str, manifest: Manifest) -> None:
    pod = pod_of(manifest)
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False


@workloads
def test_a_container_is_bounded(overlay: str, manifest: Manifest) -> None:
    for container in containers_of(manifest):
        resources = container["resources"]
        for bound in ("requests", "limits"):
            assert resources[bound].keys() == {"cpu", "memory", "ephemeral-storage"}, container["name"]
    for volume in pod_of(manifest)["volumes"]:
        assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"], volume


@workloads
def test_an_image_has_a_tag_or_a_digest(overlay: str, manifest: Manifest) -> None:
    for container in containers_of(manifest):
        assert re.fullmatch(r"[^\s:@]+(:(?!latest$)[\w.-]+|@sha256:[0-9a-f]{64})", container["image"]), container[
            "image"
        ]
    if manifest["metadata"]["name"] in ROLES:
        assert len({container["image"] for container in containers_of(manifest)}) == 1


@workloads
def test_what_is_mounted_is_there_and_what_is_there_is_mounted(overlay: str, manifest: Manifest) -> None:
    volumes = {volume["name"]: volume for volume in pod_of(manifest)["volumes"]}
    claimed = {claim["metadata"]["name"] for claim in manifest["spec"].get("volumeClaimTemplates", ())}
    mounted = {mount["name"] for container in containers_of(manifest) for mount in container["volumeMounts"]}
    assert mounted == volumes.keys() | claimed
    claims, maps = find(overlay, "PersistentVolumeClaim"), find(overlay, "ConfigMap")
    for volume in volumes.values():
        assert volume.get("persistentVolumeClaim", {}).get("claimName") in {None, *claims}
        assert volume.get("configMap", {}).get("name") in {None, *maps}
    for container in containers_of(manifest):
        paths = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert "/tmp" in paths, f"{container['name']} can write nowhere"
        assert len(paths) == len(set(paths))


@workloads
def test_a_process_that_stays_is_probed_at_ports_that_it_has(overlay: str, manifest: Manifest) -> None:
    if manifest["kind"] == "Job":
        return
    for container in pod_of(manifest)["containers"]:
        ports = {port["name"] for port in container["ports"]}
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = container[kind]
            asked = probe.get("httpGet") or probe.get("tcpSocket")
            assert asked["port"] in ports if asked else probe["exec"]["command"]


# --- each role ------------------------------------------------------------------------------------------------
@overlays
@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_the_same_image_with_another_command(overlay: str, role: str) -> None:
    manifest = (find(overlay, "Deployment") | find(overlay, "Job"))[role]
    (container,) = pod_of(manifest)["containers"]
    assert container["args"] == ROLES[role]
    assert "command" not in container, "it would go past the image's init"


@overlays
def test_every_variable_is_one_that_is_read(overlay: str) -> None:
    read = list_settings()
    assert {"PORT", "SECRET_KEY", "MONGO_PASSWORD", "ORCHESTRATOR_VAR"} <= read
    for role, manifest in (find(overlay, "Deployment") | find(overlay, "Job")).items():
        for container in containers_of(manifest):
            given = {name.removesuffix("_FILE") for name in settings_of(overlay, container)}
            assert given - read - LIBRARIES_READ == set(), f"{role} is given what nobody reads"


@workloads
def test_a_secret_is_a_file_that_is_mounted_and_no_value(overlay: str, manifest: Manifest) -> None:
    volumes = {volume["name"]: volume for volume in pod_of(manifest)["volumes"]}
    for container in containers_of(manifest):
        files = {}
        for mount in container["volumeMounts"]:
            for item in volumes.get(mount["name"], {}).get("secret", {}).get("items", ()):
                files[f"{mount['mountPath']}/{item['path']}"] = item["key"]
        for name, value in settings_of(overlay, container).items():
            assert not re.search(r"(PASSWORD|SECRET|SECRET_KEY|API_KEY|SIGNING_KEY)$", name), f"{name} is a value"
            assert not re.search(r"://[^/@]*:[^/@]*@", value), f"{name} has a password in it"
            if name.endswith("_FILE"):
                assert value in files, f"{container['name']} has no {value}"


def test_the_script_makes_every_key_of_every_secret() -> None:
    script = (KUBERNETES / "make-secrets.sh").read_text()
    made = {f"{name}-password" for name in re.findall(r"for name in (.+-root); do", script)[0].split()}
    made |= set(re.findall(r"\$folder/\w+/([a-z-]+)\"", script))
    wanted = {
        (volume["secret"]["secretName"], item["key"])
        for _, manifest in WORKLOADS
        for volume in pod_of(manifest)["volumes"]
        for item in volume.get("secret", {}).get("items", ())
    }
    assert {key for _, key in wanted} == made
    page = (KUBERNETES / "README.md").read_text()
    assert {name for name, _ in wanted} == {f"orchestrator-{name}" for name in ("keys", "stores", "vendors")}
    assert [key for _, key in wanted if f"`{key}`" not in page and key != "mongo-root-password"] == []


@overlays
def test_who_may_change_the_audit_store_runs_no_skill(overlay: str) -> None:
    holders = {
        role
        for role, manifest in (find(overlay, "Deployment") | find(overlay, "Job")).items()
        for container in pod_of(manifest)["containers"]
        if {"MONGO_ARCHIVE_PASSWORD_FILE", "DATABASE_ARCHIVE_URL"} & settings_of(overlay, container).keys()
    }
    assert holders == {"sequencer", "migrate"}


@overlays
@pytest.mark.parametrize("role", ["orchestrator", "worker", "sequencer"])
def test_a_deployment_rolls_without_a_gap_and_ends_in_time(overlay: str, role: str) -> None:
    manifest = find(overlay, "Deployment")[role]
    spec, pod = manifest["spec"], pod_of(manifest)
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    settings = settings_of(overlay, pod["containers"][0])
    drain, grace = int(settings["SHUTDOWN_DRAIN_SECONDS"]), int(settings["SHUTDOWN_GRACE_SECONDS"])
    slowest = {"orchestrator": drain + grace, "worker": int(settings["WORKER_DRAIN_SECONDS"]), "sequencer": 5}[role]
    assert pod["terminationGracePeriodSeconds"] >= slowest + 5
    probe = pod["containers"][0]["readinessProbe"]
    assert drain > probe["periodSeconds"] * probe["failureThreshold"]
    assert {rule["topologyKey"] for rule in pod["topologySpreadConstraints"]} == {
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    }
    (waiting,) = pod["initContainers"]
    assert "migrate --check" in waiting["command"][-1]


@overlays
def test_metrics_and_probes_have_the_port_that_is_told_to_prometheus(overlay: str) -> None:
    for manifest in find(overlay, "Deployment").values():
        (container,) = pod_of(manifest)["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        settings = settings_of(overlay, container)
        assert str(ports["metrics"]) == settings["METRICS_PORT"]
        assert ports.get("http") in {None, int(settings["PORT"])}
        annotations = manifest["spec"]["template"]["metadata"]["annotations"]
        assert annotations["prometheus.io/port"] == settings["METRICS_PORT"]


@overlays
def test_a_probe_names_a_host_that_is_served(overlay: str) -> None:
    (container,) = pod_of(find(overlay, "Deployment")["orchestrator"])["containers"]
    (header,) = container["readinessProbe"]["httpGet"]["httpHeaders"]
    assert header["value"] in settings_of(overlay, container)["ALLOWED_HOSTS"].split(",")


# --- names that must agree ------------------------------------------------------------------------------------
@overlays
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "PodDisruptionBudget"])
def test_a_selector_takes_the_pods_of_its_own_name(overlay: str, kind: str) -> None:
    for name, manifest in find(overlay, kind).items():
        assert select(overlay, manifest["spec"]["selector"]) == {name}


@overlays
def test_a_service_leads_to_a_port_of_its_pods(overlay: str) -> None:
    services = find(overlay, "Service")
    assert services.keys() == ({"orchestrator", *STORES} if overlay == "dev" else {"orchestrator"})
    for name, service in services.items():
        workload = (find(overlay, "Deployment") | find(overlay, "StatefulSet"))[name]
        assert select(overlay, {"matchLabels": service["spec"]["selector"]}) == {name}
        ports = {port["name"]: port["containerPort"] for port in pod_of(workload)["containers"][0]["ports"]}
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]
        assert workload["kind"] != "StatefulSet" or workload["spec"]["serviceName"] == name


@overlays
def test_the_ingress_leads_to_the_service(overlay: str) -> None:
    (ingress,) = find(overlay, "Ingress").values()
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    service = find(overlay, "Service")[path["backend"]["service"]["name"]]
    assert path["backend"]["service"]["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}
    if "host" in rule:
        settings = settings_of(overlay, pod_of(find(overlay, "Deployment")["orchestrator"])["containers"][0])
        assert rule["host"] in settings["ALLOWED_HOSTS"].split(",")
        assert settings["CONSOLE_URL"] == f"https://{rule['host']}"
        assert ingress["spec"]["tls"][0]["hosts"] == [rule["host"]]


def test_sockets_may_be_idle_behind_the_ingress_and_uploads_pass_it() -> None:
    from orchestrator_site.front import MAX_BODY_BYTES

    annotations = find("production", "Ingress")["orchestrator"]["metadata"]["annotations"]
    told = {name.removeprefix("nginx.ingress.kubernetes.io/"): value for name, value in annotations.items()}
    assert int(told["proxy-read-timeout"]) >= 3600
    assert int(told["proxy-send-timeout"]) >= 3600
    assert int(told["proxy-body-size"].removesuffix("m")) * 1_000_000 >= MAX_BODY_BYTES


def test_the_numbers_of_pods_are_the_autoscalers_alone() -> None:
    scalers = find("production", "HorizontalPodAutoscaler")
    assert scalers.keys() == {"orchestrator", "worker"}
    for name, scaler in scalers.items():
        assert scaler["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        assert 3 <= scaler["spec"]["minReplicas"] < scaler["spec"]["maxReplicas"]
        assert "replicas" not in find("production", "Deployment")[name]["spec"]
    assert find("dev", "HorizontalPodAutoscaler") == {}


def test_workers_follow_a_metric_that_the_adapter_gives() -> None:
    first = find("production", "HorizontalPodAutoscaler")["worker"]["spec"]["metrics"][0]["external"]
    (rule,) = yaml.safe_load((KUBERNETES / "monitoring" / "prometheus-adapter.yml").read_text())["rules"]["external"]
    assert rule["name"]["as"] == first["metric"]["name"] == rule["seriesQuery"].partition("{")[0]
    sources = [path.read_text() for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert any(f'"{first["metric"]["name"]}"' in text for text in sources), "nothing emits it"


@pytest.mark.parametrize("role", ["orchestrator", "worker", "sequencer"])
def test_a_pod_is_scraped_by_the_job_that_rules_know(role: str) -> None:
    (job,) = yaml.safe_load((KUBERNETES / "monitoring" / "scrape.yml").read_text())["scrape_configs"]
    label = {"__meta_kubernetes_pod_label_app_kubernetes_io_name": role}
    running = {"source_labels": ["__meta_kubernetes_pod_phase"], "regex": "Running", "action": "keep"}
    assert running in job["relabel_configs"], "an evicted pod would be a process that does not answer for ever"
    named = [
        re.sub(rule["regex"], rule["replacement"].replace("$", "\\"), label[rule["source_labels"][0]])
        for rule in job["relabel_configs"]
        if rule.get("target_label") == "job" and re.fullmatch(rule["regex"], label[rule["source_labels"][0]])
    ]
    assert named == [f"orchestrator-{'web' if role == 'orchestrator' else role}"]


# --- what the dev overlay has of its own ----------------------------------------------------------------------
def test_mongodb_has_the_roles_that_are_documented() -> None:
    script = (KUBERNETES / "overlays" / "dev" / "mongo-users.js").read_text()
    roles = json.loads(re.findall(r"const roles = (\[.*?\n\]);", script, re.DOTALL)[0])
    assert roles == json.loads((ROOT / "docs" / "mongodb-roles.json").read_text())
    settings = find("dev", "ConfigMap")
    urls = " ".join(value for manifest in settings.values() for value in manifest["data"].values())
    for user in re.findall(r'account\("(\w+)"', script):
        assert f"mongodb://{user}@" in urls


def test_the_stores_addresses_are_the_services() -> None:
    urls = next(m["data"] for name, m in find("dev", "ConfigMap").items() if name.startswith("orchestrator-settings"))
    hosts = [
        urls[name].rpartition("@")[2].rpartition("//")[2]
        for name in ("STATE_DATABASE_URL", "DATABASE_URL", "REDIS_URL")
    ]
    assert [host.partition("/")[0] for host in hosts] == [f"{name}:{port}" for name, port in STORES.items()]
    assert "noeviction" in json.dumps(find("dev", "StatefulSet")["redis"])
