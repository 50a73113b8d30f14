"""k8s/: strict schemas of Kubernetes 1.33 to 1.37 and of custom resources, Pod Security, references, and what the objects promise."""

import copy
import json
import re
import subprocess

import pytest
import yaml

import references
import rendered
import schemas


@pytest.mark.parametrize("name", rendered.NAMES)
def test_every_object_fits_its_schema_in_every_version(name):
    items = rendered.objects(name)
    builtin = [item for item in items if schemas.is_builtin(item)]
    for version in schemas.VERSIONS:
        assert schemas.builtin_findings(builtin, version) == [], version
    found = [finding for item in items if not schemas.is_builtin(item) for finding in schemas.custom_findings(item)]
    assert found == []


def test_all_components_are_rendered():
    on_disk = {folder.name for folder in (rendered.K8S / "components").iterdir()}
    assert on_disk == {component for together in rendered.TOGETHER.values() for component in together}


def changed(name, kind, object_name, change):
    items = copy.deepcopy(rendered.objects(name))
    change(next(item for item in items if (item["kind"], item["metadata"]["name"]) == (kind, object_name)))
    return items


def put(path, value):
    def change(item):
        *parents, last = path
        for parent in parents:
            item = item[parent]
        item[last] = value

    return change


CONTAINER = ["spec", "template", "spec", "containers", 0]


@pytest.mark.parametrize(
    "path, value",
    [
        (["spec", "replicas"], "two"),
        (["spec", "replica"], 2),
        ([*CONTAINER, "imagePullpolicy"], "Always"),
        (["apiVersion"], "apps/v1beta1"),
    ],
)
def test_a_wrong_object_of_kubernetes_is_found(path, value):
    items = changed("dev", "Deployment", "millwork-scheduler", put(path, value))
    assert schemas.builtin_findings(items, "1.35")


def test_an_api_that_is_gone_is_found():
    gone = {"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget", "metadata": {"name": "a"}, "spec": {"maxUnavailable": 1}}
    assert "find schema" in schemas.builtin_findings([gone], "1.35")[0]


@pytest.mark.parametrize(
    "kind, name, path, value",
    [
        ("ScaledObject", "millwork-executor", ["spec", "pollingIntervall"], 5),
        ("ScaledObject", "millwork-executor", ["spec", "minReplicaCount"], "0"),
        ("ScaledObject", "millwork-executor", ["spec", "fallback", "behavior"], "foo"),
        ("NodePool", "millwork-executors", ["spec", "disruption", "consolidationPolicy"], "Sometimes"),
        ("EC2NodeClass", "millwork", ["spec", "metadataOptions", "httpToken"], "required"),
        ("Certificate", "millwork-http-tls", ["spec", "dnsName"], ["a"]),
        ("PodMonitor", "millwork-executor", ["spec", "podMetricsEndpoints", 0, "intervall"], "30s"),
    ],
)
def test_a_wrong_custom_resource_is_found(kind, name, path, value):
    items = changed("prod", kind, name, put(path, value))
    found = [finding for item in items if not schemas.is_builtin(item) for finding in schemas.custom_findings(item)]
    assert len(found) == 1 and name in found[0], found


def pod_security(yaml_text):
    file = rendered.WORK / "pod_security.yaml"
    file.write_text(yaml_text)
    done = subprocess.run(["node", rendered.WORK / "node" / "pod_security.mjs", file], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", rendered.NAMES)
def test_pods_keep_the_restricted_profile(name):
    assert pod_security(rendered.text(name)) == []


@pytest.mark.parametrize(
    "rule, path, value",
    [
        ("PSS102", ["spec", "template", "spec", "hostNetwork"], True),
        ("PSS103", [*CONTAINER, "securityContext", "privileged"], True),
        ("PSS104", [*CONTAINER, "securityContext", "capabilities", "add"], ["SYS_ADMIN"]),
        ("PSS105", ["spec", "template", "spec", "volumes", 0], {"name": "work", "hostPath": {"path": "/"}}),
        ("PSS106", [*CONTAINER, "ports", 0, "hostPort"], 80),
        ("PSS109", [*CONTAINER, "securityContext", "procMount"], "Unmasked"),
        ("PSS201", ["spec", "template", "spec", "volumes", 0], {"name": "work", "nfs": {"path": "/", "server": "a"}}),
        ("PSS202", [*CONTAINER, "securityContext", "allowPrivilegeEscalation"], True),
        ("PSS203", [*CONTAINER, "securityContext", "runAsNonRoot"], False),
        ("PSS204", ["spec", "template", "spec", "securityContext", "runAsUser"], 0),
        ("PSS205", ["spec", "template", "spec", "securityContext", "seccompProfile", "type"], "Unconfined"),
        ("PSS206", [*CONTAINER, "securityContext", "capabilities", "drop"], []),
    ],
)
def test_a_pod_with_more_than_the_restricted_profile_is_found(rule, path, value):
    def change(executor):
        # What the container says for itself would cover a wrong profile of its pod.
        executor["spec"]["template"]["spec"]["containers"][0]["securityContext"].pop("seccompProfile")
        put(path, value)(executor)

    found = pod_security(yaml.safe_dump_all(changed("dev", "Deployment", "millwork-executor", change)))
    assert rule in {finding["rule"] for finding in found}, found


@pytest.mark.parametrize("name", rendered.NAMES)
def test_no_reference_leads_nowhere(name):
    assert references.findings(rendered.objects(name)) == []


@pytest.mark.parametrize(
    "kind, name, path, value, word",
    [
        ("Deployment", "millwork-builder", ["spec", "template", "spec", "serviceAccountName"], "x", "ServiceAccount"),
        ("Deployment", "millwork-builder", [*CONTAINER, "envFrom", 0, "configMapRef", "name"], "x", "ConfigMap"),
        ("Deployment", "millwork-builder", [*CONTAINER, "readinessProbe", "httpGet", "port"], "x", "readinessProbe"),
        ("Deployment", "millwork-executor", [*CONTAINER, "env", 1, "value"], "/etc/millwork/executor-secret/x", "no Secret brings"),
        ("Deployment", "millwork-executor", ["spec", "template", "spec", "nodeSelector"], {"a": "b"}, "NodePool"),
        ("Service", "millwork-builder", ["spec", "selector"], {"a": "b"}, "selects no pods"),
        ("ScaledObject", "millwork-executor", ["spec", "scaleTargetRef", "name"], "x", "no Deployment"),
        (
            "ScaledObject",
            "millwork-executor",
            ["spec", "triggers", 0, "metadata", "scalerAddress"],
            "millwork-scheduler-scaler.other.svc.cluster.local:50051",
            "namespace",
        ),
        ("ScaledObject", "millwork-builder", ["spec", "triggers", 0, "authenticationRef", "name"], "x", "TriggerAuthentication"),
        ("NodePool", "millwork-executors", ["spec", "template", "spec", "nodeClassRef", "name"], "x", "EC2NodeClass"),
        ("NetworkPolicy", "millwork-builder", ["spec", "ingress", 0, "ports", 0, "port"], 1, "no pod has the port"),
        ("ServiceMonitor", "millwork-scheduler", ["spec", "endpoints", 0, "port"], "x", "no Service has the port"),
    ],
)
def test_a_reference_that_leads_nowhere_is_found(kind, name, path, value, word):
    found = references.findings(changed("prod", kind, name, put(path, value)))
    assert any(word in finding for finding in found), found


@pytest.mark.parametrize("name", rendered.NAMES)
def test_pods_are_as_the_documents_say(name):
    items = rendered.objects(name)
    for pod, template, kind in rendered.pods(items):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False, pod
        assert kind == "CronJob" or spec["terminationGracePeriodSeconds"] == 300, pod
        for container in spec["containers"]:
            security, resources = container["securityContext"], container["resources"]
            assert security["readOnlyRootFilesystem"] is True and security["seccompProfile"] == {"type": "RuntimeDefault"}, pod
            assert "cpu" not in resources["limits"] and resources["limits"]["memory"] == resources["requests"]["memory"], pod
            assert kind == "CronJob" or all(probe in container for probe in ("startupProbe", "livenessProbe", "readinessProbe")), pod
            liveness = container.get("livenessProbe", {}).get("httpGet", {}).get("path", "/livez")
            assert liveness == "/livez", f"{pod}: a fleet must not die of its scheduler"
            assert all(volume["emptyDir"]["sizeLimit"] for volume in spec["volumes"] if "emptyDir" in volume), pod


@pytest.mark.parametrize("name", rendered.NAMES)
def test_budgets_let_every_node_be_drained(name):
    items = rendered.objects(name)
    budgets = [item["spec"] for item in items if item["kind"] == "PodDisruptionBudget"]
    assert len(budgets) == 3
    for budget in budgets:
        assert budget["maxUnavailable"] in (1, "25%") and "minAvailable" not in budget
        assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@pytest.mark.parametrize("name", rendered.OVERLAYS)
def test_what_is_of_the_cluster_has_no_namespace(name):
    for item in rendered.objects(name):
        of_cluster = item["kind"] in ("Namespace", "NodePool", "EC2NodeClass")
        assert ("namespace" in item["metadata"]) != of_cluster, f"{item['kind']} {item['metadata']['name']}"


def test_nodes_give_pods_the_time_that_they_ask_for():
    pools = [item["spec"]["template"]["spec"] for item in rendered.objects("prod") if item["kind"] == "NodePool"]
    assert [pool["terminationGracePeriod"] for pool in pools] == ["10m", "10m"]


def settings_of(name, kind, object_name):
    """What the first container of an object is told: its own variables win over those of its ConfigMaps."""
    items = rendered.objects(name)
    maps = {item["metadata"]["name"]: item["data"] for item in items if item["kind"] == "ConfigMap"}
    found = next(item for item in items if (item["kind"], item["metadata"]["name"]) == (kind, object_name))
    container = found["spec"]["template"]["spec"]["containers"][0]
    shared = [maps[source["configMapRef"]["name"]] for source in container["envFrom"]]
    return {**{key: value for values in shared for key, value in values.items()}, **{one["name"]: one.get("value") for one in container["env"]}}


def test_executors_on_spot_give_back_what_they_have_before_the_notice_ends():
    assert settings_of("prod", "Deployment", "millwork-executor")["MILLWORK_DRAIN_SECONDS"] == "100"
    assert "MILLWORK_DRAIN_SECONDS" not in settings_of("dev", "Deployment", "millwork-executor"), "270 is the default"


def test_limits_of_the_autoscaler_and_of_millwork_are_alike():
    items = rendered.objects("prod")
    settings = next(item["data"] for item in items if item["kind"] == "ConfigMap" and "MAX_CONCURRENT_RUNS" in item["data"])
    scaled = next(item["spec"] for item in items if item["kind"] == "ScaledObject" and item["metadata"]["name"] == "millwork-executor")
    assert scaled["minReplicaCount"] == int(settings["MILLWORK_SCALE_MIN_EXECUTORS"])
    assert scaled["maxReplicaCount"] == int(settings["MILLWORK_SCALE_MAX_EXECUTORS"])
    executor = next(item for item in items if item["kind"] == "Deployment" and item["metadata"]["name"] == "millwork-executor")
    cpu = executor["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"]
    assert -(-int(cpu.removesuffix("m")) // 1000) == int(settings["MILLWORK_SCALE_EXECUTOR_SLOTS"])


def test_the_overlays_have_the_settings_of_the_pipeline_that_is_replaced():
    def data(name):
        return next(item["data"] for item in rendered.objects(name) if item["kind"] == "ConfigMap" and "MAX_CONCURRENT_RUNS" in item["data"])

    assert (data("dev")["MAX_CONCURRENT_RUNS"], data("prod")["MAX_CONCURRENT_RUNS"]) == ("1", "30")
    assert (data("dev")["MAX_RETRIES"], data("prod")["MAX_RETRIES"]) == ("1", "2")
    assert (data("dev")["RUN_TIMEOUT_MINUTES"], data("prod")["RUN_TIMEOUT_MINUTES"]) == ("60", "120")
    for name in rendered.OVERLAYS:
        assert (data(name)["MAX_FILES_PER_MANIFEST"], data(name)["MAX_BATCH_SIZE_GB"]) == ("200", "0.7")
        assert (data(name)["EXPECTED_FILE_SIZE_MB"], data(name)["SIZE_TOLERANCE_PERCENT"]) == ("10", "99")


def test_every_quantity_is_one():
    quantity = re.compile(r"\d+(\.\d+)?(m|Ki|Mi|Gi|Ti)?")
    for name in rendered.NAMES:
        for pod, template, _ in rendered.pods(rendered.objects(name)):
            for container in template["spec"]["containers"]:
                values = [*container["resources"]["requests"].values(), *container["resources"]["limits"].values()]
                assert all(quantity.fullmatch(str(value)) for value in values), pod
