"""Strict validation of Kubernetes objects: unknown fields are wrong, and so is whatever has no schema."""

import functools
import json
import pathlib

import jsonschema
import kubernetes_validate
import kubernetes_validate.utils

CRDS = pathlib.Path(__file__).parent / "crds"
# The files of schemas are large, and read anew for each object otherwise.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)
VERSIONS = ["1.33", "1.34", "1.35", "1.36", "1.37"]


def is_builtin(item):
    group = item["apiVersion"].partition("/")[0]
    return "." not in group or (group.endswith(".k8s.io") and not group.startswith("karpenter"))


def builtin_findings(items, version):
    """What is wrong with objects of Kubernetes itself. A kind or an API that the version does not have is wrong, too."""
    return [finding for item in items for finding in _builtin_findings(json.dumps(item, sort_keys=True), version)]


@functools.cache
def _builtin_findings(text, version):
    item = json.loads(text)
    where = f"{version}: {item['kind']} {item['metadata']['name']}"
    try:
        validated = kubernetes_validate.validate(item, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{where}: {error.json_path}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError as error:
        return [f"{where}: {error.message}"]
    return [] if validated == version else [f"{where}: validated as {validated}"]


def strict(schema):
    """The schema with unknown fields refused wherever fields are listed. What says that it keeps unknown fields still does."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    if (
        "properties" in made
        and isinstance(made["properties"], dict)
        and "additionalProperties" not in made
        and not made.get("x-kubernetes-preserve-unknown-fields")
    ):
        made["additionalProperties"] = False
    if made.pop("x-kubernetes-int-or-string", False):
        made.pop("anyOf", None)
        made["type"] = ["integer", "string"]
    return made


def custom_findings(item):
    """What breaks the schema of a custom resource."""
    file = CRDS / f"{item['apiVersion'].replace('/', '_')}_{item['kind']}.json"
    if not file.exists():
        return [f"{item['kind']} {item['metadata']['name']}: no schema {file.name}"]
    schema = strict(json.loads(file.read_text()))
    schema["properties"]["metadata"] = {"type": "object"}
    errors = jsonschema.Draft7Validator(schema).iter_errors(item)
    return [f"{item['kind']} {item['metadata']['name']}: {error.json_path}: {error.message}" for error in errors]
