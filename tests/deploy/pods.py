"""Pods of the rendered objects, as podman takes them: what a kubelet would put in is put in here."""

import copy
import os
import pathlib
import re
import shutil

import yaml

import rendered

USER = 65532


def secret_folder(folder, files):
    """A folder as a kubelet mounts a Secret: root's, readable by the group of the pod."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        file = folder / name
        file.write_text(content)
        os.chown(file, 0, USER)
        file.chmod(0o440)
    os.chown(folder, 0, USER)
    folder.chmod(0o750)
    return folder


def config(items, changes):
    """The ConfigMap of the settings, with changes."""
    made = copy.deepcopy(next(item for item in items if item["kind"] == "ConfigMap" and "TRACKING_TABLE" in item["data"]))
    made["data"].update(changes)
    made["metadata"] = {"name": made["metadata"]["name"]}
    return made


def pod(items, workload, name, image, settings, secrets, changes):
    """A pod of a Deployment or a CronJob. It shares the network of the machine, since podman's own is not at hand everywhere, and has no probes, since podman
    asks them from inside; the caller asks instead. `changes` replaces values of variables."""
    template = copy.deepcopy(next(template for found, template, _ in rendered.pods(items) if found == workload))
    spec = template["spec"]
    container = spec["containers"][0]
    spec["hostNetwork"] = True
    spec["restartPolicy"] = "Never"
    for field in ("topologySpreadConstraints", "serviceAccountName", "nodeSelector", "tolerations"):
        spec.pop(field, None)
    for field in ("startupProbe", "livenessProbe", "readinessProbe", "lifecycle", "ports"):
        container.pop(field, None)
    container["image"] = image
    container["args"] = [re.sub(r"\$\((\w+)\)", lambda match: settings["data"][match[1]], argument) for argument in container.get("args", [])]
    values = {}
    for variable in container.get("env", []):
        source = variable.get("valueFrom", {})
        if "fieldRef" in source:
            values[variable["name"]] = name
        elif "resourceFieldRef" in source:
            values[variable["name"]] = str(-(-milli(container["resources"]["requests"]["cpu"]) // 1000))
        else:
            values[variable["name"]] = variable["value"]
    container["env"] = [{"name": key, "value": value} for key, value in {**values, **changes}.items()]
    for volume in spec["volumes"]:
        if "secret" in volume:
            folder = secrets[volume.pop("secret")["secretName"]]
            volume["hostPath"] = {"path": str(folder), "type": "Directory"}
        if "emptyDir" in volume:
            folder = pathlib.Path(next(iter(secrets.values()))).parent / "work" / name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            os.chown(folder, 0, USER)
            folder.chmod(0o2775)
            volume.pop("emptyDir")
            volume["hostPath"] = {"path": str(folder), "type": "Directory"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": template["metadata"]["labels"]}, "spec": spec}


def milli(cpu):
    return int(cpu.removesuffix("m")) if cpu.endswith("m") else 1000 * int(cpu)


def manifest(*documents):
    return yaml.safe_dump_all(documents)


def objects(name):
    return rendered.parse(rendered.text(name))
