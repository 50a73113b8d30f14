"""References between objects that lead nowhere, and promises that objects make to each other."""

import re

from rendered import pods

# Made by people or by cert-manager, with docs/kubernetes.md; the keys are those that are mounted or read.
SECRETS = {
    "millwork-tokens": {"tokens"},
    "millwork-executor-secret": {"secret"},
    "millwork-scheduler-tls": {"tls.crt", "tls.key", "ca.crt"},
    "millwork-executor-tls": {"tls.crt", "tls.key", "ca.crt"},
    "millwork-http-tls": {"tls.crt", "tls.key", "ca.crt"},
    "millwork-scaler-client": {"tls.crt", "tls.key", "ca.crt"},
    "millwork-metrics-token": {"token"},
}


def findings(items):
    """Each reference that leads nowhere, as a sentence."""
    named = {(item["kind"], item["metadata"]["name"]): item for item in items}
    templates = list(pods(items))
    found = []

    def want(kind, name, where):
        if (kind, name) not in named:
            found.append(f"{where}: there is no {kind} {name}")

    for name, template, _ in templates:
        found += of_pod(name, template, want)
    for item in items:
        where = f"{item['kind']} {item['metadata']['name']}"
        spec = item.get("spec", {})
        if item["kind"] in ("Service", "PodDisruptionBudget", "NetworkPolicy", "ServiceMonitor", "PodMonitor"):
            found += of_selector(item, where, templates, items)
        if item["kind"] in ("ScaledObject", "HorizontalPodAutoscaler"):
            target = spec["scaleTargetRef"]
            want(target.get("kind", "Deployment"), target["name"], where)
            if "replicas" in named.get(("Deployment", target["name"]), {}).get("spec", {}):
                found.append(f"{where}: Deployment {target['name']} sets replicas, too")
        for trigger in spec.get("triggers", []) if item["kind"] == "ScaledObject" else []:
            if "authenticationRef" in trigger:
                want("TriggerAuthentication", trigger["authenticationRef"]["name"], where)
            if "scalerAddress" in trigger["metadata"]:
                found += of_address(trigger["metadata"]["scalerAddress"], where, named)
        if item["kind"] == "Certificate":
            want("Issuer", spec["issuerRef"]["name"], where)
        if item["kind"] == "NodePool":
            want("EC2NodeClass", spec["template"]["spec"]["nodeClassRef"]["name"], where)
    found += of_nodes(items, templates)
    return found


def of_pod(name, template, want):
    found, spec = [], template["spec"]
    want("ServiceAccount", spec["serviceAccountName"], name)
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    for volume in volumes.values():
        if "secret" in volume and volume["secret"]["secretName"] not in SECRETS:
            found.append(f"{name}: nobody makes the Secret {volume['secret']['secretName']}")
        if "configMap" in volume:
            want("ConfigMap", volume["configMap"]["name"], name)
    for container in spec["containers"]:
        mounts = {mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts", [])}
        found += [f"{name}: mounts {mount}, which is no volume" for mount in mounts if mount not in volumes]
        found += [f"{name}: volume {volume} is not mounted" for volume in volumes if volume not in mounts]
        ports = {port["name"] for port in container.get("ports", [])}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            port = container.get(probe, {}).get("httpGet", {}).get("port")
            if port is not None and port not in ports:
                found.append(f"{name}: {probe} asks port {port}, which is not there")
        for source in container.get("envFrom", []):
            want("ConfigMap", source["configMapRef"]["name"], name)
        for variable in container.get("env", []):
            path = variable.get("value", "")
            if path.startswith("/etc/millwork/"):
                folder, _, key = path.rpartition("/")
                volume = next((volumes[mount] for mount, at in mounts.items() if at == folder), None)
                if volume is None or key not in SECRETS[volume["secret"]["secretName"]]:
                    found.append(f"{name}: {variable['name']} names {path}, which no Secret brings")
    return found


def of_selector(item, where, templates, items):
    """Nothing that is selected, or a port that the selected ones do not have."""
    spec, kind = item["spec"], item["kind"]
    selector = spec.get("podSelector", spec.get("selector", {}))
    labels = selector if kind == "Service" else selector.get("matchLabels", {})

    def fits(candidate):
        return labels.items() <= candidate.get("labels", {}).items()

    if kind == "ServiceMonitor":
        services = [other for other in items if other["kind"] == "Service" and fits(other["metadata"])]
        offered = {port["name"] for service in services for port in service["spec"]["ports"]}
        wanted = {endpoint["port"] for endpoint in spec["endpoints"]}
        return [f"{where}: no Service has the port {port}" for port in wanted - offered]
    chosen = [template for _, template, _ in templates if fits(template["metadata"])]
    if not chosen:
        return [f"{where}: selects no pods"]
    ports = {port["name"]: port["containerPort"] for template in chosen for container in template["spec"]["containers"] for port in container.get("ports", [])}
    if kind == "Service":
        return [f"{where}: no pod has the port {port['targetPort']}" for port in spec["ports"] if port["targetPort"] not in ports]
    if kind == "PodMonitor":
        return [f"{where}: no pod has the port {end['port']}" for end in spec["podMetricsEndpoints"] if end["port"] not in ports]
    if kind == "NetworkPolicy":
        return [
            f"{where}: no pod has the port {port['port']}" for rule in spec.get("ingress", []) for port in rule["ports"] if port["port"] not in ports.values()
        ]
    return []


def of_address(address, where, named):
    match = re.fullmatch(r"([a-z-]+)\.([a-z-]+)\.svc\.cluster\.local:(\d+)", address)
    service = named.get(("Service", match[1])) if match else None
    if match is None or service is None:
        return [f"{where}: {address} is no address of a Service here"]
    found = []
    if service["metadata"].get("namespace") != match[2]:
        found.append(f"{where}: {address} is not in the namespace of Service {match[1]}")
    if int(match[3]) not in [port["port"] for port in service["spec"]["ports"]]:
        found.append(f"{where}: Service {match[1]} has no port {match[3]}")
    return found


def of_nodes(items, templates):
    """Pods that choose nodes which nobody makes, or whose taint they do not bear."""
    pools = [item["spec"]["template"] for item in items if item["kind"] == "NodePool"]
    found = []
    for name, template, _ in templates:
        wanted = template["spec"].get("nodeSelector")
        if not wanted:
            continue
        fitting = [pool for pool in pools if wanted.items() <= pool["metadata"]["labels"].items()]
        borne = {toleration["key"] for toleration in template["spec"].get("tolerations", [])}
        if not any({taint["key"] for taint in pool["spec"].get("taints", [])} <= borne for pool in fitting):
            found.append(f"{name}: no NodePool makes nodes for it")
    return found
