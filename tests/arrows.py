#!/usr/bin/env python3
"""The arrows between the crates point one way, and so do those between the rooms of each (`rooms.py`). Fails on a new one, and on a heavy
dependency of a crate that is to stay light."""

import json
import subprocess
import sys

import rooms

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
    "ndjson": {"manifest", "storage"},
    "parquet-text": {"ndjson", "storage", "manifest"},
    "conversion": {"manifest", "storage", "ndjson", "parquet-text"},
    "cluster": {"net"},
    "executor": {"cluster", "conversion", "net", "process", "storage"},
    "scheduler": {"manifest", "api", "redrive", "diagnosis", "ui", "storage", "tracking", "queue", "net", "conversion", "cluster", "process", "scaling"},
    "cli": {
        "manifest",
        "api",
        "diagnosis",
        "storage",
        "tracking",
        "queue",
        "net",
        "conversion",
        "manifest-builder",
        "cluster",
        "executor",
        "scheduler",
        "process",
    },
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
# Crates that must stay light, and what is too heavy for them.
LIGHT = {
    "millwork-manifest-builder": ("datafusion", "ballista", "arrow", "parquet"),
    "millwork-ndjson": ("datafusion", "ballista", "parquet"),
    "millwork-parquet-text": ("datafusion", "ballista"),
}
for crate, too_heavy in LIGHT.items():
    tree = subprocess.check_output(["cargo", "tree", "--package", crate, "--edges", "normal", "--prefix", "none"], text=True)
    heavy = sorted({line.split()[0] for line in tree.splitlines() if line.startswith(too_heavy)})
    if heavy:
        sys.exit(f"{crate} must stay light, but depends on {', '.join(heavy)}")
rooms.main()
