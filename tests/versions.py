"""Compares the places that show the version, and the Rust toolchain that images are built by, with Cargo.toml."""

import pathlib
import re
import sys
import tomllib

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]
# What a pattern finds in a file, once at least.
PLACES = [
    ("version", "Cargo.lock", r'name = "millwork[a-z-]*"\nversion = "(.*)"'),
    ("version", "Dockerfile", r"ARG VERSION=(.*)"),
    ("version", "chart/Chart.yaml", r"ersion: (\d.*)"),
    ("version", "chart/values.yaml", r"^  tag: (.*)"),
    ("version", "docs/openapi.json", r'^    "version": "(.*)"'),
    ("version", "k8s/overlays/dev/kustomization.yaml", r"newTag: (.*)"),
    ("version", "k8s/overlays/prod/millwork/kustomization.yaml", r"newTag: (.*)"),
    ("version", "CHANGELOG.md", r"\A(?:.*\n)*?## (\d\S*)"),
    ("rust-version", "Dockerfile", r"rust:([\d.]+)-bookworm"),
    ("rust-version", "compose.yaml", r"rust:([\d.]+)-bookworm"),
    ("rust-version", "tests/deploy/deploy.mk", r"rust:([\d.]+)-bookworm"),
]


def main() -> int:
    wrong = []
    for key, path, pattern in PLACES:
        found = re.findall(pattern, (ROOT / path).read_text(), re.MULTILINE)
        if set(found) != {PACKAGE[key]}:
            wrong.append(f"{path} shows {', '.join(found) or 'nothing'}, but {key} in Cargo.toml is {PACKAGE[key]}")
    print("\n".join(wrong) or f"{len(PLACES)} places show version {PACKAGE['version']} and Rust {PACKAGE['rust-version']}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
