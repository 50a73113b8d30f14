"""Checks that links of documents lead somewhere, headings included, and that files which ARCHITECTURE.md, CONTRIBUTING.md and decisions name are there."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)\s]+)\)")
# A path of a file, or a folder with a slash at its end.
NAMED = re.compile(r"`([a-z0-9_.-]+(?:/[a-z0-9_.-]+)*(?:\.(?:rs|py|md|sql|json|yaml|toml|proto)|/))`")


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [path for path in listed if (ROOT / path).exists()]


def anchors(text: str) -> set[str]:
    """The anchors of headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"`|\[|\]\(.*?\)", "", heading).lower()).replace(" ", "-") for heading in headings}


def wrong_links(path: str, text: str) -> list[str]:
    found = []
    for link in LINK.findall(re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        file = (ROOT / path).parent / target if target else ROOT / path
        if not file.exists():
            found.append(f"{path}: {link} leads nowhere")
        elif anchor and anchor not in anchors(file.read_text()):
            found.append(f"{path}: {link}: there is no such heading")
    return found


def wrong_names(path: str, text: str, files: list[str]) -> list[str]:
    """Names that no tracked path ends with: `run/machine.rs` stands for `scheduler/src/run/machine.rs`. Places in outputs begin with `_`."""
    paths = "\n".join("/" + file for file in files) + "\n"
    return [
        f"{path}: `{name}` is not in the tree"
        for name in NAMED.findall(text)
        if not name.startswith("_") and f"/{name}" + ("" if name.endswith("/") else "\n") not in paths
    ]


def main() -> int:
    files = tracked()
    wrong, count = [], 0
    for path in files:
        if not path.endswith(".md"):
            continue
        text = (ROOT / path).read_text()
        count += 1
        wrong += wrong_links(path, text)
        if path in ("ARCHITECTURE.md", "CONTRIBUTING.md") or path.startswith("docs/decisions/"):
            wrong += wrong_names(path, text, files)
    assert wrong_links("README.md", "[x](nowhere.md) [y](README.md#nowhere)") and wrong_names("README.md", "`nowhere.rs`", files)
    print("\n".join(wrong) or f"{count} documents lead somewhere")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
