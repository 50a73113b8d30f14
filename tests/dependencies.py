"""Checks what Cargo.lock brings: licences that may be linked into Apache-2.0 programs, Cargo's own registry as the only source, no further second copies."""

import collections
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
# The scheme of a registry, as Cargo writes sources: not that of a repository or a path.
REGISTRY = "registry+"
PLATFORMS = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"]
# Permissive ones. A new one has to be read first.
LICENCES = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
}
# Crates with more than one version, and how many: each is two of our dependencies that have not moved yet. Numbers may only fall.
COPIES = {
    "base64": 2,
    "block-buffer": 2,
    "crypto-common": 2,
    "digest": 2,
    "foldhash": 2,
    "getrandom": 3,
    "hashbrown": 4,
    "http": 2,
    "http-body": 2,
    "itertools": 2,
    "lru": 2,
    "num-bigint": 2,
    "rand": 2,
    "rand_core": 2,
    "signal-hook": 2,
    "syn": 2,
    "synstructure": 2,
    "tower-http": 2,
    "zstd": 2,
    "zstd-safe": 2,
}


def may_be_linked(expression: str) -> bool:
    """Whether an SPDX expression can be met by licences of the list. `/` is an older way to write OR; AND binds closer."""
    tokens = re.findall(r"[()]|\bAND\b|\bOR\b|[^\s()]+(?: WITH [^\s()]+)?", expression.replace("/", " OR "))

    def either() -> bool:
        met = [both()]
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            met.append(both())
        return any(met)

    def both() -> bool:
        met = [one()]
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            met.append(one())
        return all(met)

    def one() -> bool:
        token = tokens.pop(0) if tokens else ""
        if token != "(":
            return token in LICENCES
        met = either()
        return bool(tokens) and tokens.pop(0) == ")" and met

    return either() and not tokens


def complaints(packages: list[dict]) -> list[str]:
    found, versions = [], collections.defaultdict(set)
    for package in packages:
        name = f"{package['name']} {package['version']}"
        versions[package["name"]].add(package["version"])
        if not (package["source"] or REGISTRY).startswith(REGISTRY):
            found.append(f"{name} is from {package['source']}: only Cargo's registry is a source")
        if not may_be_linked(package["license"] or ""):
            found.append(f"{name} has the licence {package['license']}: read it, then add it to LICENCES in tests/dependencies.py or take another crate")
    for name in sorted(versions.keys() | COPIES.keys()):
        count, known = len(versions[name]), COPIES.get(name, 1)
        if count > known:
            found.append(
                f"{name} has {count} versions, {', '.join(sorted(versions[name]))}, but {known} may be: cargo tree --invert {name}@VERSION says for whom"
            )
        elif count < known:
            found.append(f"{name} has only {count} of {known} versions left: lower COPIES in tests/dependencies.py")
    return found


def package(name: str, version: str, licence: str | None = "MIT", source: str | None = REGISTRY) -> dict:
    return {"name": name, "version": version, "license": licence, "source": source}


def check_itself(packages: list[dict]) -> None:
    """What would be refused, is."""
    assert not complaints(packages)
    for wrong in (
        package("new", "1.0.0", "GPL-3.0-only"),
        package("new", "1.0.0", "MIT AND GPL-3.0-only"),
        package("new", "1.0.0", "(MIT OR Apache-2.0"),
        package("new", "1.0.0", None),
        package("new", "1.0.0", source="git+https://example.com/new"),
        package("base64", "0.1.0"),
    ):
        assert len(complaints([*packages, wrong])) == 1, wrong
    for right in ("MIT/Apache-2.0", "GPL-3.0-only OR MIT", "(MIT OR GPL-3.0-only) AND ISC", "Apache-2.0 WITH LLVM-exception"):
        assert may_be_linked(right), right
    assert complaints([package for package in packages if package["name"] != "lru"]), "a copy that is gone"


def main() -> int:
    platforms = [part for platform in PLATFORMS for part in ("--filter-platform", platform)]
    command = ["cargo", "metadata", "--locked", "--format-version", "1", *platforms]
    packages = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)["packages"]
    if found := complaints(packages):
        print("\n".join(found))
        return 1
    check_itself(packages)
    print(f"{len(packages)} packages from the registry with licences that may be linked; {len(COPIES)} of them in more than one version")
    return 0


if __name__ == "__main__":
    sys.exit(main())
