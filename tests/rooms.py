"""The arrows between the rooms of a crate, which are its top-level modules, make no circle, nor do those between the modules of a folder.
Fails on a new one, and on an exception that is none any more."""

import itertools
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parents[1]
# Arrows that are left out when circles are looked for, with the reason; whoever turns one round removes it here.
BACK: dict[str, set[tuple[str, str]]] = {
    # The document of all routes is one of them.
    "scheduler/api": {("routes", "openapi")},
}
MODULE = re.compile(r"^\s*(?:pub(?:\([^)]*\))? )?mod (\w+)", re.M)
TESTS = re.compile(r"^#\[cfg\(test\)\]\n(?:#\[[^\n]*\]\n)*(?:pub(?:\([^)]*\))? )?mod (\w+);", re.M)
USE = re.compile(r"\buse ((?:crate|super|self)\b[^;]*);")
INLINE = re.compile(r"\b((?:crate|super)(?:::\w+)+)")


def code(path):
    """Text of a file without comments and tests."""
    text = re.sub(r"//[^\n]*", "", path.read_text())
    return re.split(r"^#\[cfg\(test\)\]\n(?:#\[[^\n]*\]\n)*mod \w+ \{", text, flags=re.M)[0]


def leaves(tree):
    """Paths of a tree of uses: `a::{b, c::d}` is `a::b` and `a::c::d`."""
    found = re.match(r"([\w:]*?)(?:::)?\{(.*)\}$", tree.strip(), re.S)
    if not found:
        yield tree.split(" as ")[0].strip()
        return
    prefix, inner = found.groups()
    depth, part = 0, ""
    for c in inner + ",":
        depth += (c == "{") - (c == "}")
        if c != "," or depth:
            part += c
        elif part.strip():
            yield from (f"{prefix}::{path}" if prefix else path for path in leaves(part))
            part = ""


def paths(text):
    """Paths into the crate that a text has."""
    for tree in USE.findall(text):
        yield from leaves(tree)
    yield from INLINE.findall(re.sub(r"\buse [^;]*;", "", text))


def resolved(module, path):
    """Path from the root of the crate that a path in a module stands for."""
    at, parts = list(module), path.split("::")
    if parts[0] == "crate":
        at, parts = [], parts[1:]
    while parts and parts[0] in ("super", "self"):
        at, parts = (at[:-1] if parts[0] == "super" else at), parts[1:]
    return at + parts


class Crate:
    """Files of a crate that are not tests, by their module."""

    def __init__(self, source):
        self.source = source
        files = sorted(source.rglob("*.rs"))
        folders = {path: path.parent if path.stem in ("mod", "lib", "main") else path.with_suffix("") for path in files}
        tests = {folders[path] / name for path in files for name in TESTS.findall(path.read_text())}
        self.modules = {}
        # A library's root has the rooms; a program beside it is made of them.
        for path in reversed(files):
            if not tests.intersection((path.with_suffix(""), *path.parents)):
                self.modules[folders[path].relative_to(source).parts] = path

    def rooms(self, place):
        """Modules that a module has, and names that it passes on of them."""
        text = code(self.modules[place])
        names = set(MODULE.findall(text)) - set(TESTS.findall(text))
        exported = {}
        for tree in re.findall(r"\buse ((?:self::|crate::)?\w+::[^;]*);", text):
            for path in leaves(tree):
                parts = [part for part in path.split("::") if part not in ("self", "crate")]
                if parts[0] in names:
                    exported[parts[-1]] = parts[0]
        return names, exported

    def arrows(self, place):
        """Arrows between the rooms of a module, with a line that has each."""
        names, exported = self.rooms(place)
        depth = len(place)
        found: dict[tuple[str, str], str] = {}
        for module, path in self.modules.items():
            if module[:depth] != place or len(module) == depth or module[depth] not in names:
                continue
            for used in paths(code(path)):
                at = resolved(module, used)
                if tuple(at[:depth]) == place and len(at) > depth:
                    to = at[depth] if at[depth] in names else exported.get(at[depth])
                    if to and to != module[depth]:
                        found.setdefault((module[depth], to), f"{path.relative_to(ROOT)} uses {used}")
        return found


def circle(pairs):
    """A circle that arrows make; none if they make none."""
    after: dict[str, list[str]] = {}
    for one, other in sorted(pairs):
        after.setdefault(one, []).append(other)
    done = set()

    def look(at, way):
        if at in way:
            return [*way[way.index(at) :], at]
        if at in done:
            return None
        done.add(at)
        return next(filter(None, (look(other, [*way, at]) for other in after.get(at, []))), None)

    return next(filter(None, (look(one, []) for one in sorted(after))), None)


def main():
    wrong, seen = [], set()
    for source in sorted(ROOT.glob("*/src")):
        crate = Crate(source)
        for place in crate.modules:
            name = "/".join((source.parent.name, *place))
            seen.add(name)
            found, back = crate.arrows(place), BACK.get(name, set())
            wrong += [f"{name}: {one} → {other} is no arrow any more: remove it from BACK" for one, other in sorted(back - set(found))]
            ahead = set(found) - back
            wrong += [
                f"{name}: {one} → {other} makes no circle any more: remove it from BACK" for one, other in sorted(back) if not circle(ahead | {(one, other)})
            ]
            round_way = circle(ahead)
            if round_way:
                places = "; ".join(found[pair] for pair in itertools.pairwise(round_way))
                wrong.append(f"{name}: {' → '.join(round_way)} is a circle: {places}")
    wrong += [f"{name} is no module any more: remove it from BACK" for name in sorted(set(BACK) - seen)]
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
