#!/usr/bin/env python3
"""reading.py docs/reading.md: runs each Python example of a document in the current directory, and compares its `rows`.

The directory has the outputs of two manifests: of {"id":1,"name":"a"}, and of {"email":"x","id":2}. The example for Spark runs where pyspark
and Java are there."""

import re
import shutil
import sys

EXPECTED = [("1", "a", None), ("2", None, "x")]


def plain(rows):
    if hasattr(rows, "bytes"):
        rows = [tuple(None if v == "\\N" else v.strip('"') for v in line.split(",")) for line in str(rows).splitlines()]
    return [tuple(row.values()) if isinstance(row, dict) else tuple(row) for row in rows]


ran = []
for title, section in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", open(sys.argv[1]).read(), re.S | re.M):
    for code in re.findall(r"```python\n(.*?)```", section, re.S):
        names: dict = {}
        try:
            exec(code, names)
        except ModuleNotFoundError as e:
            if e.name == "pyspark":
                continue
            raise
        except Exception:
            if title == "Spark" and not shutil.which("java"):
                continue
            raise
        if plain(names["rows"]) != EXPECTED:
            sys.exit(f"{title}: {plain(names['rows'])}, expected {EXPECTED}")
        ran.append(title)
if not set(ran) >= {"DuckDB", "Polars", "ClickHouse", "pyarrow"}:
    sys.exit(f"only these ran: {ran}")
print(ran)
