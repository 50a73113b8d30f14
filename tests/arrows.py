#!/usr/bin/env python3
"""The arrows between the crates point one way. Fails on a new one, and on a heavy dependency of the manifest builder."""

import json
import subprocess
import sys

ALLOWED = {
    "manifest": set(),
    "api": {"manifest"},
    "ui": {"manifest", "api", "diagnosis"},
    "diagnosis": {"manifest"},
    "storage": {"manifest"},
    "tracking": {"manifest"},
    "queue": {"manifest"},
    "net": set(),
    "process": {"net"},
    "scaling": set(),
    "redrive": {"manifest", "storage", "tracking"},
    "manifest-builder": {"manifest", "storage", "tracking", "queue", "redrive", "net", "process"},
    "conversion": {"manifest", "storage"},
    "cluster": {"net"},
    "executor": {"cluster", "conversion", "net", "process"},
    "scheduler": {"manifest", "api", "redrive", "diagnosis", "ui", "storage", "tracking", "queue", "net", "conversion", "cluster", "process", "scaling"},
    "cli": {"manifest", "api", "diagnosis", "storage", "tracking", "net", "conversion", "manifest-builder", "cluster", "executor", "scheduler", "process"},
    "tests": {"api", "cluster", "manifest", "diagnosis", "storage", "tracking", "queue", "manifest-builder", "scheduler", "net"},
}
metadata = json.loads(subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--no-deps"]))


def name(package: str) -> str:
    return package.removeprefix("millwork-")


wrong = [
    f"{name(package['name'])} → {name(dependency['name'])}"
    for package in metadata["packages"]
    for dependency in package["dependencies"]
    if dependency["name"].startswith("millwork-") and name(dependency["name"]) not in ALLOWED[name(package["name"])]
]
if wrong:
    sys.exit(f"arrows that ARCHITECTURE.md does not have: {', '.join(wrong)}")
tree = subprocess.check_output(["cargo", "tree", "--package", "millwork-manifest-builder", "--edges", "normal", "--prefix", "none"], text=True)
heavy = sorted({line.split()[0] for line in tree.splitlines() if line.startswith(("datafusion", "ballista", "arrow", "parquet"))})
if heavy:
    sys.exit(f"the manifest builder must stay light, but depends on {', '.join(heavy)}")
