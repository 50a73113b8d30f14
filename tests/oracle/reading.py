#!/usr/bin/env python3
"""reading.py docs/reading.md: runs each Python example of a document in the current directory, and compares its `rows`.

The directory has the outputs of two manifests: of {"id":1,"name":"a"}, and of {"email":"x","id":2}."""

import os
import re
import sys

EXPECTED = [("1", "a", None), ("2", None, "x")]
READERS = {"DuckDB", "Polars", "ClickHouse", "pyarrow", "Spark"}


def plain(rows):
    if hasattr(rows, "bytes"):
        rows = [tuple(None if v == "\\N" else v.strip('"') for v in line.split(",")) for line in str(rows).splitlines()]
    return [tuple(row.values()) if isinstance(row, dict) else tuple(row) for row in rows]


def run(document):
    """Titles of the sections whose examples ran, in order."""
    ran = []
    for title, section in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", open(document).read(), re.S | re.M):
        for code in re.findall(r"```python\n(.*?)```", section, re.S):
            names: dict = {}
            exec(code, names)
            if plain(names["rows"]) != EXPECTED:
                sys.exit(f"{title}: {plain(names['rows'])}, expected {EXPECTED}")
            ran.append(title)
    if not set(ran) >= READERS:
        sys.exit(f"only these ran: {ran}")
    return ran


if __name__ == "__main__":
    # Spark listens where it thinks that this machine is reached, unless told.
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    print(run(sys.argv[1]))
