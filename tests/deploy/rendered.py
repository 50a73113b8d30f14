"""What `kubectl kustomize` makes of k8s/: each overlay, and each component on the smallest base that it goes with."""

import functools
import pathlib
import subprocess
import sys
import tomllib

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
WORK = ROOT / "target" / "deploy"
VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
TOOLS = pathlib.Path(sys.executable).parent
# Components on the base; each is in one of them at least.
TOGETHER = {
    "base-plaintext": ["plaintext"],
    "base-tls": ["tls"],
    "cert-manager": ["tls", "cert-manager"],
    "keda": ["plaintext", "keda"],
    "keda-tls": ["tls", "keda", "keda-tls", "cert-manager"],
    "hpa": ["plaintext", "hpa"],
    "karpenter": ["plaintext", "karpenter"],
    "monitors": ["plaintext", "monitors"],
    "monitors-tls": ["tls", "monitors", "monitors-tls"],
    "network-policy": ["plaintext", "network-policy"],
    "pod-identity": ["plaintext", "pod-identity"],
    "irsa": ["plaintext", "irsa"],
    "large-files": ["plaintext", "large-files"],
}
OVERLAYS = ["dev", "prod"]
NAMES = OVERLAYS + list(TOGETHER)


def kustomize(folder):
    """The text that a kustomization becomes."""
    done = subprocess.run([TOOLS / "kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{folder}: {done.stderr}"
    assert not done.stderr, f"{folder}: {done.stderr}"
    return done.stdout


@functools.cache
def text(name):
    """The YAML of one of NAMES."""
    if name in OVERLAYS:
        return kustomize(K8S / "overlays" / name)
    folder = WORK / "render" / name
    folder.mkdir(parents=True, exist_ok=True)
    up = "../../../../k8s"
    nodes = f", {up}/nodes" if "karpenter" in TOGETHER[name] else ""
    lines = ["apiVersion: kustomize.config.k8s.io/v1beta1", "kind: Kustomization", "namespace: millwork", f"resources: [{up}/base{nodes}]", "components:"]
    lines += [f"  - {up}/components/{component}" for component in TOGETHER[name]]
    lines += ["configMapGenerator:", "  - name: millwork-config", "    behavior: merge", "    envs: [aws.env]"]
    (folder / "aws.env").write_text((K8S / "overlays" / "prod" / "millwork" / "aws.env").read_text())
    (folder / "kustomization.yaml").write_text("\n".join(lines) + "\n")
    return kustomize(folder)


def objects(name):
    """Its objects."""
    return parse(text(name))


def parse(yaml_text):
    return [document for document in yaml.safe_load_all(yaml_text) if document]


def pods(all_objects):
    """Name, template and kind of whatever makes pods."""
    for item in all_objects:
        spec = item.get("spec", {})
        if item["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if item["kind"] == "Pod":
            yield item["metadata"]["name"], item, "Pod"
        elif "template" in spec and item["apiVersion"] in ("apps/v1", "batch/v1"):
            yield item["metadata"]["name"], spec["template"], item["kind"]
