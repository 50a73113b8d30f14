"""chart/: its objects are those of the overlays, and its values are checked."""

import json
import re
import subprocess

import pytest
import yaml

import references
import rendered
import schemas

CHART = rendered.ROOT / "chart"
HELM = rendered.WORK / "helm"


def helm(*arguments):
    done = subprocess.run([HELM, *arguments], capture_output=True, text=True, timeout=60)
    complaints = [line for line in done.stderr.splitlines() if "found symbolic link" not in line]
    return done.returncode, done.stdout, "\n".join(complaints)


def template(namespace, *arguments):
    code, text, complaints = helm("template", "millwork", CHART, "--namespace", namespace, *arguments)
    assert code == 0 and not complaints, complaints
    return rendered.parse(text)


def comparable(items):
    """By kind and name, without what only one of the two makes: the Namespace, and the hash in the name of the settings."""
    text = re.sub(r"millwork-config-[0-9a-z]{10}", "millwork-config", json.dumps(items))
    return {(item["kind"], item["metadata"]["name"]): ordered(item) for item in json.loads(text) if item["kind"] != "Namespace"}


def ordered(item):
    """The order of variables, mounts and volumes means nothing, as long as none refers to another."""
    if isinstance(item, list):
        parts = [ordered(part) for part in item]
        return sorted(parts, key=lambda part: part["name"]) if parts and all(isinstance(part, dict) and "name" in part for part in parts) else parts
    if isinstance(item, dict):
        return {key: ordered(value) for key, value in item.items()}
    return item


@pytest.mark.parametrize("name, namespace", [("dev", "millwork-dev"), ("prod", "millwork")])
def test_the_chart_renders_the_objects_of_the_overlay(name, namespace):
    chart = comparable(template(namespace, "--values", CHART / "ci" / f"{name}-values.yaml"))
    overlay = comparable(rendered.objects(name))
    assert chart.keys() == overlay.keys()
    for key in overlay:
        assert chart[key] == overlay[key], key


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_the_chart_has_nothing_that_a_linter_minds(name):
    code, said, complaints = helm("lint", "--strict", CHART, "--values", CHART / "ci" / f"{name}-values.yaml")
    assert code == 0, said + complaints


def test_components_that_overlays_leave_out_are_valid():
    items = template(
        "other",
        "--values",
        CHART / "ci" / "dev-values.yaml",
        "--set",
        "hpa=true,monitors=true,certManager=true,irsaRolePrefix=arn:aws:iam::111122223333:role/acme-",
        "--set",
        f"image.digests.executor=sha256:{'0' * 64},executor.env.MILLWORK_DRAIN_SECONDS=90,executor.labels.team=a",
    )
    builtin = [item for item in items if schemas.is_builtin(item)]
    assert schemas.builtin_findings(builtin, "1.37") == []
    assert [finding for item in items if not schemas.is_builtin(item) for finding in schemas.custom_findings(item)] == []
    assert references.findings(items) == []
    text = yaml.safe_dump(items)
    assert "role/acme-executor" in text and f"executor@sha256:{'0' * 64}" in text and "millwork-scheduler.other.svc" in text and "team: a" in text


@pytest.mark.parametrize(
    "setting",
    ["scheduler.replicas=two", "transport=none", "kedaa=true", "executor.resources.limits.memory=2Gb", "image.digests.executor=latest", "keda=true,hpa=true"],
)
def test_values_that_mean_nothing_are_refused(setting):
    code, _, complaints = helm("template", "millwork", CHART, "--values", CHART / "ci" / "dev-values.yaml", "--set", setting)
    assert code != 0 and "values don't meet the specifications" in complaints, complaints


def test_without_settings_the_chart_says_which_are_missing():
    code, _, complaints = helm("template", "millwork", CHART)
    assert code != 0 and "TRACKING_TABLE" in complaints, complaints


def test_a_package_of_the_chart_is_whole():
    code, _, complaints = helm("package", CHART, "--destination", rendered.WORK)
    assert code == 0, complaints
    items = rendered.parse(
        helm(
            "template", "millwork", rendered.WORK / f"millwork-{rendered.VERSION}.tgz", "--namespace", "millwork", "--values", CHART / "ci" / "prod-values.yaml"
        )[1]
    )
    assert comparable(items).keys() == comparable(rendered.objects("prod")).keys()
