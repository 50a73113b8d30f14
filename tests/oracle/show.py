#!/usr/bin/env python3
"""show.py DIR: the Parquet files below a directory, and a few rows of them."""

import glob
import sys

import duckdb

files = sorted(glob.glob(f"{glob.escape(sys.argv[1])}/merged-parquet-*/*.parquet"))
for path in files:
    rows, columns = duckdb.sql("SELECT count(*) FROM read_parquet($f)", params={"f": path}).fetchall()[0][0], len(duckdb.read_parquet(path).columns)
    print(f"{path}: {rows} rows, {columns} columns")
print(
    duckdb.sql(
        "SELECT event_time, event_type, user_id, amount, context, _source_file, _source_line FROM read_parquet($f, union_by_name = true) LIMIT 5",
        params={"f": files},
    )
)
