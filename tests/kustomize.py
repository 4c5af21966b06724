"""Render the folders of `deploy/kubernetes` in Python: as much of kustomize as they use, and a refusal of all else.

It lets rules over what would be applied run anywhere, fast; `tests/deploy` holds it against kustomize itself.
"""

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

type Manifest = dict[str, Any]

KUBERNETES = Path(__file__).resolve().parents[1] / "deploy" / "kubernetes"
OVERLAYS = ("dev", "production")
_KNOWN = {"apiVersion", "kind", "namespace", "resources", "configMapGenerator", "images", "patches"}
_CLUSTER_WIDE = {"Namespace"}
_HASH_LETTERS = str.maketrans("013ae", "ghkmt")


@cache
def render(overlay: str) -> list[Manifest]:
    """Return, to be read only, what `kubectl kustomize overlays/NAME` prints, in no promised order."""
    manifests, generated = _build(KUBERNETES / "overlays" / overlay)
    names = {name: f"{name}-{_digest(data)}" for name, data in generated.items()}
    namespace = _load(KUBERNETES / "overlays" / overlay / "kustomization.yaml")[0]["namespace"]
    maps = [_config_map(names[name], namespace, data) for name, data in generated.items()]
    return [_rename(manifest, names) for manifest in manifests] + maps


def _build(folder: Path) -> tuple[list[Manifest], dict[str, dict[str, str]]]:
    """Return a folder's manifests, and the data of the ConfigMaps that it makes, by name without digest."""
    (kustomization,) = _load(folder / "kustomization.yaml")
    assert kustomization.keys() <= _KNOWN, f"{folder}: this renders no {sorted(kustomization.keys() - _KNOWN)}"
    manifests: list[Manifest] = []
    generated: dict[str, dict[str, str]] = {}
    for resource in kustomization["resources"]:
        path = folder / resource
        found, made = _build(path) if path.is_dir() else (_load(path), {})
        manifests += found
        generated |= made
    for generator in kustomization.get("configMapGenerator", ()):
        _generate(generator, folder, generated)
    for patch in kustomization.get("patches", ()):
        manifests = _patch(patch, folder, manifests)
    for manifest in manifests:
        if "namespace" in kustomization and manifest["kind"] not in _CLUSTER_WIDE:
            manifest["metadata"]["namespace"] = kustomization["namespace"]
        for container in containers_of(manifest):
            _set_image(container, kustomization.get("images", ()))
    return manifests, generated


def _load(path: Path) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def _generate(generator: Manifest, folder: Path, generated: dict[str, dict[str, str]]) -> None:
    assert generator.keys() <= {"name", "behavior", "envs", "literals", "files"}
    lines = [line for name in generator.get("envs", ()) for line in (folder / name).read_text().splitlines()]
    pairs = [line for line in (*lines, *generator.get("literals", ())) if line and not line.startswith("#")]
    data = {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
    data |= {name: (folder / name).read_text() for name in generator.get("files", ())}
    merges = generator.get("behavior") == "merge"
    assert merges == (generator["name"] in generated), f"{generator['name']}: there is one, or none to merge with"
    generated[generator["name"]] = generated.get(generator["name"], {}) | data


def _patch(patch: Manifest, folder: Path, manifests: list[Manifest]) -> list[Manifest]:
    assert patch.keys() <= {"path", "patch", "target"}
    changes = list(yaml.safe_load_all(patch["patch"])) if "patch" in patch else _load(folder / patch["path"])
    kind = patch.get("target", {}).get("kind")
    for change in changes:
        goals = [m for m in manifests if (m["kind"] == kind if kind else _id(m) == _id(change))]
        assert goals, f"{folder}: nothing is patched by {_id(change)}"
        if change.get("$patch") == "delete":
            manifests = [manifest for manifest in manifests if manifest not in goals]
        for goal in goals:
            name = goal["metadata"]["name"]
            _merge(goal, change)
            goal["metadata"]["name"] = name
    return manifests


def _id(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def _merge(into: Manifest, change: Manifest) -> None:
    """Merge as a strategic merge does for all lists that are patched here: they are taken as a whole."""
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _set_image(container: Manifest, images: list[Manifest]) -> None:
    name, _, _ = container["image"].partition(":")
    for image in images:
        if image["name"] == name:
            container["image"] = f"{image['newName']}:{image['newTag']}"


def _config_map(name: str, namespace: str, data: dict[str, str]) -> Manifest:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _digest(data: dict[str, str]) -> str:
    """Return what kustomize appends, so that other data is another name."""
    parts = {"data": data, "kind": "ConfigMap", "name": ""}  # the name is not known yet when kustomize does this
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    text = text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")  # as Go writes JSON
    return hashlib.sha256(text.encode()).hexdigest()[:10].translate(_HASH_LETTERS)


def _rename(manifest: Manifest, names: dict[str, str]) -> Manifest:
    for container in containers_of(manifest):
        for source in container.get("envFrom", ()):
            if "configMapRef" in source:
                source["configMapRef"]["name"] = names[source["configMapRef"]["name"]]
    for volume in pod_of(manifest).get("volumes", ()):
        if "configMap" in volume:
            volume["configMap"]["name"] = names[volume["configMap"]["name"]]
    return manifest


# --- parts of what is rendered --------------------------------------------------------------------------------
def pod_of(manifest: Manifest) -> Manifest:
    """Return a workload's pod, empty for any other manifest."""
    template: Manifest = manifest.get("spec", {}).get("template", {})
    return template.get("spec", {}) if manifest["kind"] in {"Deployment", "StatefulSet", "Job"} else {}


def containers_of(manifest: Manifest) -> Iterator[Manifest]:
    """Give all containers of a workload, those that run before it too."""
    pod = pod_of(manifest)
    yield from (*pod.get("initContainers", ()), *pod.get("containers", ()))


def find(overlay: str, kind: str) -> dict[str, Manifest]:
    """Return what is of a kind, by name."""
    return {m["metadata"]["name"]: m for m in render(overlay) if m["kind"] == kind}


def select(overlay: str, selector: Manifest) -> set[str]:
    """Return the workloads whose pods a selector takes."""
    rules = selector.get("matchExpressions", ())
    assert all(rule["operator"] == "In" for rule in rules)
    found = set()
    for manifest in (m for m in render(overlay) if pod_of(m)):
        labels = manifest["spec"]["template"]["metadata"]["labels"]
        if selector.get("matchLabels", {}).items() <= labels.items() and all(
            labels.get(rule["key"]) in rule["values"] for rule in rules
        ):
            found.add(manifest["metadata"]["name"])
    return found
