"""What Compose and swarm are told: hardened, bounded, without a secret, in one voice with settings and monitoring."""

import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from audit.proof.keys import parse_pem

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
STACK = ROOT / "deploy" / "swarm" / "stack.yml"
DEV = ROOT / "deploy" / "compose" / "dev.yml"
EXAMPLE = ROOT / ".env.example"
OURS = ("orchestrator", "worker", "sequencer", "migrate")
STORES = ("postgres", "mongo", "redis")
# Docker's own lists (cli/compose/types): what `docker stack deploy` drops with a warning, and what it refuses.
IGNORED_BY_SWARM = {
    "build", "cgroup_parent", "cgroupns_mode", "container_name", "devices", "domainname", "expose", "external_links",
    "ipc", "links", "mac_address", "network_mode", "pid", "privileged", "restart", "security_opt", "shm_size",
    "tmpfs", "userns_mode",
}  # fmt: skip
REFUSED_BY_SWARM = {
    "cpu_quota", "cpu_shares", "cpus", "cpuset", "depends_on", "extends", "mem_limit", "memswap_limit", "pids_limit",
    "profiles", "volume_driver", "volumes_from",
}  # fmt: skip


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


SERVICES: dict[str, dict[str, Any]] = load(COMPOSE)["services"]
SWARM: dict[str, dict[str, Any]] = load(STACK)["services"]
EVERY = [pytest.param(service, id=name) for name, service in SERVICES.items()]
EVERYWHERE = [*EVERY, *(pytest.param(service, id=f"swarm-{name}") for name, service in SWARM.items())]


def list_settings() -> set[str]:
    """Return the names that the program reads from its environment."""
    text = "\n".join(path.read_text() for path in (ROOT / "orchestrator_site").glob("*.py"))
    plain = set(re.findall(r'(?:read_\w+|environ\.get|completed_by=)\(?"([A-Z_]+)"', text))
    secret = set(re.findall(r'(?:read_(?:text|address|url)\(|completed_by=)"([A-Z_]+)"', text))
    return plain | {f"{name}_FILE" for name in secret} | set(re.findall(r'"(FORWARDED_ALLOW_IPS)"', text))


def list_variables(text: str) -> dict[str, str]:
    """Return the variables that a file takes from outside, each with what follows its name: `:?…` or `:-…`."""
    return dict(re.findall(r"\$\{(\w+)([^}]*)\}", text))


def test_the_services_are_those_that_everything_else_names() -> None:
    assert set(SERVICES) == {*OURS, *STORES, "prometheus", "alertmanager", "grafana"}
    assert set(SWARM) == {*OURS, *STORES}


@pytest.mark.parametrize("service", EVERYWHERE)
def test_every_service_is_bounded_and_has_no_rights(service: dict[str, Any]) -> None:
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert service["logging"] == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "5"}}
    assert "stop_grace_period" in service
    assert not {"cap_add", "container_name", "privileged", "network_mode", "pid", "ipc", "devices"} & set(service)
    assert service.get("user", "1001:1001").split(":")[0].isdecimal()
    assert service.get("user", "").split(":")[0] != "0"


@pytest.mark.parametrize("service", EVERYWHERE)
def test_every_service_that_stays_says_how_it_is(service: dict[str, Any]) -> None:
    health = service["healthcheck"]
    if service["command"] == ["prepare"] if "command" in service else False:
        assert health == {"disable": True}
    else:
        assert health["test"][0] in {"CMD", "CMD-SHELL"}
        assert {"interval", "timeout", "start_period", "retries"} <= set(health)


@pytest.mark.parametrize("service", EVERY)
def test_every_service_of_compose_gets_no_new_rights_and_comes_back(service: dict[str, Any]) -> None:
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == ("no" if service.get("command") == ["prepare"] else "unless-stopped")


@pytest.mark.parametrize("service", EVERYWHERE)
def test_every_image_is_pinned(service: dict[str, Any]) -> None:
    ours = service["image"].startswith("${ORCHESTRATOR_IMAGE:?")
    assert ours or re.search(r":v?\d+\.\d+(\.\d+)?$", service["image"])


def test_only_three_ports_are_published_and_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "orchestrator": ["127.0.0.1:3000:3000"],
        "grafana": ["127.0.0.1:3001:3000"],
        "prometheus": ["127.0.0.1:9090:9090"],
    }
    ports = [(name, port["published"]) for name, service in SWARM.items() for port in service.get("ports", [])]
    assert ports == [("orchestrator", 3000)]
    assert all(
        port.startswith("127.0.0.1:") for over in load(DEV)["services"].values() for port in over.get("ports", [])
    )


def test_what_needs_no_way_out_has_none() -> None:
    for document in (load(COMPOSE), load(STACK)):
        inside = {name for name, network in document["networks"].items() if network.get("internal")}
        assert inside == {"stores", "monitoring"}
        leaving = {name for name, service in document["services"].items() if "outside" in service["networks"]}
        assert leaving == {"orchestrator", "worker"}
        assert all(document["services"][name]["networks"] == ["stores"] for name in STORES)
    unmasked = load(COMPOSE)["networks"]["published"]["driver_opts"]
    assert unmasked == {"com.docker.network.bridge.enable_ip_masquerade": "false"}


@pytest.mark.parametrize("service", EVERYWHERE)
def test_no_secret_stands_in_an_environment(service: dict[str, Any]) -> None:
    for name, value in service.get("environment", {}).items():
        if re.search(r"PASSWORD|SECRET|TOKEN|_KEY", name):
            assert name.endswith("_FILE"), name
            assert value.removeprefix("/run/secrets/") in service["secrets"]
        if "://" in value and not value.startswith("${"):
            assert urlsplit(value).password is None
    named = {value for value in service.get("environment", {}).values() if value.startswith("/run/secrets/")}
    if service["image"].startswith("${ORCHESTRATOR_IMAGE"):
        assert {f"/run/secrets/{secret}" for secret in service["secrets"]} == named


@pytest.mark.parametrize("services", [SERVICES, SWARM], ids=["compose", "swarm"])
def test_whoever_may_verify_the_trail_has_its_key(services: dict[str, Any]) -> None:
    without = {name for name in OURS if "AUDIT_SIGNING_KEY_FILE" not in services[name]["environment"]}
    assert without == set()


def test_every_variable_of_ours_is_a_setting() -> None:
    known = list_settings()
    assert {"PORT", "SECRET_KEY_FILE", "MONGO_ARCHIVE_PASSWORD_FILE", "METRICS_PORT"} <= known
    for services in (SERVICES, SWARM):
        for name in OURS:
            assert set(services[name]["environment"]) <= known
    example = set(re.findall(r"^#?([A-Z_]+)=", EXAMPLE.read_text(), re.MULTILINE))
    assert example <= known | set(list_variables(COMPOSE.read_text()))


@pytest.mark.parametrize("services", [SERVICES, SWARM], ids=["compose", "swarm"])
def test_whatever_people_call_it_health_checks_and_alertmanager_are_answered(services: dict[str, Any]) -> None:
    served = services["orchestrator"]["environment"]["ALLOWED_HOSTS"].partition("$")[0].split(",")
    probe = re.findall(r"Host: (\w+)", (ROOT / "orchestrator_site" / "probe.py").read_text())
    alertmanager = load(ROOT / "monitoring" / "alertmanager" / "alertmanager.yml")
    (hook,) = alertmanager["receivers"][0]["webhook_configs"]
    assert len(probe) == 1
    assert {*probe, urlsplit(hook["url"]).hostname} <= set(served)


def test_alertmanager_reads_the_token_that_it_is_given() -> None:
    alertmanager = load(ROOT / "monitoring" / "alertmanager" / "alertmanager.yml")
    (hook,) = alertmanager["receivers"][0]["webhook_configs"]
    file = hook["http_config"]["authorization"]["credentials_file"]
    assert file.removeprefix("/run/secrets/") in SERVICES["alertmanager"]["secrets"]
    assert f"secrets/{Path(file).name}.txt" in (ROOT / "docs" / "deployment.md").read_text()


def test_what_must_be_set_is_asked_for_and_in_the_example() -> None:
    example = set(re.findall(r"^([A-Z_]+)=.", EXAMPLE.read_text(), re.MULTILINE))
    for path in (COMPOSE, STACK):
        demands = dict(re.findall(r"\$\{(\w+)(:[?-][^}]*)?\}", path.read_text()))
        assert all(rest for rest in demands.values()), "each says what is missing, or has a value"
        if path == COMPOSE:
            assert {name for name, rest in demands.items() if rest.startswith(":?")} <= example
    messages = re.findall(r"\$\{(\w+):\?([^}]+)\}", COMPOSE.read_text() + STACK.read_text())
    assert {name for name, _ in messages} >= {"ORCHESTRATOR_IMAGE", "SECRETS_DIR", "ALLOWED_HOSTS", "NFS_SERVER"}


def test_the_example_has_no_secret() -> None:
    text = EXAMPLE.read_text()
    assert not re.search(
        r"^#?\s*\w*(PASSWORD|SECRET_KEY|SIGNING_KEY|API_KEY|TOKEN|CLIENT_SECRET)\w*=", text, re.MULTILINE
    )
    assert not re.search(r"[0-9a-f]{20}|sk-|BEGIN|://[^/\s:]+:[^/\s]*@", text)
    assert {"/secrets/", "/.env"} <= set((ROOT / ".gitignore").read_text().split())


def test_one_command_makes_every_secret_once(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    command = ["sh", str(ROOT / "deploy" / "compose" / "make-secrets.sh"), str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    made = {path.name: path.read_bytes() for path in folder.iterdir()}
    wanted = {Path(secret["file"]).name for secret in load(COMPOSE)["secrets"].values()}
    assert set(made) == wanted
    filled = [content for content in made.values() if content]
    assert len(set(filled)) == len(filled) == 9
    assert all(len(content) >= 64 for content in filled)
    parse_pem(made["audit_signing_key.txt"].decode())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == made


def test_redis_gets_its_password_also_where_its_configuration_is_read_only(tmp_path: Path) -> None:
    given, made, secret = tmp_path / "given.conf", tmp_path / "made.conf", tmp_path / "redis_password"
    given.write_bytes((ROOT / "deploy" / "compose" / "redis.conf").read_bytes())
    given.chmod(load(STACK)["services"]["redis"]["configs"][0]["mode"])
    secret.write_text("a-password")
    script = (ROOT / "deploy" / "compose" / "redis-start.sh").read_text()
    moved = {"/etc/redis/redis.conf": given, "/tmp/redis.conf": made, "/run/secrets/redis_password": secret}
    for place, here in {**moved, "exec redis-server": "exec cat"}.items():
        assert place in script
        script = script.replace(place, str(here))
    said = subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True).stdout
    assert said.endswith(" >a-password\n")
    assert made.stat().st_mode & 0o777 == 0o600, "its own user could not have added the password"


def test_what_is_named_is_there() -> None:
    for document, folder in ((load(COMPOSE), ROOT), (load(DEV), ROOT), (load(STACK), STACK.parent)):
        mounts = [mount for one in document["services"].values() for mount in one.get("volumes", [])]
        sources = [m.split(":")[0] if isinstance(m, str) else m.get("source", "") for m in mounts]
        for source in filter(None, sources):
            assert source in document.get("volumes", {}) or (folder / source).exists(), source
        for config in document.get("configs", {}).values():
            assert (folder / config["file"]).is_file()
        for one in document["services"].values():
            assert set(one.get("secrets", [])) <= set(document.get("secrets", {}))
            assert {config["source"] for config in one.get("configs", [])} <= set(document.get("configs", {}))
    assert set(load(DEV)["services"]) <= set(SERVICES)


def test_who_waits_for_whom_can_reach_them() -> None:
    for service in SERVICES.values():
        for name, wait in service.get("depends_on", {}).items():
            assert set(service["networks"]) & set(SERVICES[name]["networks"])
            one_shot = SERVICES[name]["restart"] == "no"
            assert wait["condition"] == ("service_completed_successfully" if one_shot else "service_healthy")


def test_prometheus_looks_at_what_runs() -> None:
    config = load(ROOT / "monitoring" / "prometheus" / "prometheus.yml")
    targets = set(re.findall(r"\b([a-z]+):(\d+)\b", str(config)))
    names = {name for job in config["scrape_configs"] for sd in job.get("dns_sd_configs", []) for name in sd["names"]}
    ours = {name for name, port in targets if port == "9464"} | names
    assert ours == {"orchestrator", "worker", "sequencer"}
    assert {name for name, _ in targets} <= set(SERVICES) | {"localhost"}
    assert all("monitoring" in SERVICES[name]["networks"] for name in ours)
    assert config["global"]["scrape_interval"] == "15s"


def test_swarm_neither_ignores_nor_refuses_anything() -> None:
    for name, service in SWARM.items():
        assert not (IGNORED_BY_SWARM | REFUSED_BY_SWARM) & set(service), name
    assert all(secret == {"external": True} for secret in load(STACK)["secrets"].values())
    assert set(load(STACK)["secrets"]) <= set(load(COMPOSE)["secrets"])


@pytest.mark.parametrize("name", OURS)
def test_swarm_copies_nothing_to_the_file_server(name: str) -> None:
    (state,) = [mount for mount in SWARM[name]["volumes"] if mount.get("source") == "state"]
    assert load(STACK)["volumes"]["state"]["driver_opts"]["type"] == "nfs"
    assert state["volume"] == {"nocopy": True}


def test_swarm_updates_one_at_a_time_and_goes_back_by_itself() -> None:
    assert SWARM["orchestrator"]["deploy"]["replicas"] == 3
    for name in ("orchestrator", "worker", "sequencer"):
        update = SWARM[name]["deploy"]["update_config"]
        assert (update["parallelism"], update["order"], update["failure_action"]) == (1, "start-first", "rollback")
        assert SWARM[name]["deploy"]["rollback_config"]["parallelism"] == 1
    assert SWARM["migrate"]["deploy"]["mode"] == "replicated-job"
    for name, needed in {"orchestrator": ("SHUTDOWN_DRAIN_SECONDS", "SHUTDOWN_GRACE_SECONDS"),
                         "worker": ("WORKER_DRAIN_SECONDS",)}.items():  # fmt: skip
        seconds = [int(SWARM[name]["environment"][setting]) for setting in needed]
        assert 0 not in seconds
        assert sum(seconds) + 10 <= int(SWARM[name]["stop_grace_period"].removesuffix("s"))
    for name in STORES:
        deploy = SWARM[name]["deploy"]
        assert (deploy["replicas"], deploy["update_config"]["order"]) == (1, "stop-first")
        assert deploy["placement"]["constraints"] == ["node.labels.orchestrator.stores == true"]


@pytest.mark.parametrize("name", SWARM)
def test_swarm_runs_the_same_as_compose(name: str) -> None:
    swarm, compose = SWARM[name], SERVICES[name]
    for key in ("command", "healthcheck", "stop_grace_period", "stop_signal", "user", "networks"):
        assert swarm.get(key) == compose.get(key), key
    assert name in OURS or swarm["image"] == compose["image"]
    assert swarm["deploy"]["resources"]["limits"] == compose["deploy"]["resources"]["limits"]
    assert set(swarm["secrets"]) <= set(compose["secrets"])
    shared = set(swarm.get("environment", ())) & set(compose.get("environment", {}))
    assert not shared - {"ALLOWED_HOSTS"} - {k for k in shared if swarm["environment"][k] == compose["environment"][k]}
    assert name not in OURS or shared >= {"STATE_DATABASE_URL", "DATABASE_URL", "REDIS_URL", "SECRET_KEY_FILE"}


@pytest.mark.parametrize("services", [SERVICES, SWARM], ids=["compose", "swarm"])
def test_who_looks_after_a_process_asks_at_its_own_port(services: dict[str, dict[str, Any]]) -> None:
    """ALLOWED_HOSTS names what people call it, so Host: localhost is refused on port 3000."""
    for name in ("orchestrator", "worker", "sequencer"):
        assert services[name]["healthcheck"]["test"][-1] == "http://127.0.0.1:9464/health", name


def test_what_is_under_way_has_time_to_end_and_compose_waits_for_it() -> None:
    for name, setting in {"orchestrator": "SHUTDOWN_GRACE_SECONDS", "worker": "WORKER_DRAIN_SECONDS"}.items():
        seconds = int(SERVICES[name]["environment"][setting])
        assert 10 <= seconds <= int(SERVICES[name]["stop_grace_period"].removesuffix("s")) - 5, name
