"""Counts comments that open with a clause or a pronoun, which another line is needed to understand. The number may only fall."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parents[1]
# How many there may be. Whoever mends some lowers it.
LIMIT = 0
WORDS = ["what", "how", "whether", "where", "who", "why", "when", "which", "if", "so", "it", "its", "one", "those", "some", "the same", "so many"]
OPENING = re.compile(rf"(?:{'|'.join(WORDS)})\b", re.IGNORECASE)
COMMENT = re.compile(r"\s*(///|//!|//)(?: (.*))?$")


def openings(text):
    """Numbers and first lines of comments, a block of lines being one."""
    kind = None
    for number, line in enumerate(text.splitlines(), 1):
        found = COMMENT.match(line)
        now, text = found.groups() if found else (None, None)
        # A paragraph of a block opens anew only after another kind.
        if now and now != kind and text:
            yield number, text
        kind = now


def main():
    total, bad = 0, []
    for path in sorted(ROOT.glob("*/src/**/*.rs")):
        for number, first in openings(path.read_text()):
            total += 1
            if OPENING.match(first):
                bad.append(f"{path.relative_to(ROOT)}:{number}: {first}")
    if "--list" in sys.argv:
        print("\n".join(bad))
    print(f"{len(bad)} of {total} comments open with a clause or a pronoun; {LIMIT} may")
    return len(bad) > LIMIT


if __name__ == "__main__":
    sys.exit(main())
