#!/usr/bin/env python3
"""peers.py TOOL IN OUT FILES [NAMES]: what a user would do instead of Millwork, as fast as we could make each tool.

Every top-level key becomes a text column: the union of all files, metadata columns, Snappy Parquet in about FILES files, no Bloom filters and
no page checksums, as Millwork writes neither. NAMES is a JSON file with the names of the columns: with it a tool reads the input once, the least
that it can take; without it, it finds the names first. No tool rejects bad lines one by one. Spark is to be started by spark-submit, which sets its
master and its memory."""

import glob
import json
import os
import subprocess
import sys

TOOL, SOURCE, TARGET, FILES, *GIVEN = sys.argv[1:]
INPUTS, PATTERN = sorted(glob.glob(SOURCE + "/*.ndjson")), SOURCE + "/*.ndjson"
CORES = len(os.sched_getaffinity(0))
EXTRA = {"_date": "2025-12-23", "_manifest_id": "m", "_ingested_at": "2025-12-23T00:00:00Z"}
CONSTANTS = ", ".join(f"'{value}' AS {name}" for name, value in EXTRA.items())
# One process for each output file, and one for each core at least: these tools write a file with one thread.
PARTS = [INPUTS[part :: max(int(FILES), CORES)] for part in range(max(int(FILES), CORES))]

CLICKHOUSE = """
import sys, json, chdb
print(chdb.query(json.load(sys.stdin), "TSV"), end="")
"""

POLARS_NAMES = """
import sys, json, polars as pl
names = {}
for path in json.load(sys.stdin):
    names.update(dict.fromkeys(pl.scan_ndjson(path, infer_schema_length=None).collect_schema()))
print("\\n".join(names))
"""

POLARS = """
import sys, json, polars as pl
job = json.load(sys.stdin)
rows = pl.scan_ndjson(job["inputs"], schema={name: pl.String for name in job["names"]}, include_file_paths="_source_file")
rows = rows.with_columns(pl.lit(value).alias(name) for name, value in job["extra"].items())
rows.sink_parquet(job["output"], compression="snappy", maintain_order=False)
"""


def each(code, jobs):
    """Runs Python code in one process for each job, which it gets as JSON. The lines that all print, each once."""
    processes = [subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in jobs]
    for process, job in zip(processes, jobs, strict=True):
        assert process.stdin
        process.stdin.write(json.dumps(job))
        process.stdin.close()
    printed = [process.stdout.read() for process in processes if process.stdout]
    if any(process.wait() for process in processes):
        sys.exit(f"{TOOL}: a process failed")
    return list(dict.fromkeys(line for text in printed for line in text.split("\n") if line))


def clickhouse(names):
    threads = max(1, CORES // len(PARTS))
    sources = ["{}/{{{}}}".format(SOURCE, ",".join(map(os.path.basename, part))) for part in PARTS]
    if names is None:
        keys = "SELECT arrayJoin(groupUniqArrayArray(JSONExtractKeys(line))) FROM file('{}', LineAsString) SETTINGS max_threads={}"
        names = each(CLICKHOUSE, [keys.format(source, threads) for source in sources])
    structure = ", ".join(f"`{name}` Nullable(String)" for name in names)
    settings = {f"input_format_json_read_{kind}_as_strings": 1 for kind in ("numbers", "bools", "objects", "arrays")} | {
        "max_threads": threads,
        "max_insert_threads": threads,
        "input_format_parallel_parsing": int(threads > 1),
        "output_format_parquet_parallel_encoding": int(threads > 1),
        "output_format_parquet_compression_method": "'snappy'",
        "output_format_parquet_string_as_string": 1,
        "output_format_parquet_write_bloom_filter": 0,
        "output_format_parquet_write_checksums": 0,
    }
    insert = (
        "INSERT INTO FUNCTION file('{}/part-{}.parquet', Parquet) SELECT *, _path AS _source_file, {} FROM file('{}', JSONEachRow, '{}') SETTINGS "
        + ",".join(f"{name}={value}" for name, value in settings.items())
    )
    each(CLICKHOUSE, [insert.format(TARGET, part, CONSTANTS, source, structure) for part, source in enumerate(sources)])


def duckdb(names):
    import duckdb

    connection = duckdb.connect()
    connection.sql(f"SET preserve_insertion_order=false; SET threads={CORES}")
    if names is None:
        described = connection.sql(f"DESCRIBE SELECT * FROM read_ndjson('{PATTERN}', union_by_name=true, sample_size=-1, maximum_depth=1)")
        names = [row[0] for row in described.fetchall()]
    columns = "{" + ",".join(f"\"{name}\": 'VARCHAR'" for name in names) + "}"
    rows = f"SELECT * EXCLUDE (filename), filename AS _source_file, {CONSTANTS} FROM read_ndjson('{PATTERN}', columns={columns}, filename=true)"
    options = "FORMAT PARQUET, COMPRESSION SNAPPY, PER_THREAD_OUTPUT true, ROW_GROUP_SIZE 122880, WRITE_BLOOM_FILTER false"
    connection.sql(f"COPY ({rows}) TO '{TARGET}/parquet' ({options})")


def polars(names):
    os.environ["POLARS_MAX_THREADS"] = str(max(1, CORES // len(PARTS)))
    if names is None:
        names = each(POLARS_NAMES, PARTS)
    outputs = [f"{TARGET}/part-{part}.parquet" for part in range(len(PARTS))]
    each(POLARS, [{"inputs": part, "names": names, "extra": EXTRA, "output": output} for part, output in zip(PARTS, outputs, strict=True)])


def spark(names):
    from pyspark.sql import SparkSession, functions, types

    settings = {"spark.ui.enabled": "false", "spark.sql.files.maxPartitionBytes": str(64 << 20), "spark.sql.session.timeZone": "UTC"}
    builder = SparkSession.builder
    for key, value in settings.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    if names is None:
        names = session.read.option("primitivesAsString", "true").json(SOURCE).columns
    rows = session.read.schema(types.StructType([types.StructField(name, types.StringType()) for name in names])).json(SOURCE)
    rows = rows.select("*", functions.input_file_name().alias("_source_file"), *[functions.lit(value).alias(name) for name, value in EXTRA.items()])
    # A file is written by one core: fewer files than cores would leave cores idle.
    rows.coalesce(len(PARTS)).write.option("compression", "snappy").parquet(TARGET + "/parquet")


os.makedirs(TARGET, exist_ok=True)
TOOLS = {"clickhouse": clickhouse, "duckdb": duckdb, "polars": polars, "spark": spark}
TOOLS[TOOL](json.load(open(GIVEN[0])) if GIVEN else None)
