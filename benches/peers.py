#!/usr/bin/env python3
"""peers.py TOOL IN OUT FILES: what a user would do instead of Millwork, with the tool's best setting that we know.

Every top-level key a text column, the union of all files, metadata columns, Snappy Parquet in about FILES files. Each tool
reads the input twice: once for the names, once for the rows; none of them rejects bad lines one by one. Spark is to be started
by spark-submit, which sets its master and its memory."""
import glob, os, sys
from concurrent.futures import ThreadPoolExecutor

tool, source, target, files = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
inputs, pattern = sorted(glob.glob(source + "/*.ndjson")), source + "/*.ndjson"
cores = os.cpu_count()
os.makedirs(target, exist_ok=True)
constants = "'2025-12-23' AS _date, 'm' AS _manifest_id, '2025-12-23T00:00:00Z' AS _ingested_at"


def clickhouse():
    import chdb
    names = str(chdb.query(f"SELECT DISTINCT arrayJoin(JSONExtractKeys(line)) FROM file('{pattern}', LineAsString) SETTINGS max_threads={cores}", "TSV")).split("\n")
    structure = ", ".join(f"`{name}` Nullable(String)" for name in names if name)
    as_text = ",".join(f"input_format_json_read_{kind}_as_strings=1" for kind in ("numbers", "bools", "objects", "arrays"))
    chdb.query(f"INSERT INTO FUNCTION file('{target}/part-{{_partition_id}}.parquet', Parquet) PARTITION BY cityHash64(_source_file) % {files} "
               f"SELECT *, _path AS _source_file, {constants} FROM file('{pattern}', JSONEachRow, '{structure}') SETTINGS {as_text},max_threads={cores},"
               "output_format_parquet_compression_method='snappy',output_format_parquet_string_as_string=1")


def duckdb():
    import duckdb
    connection = duckdb.connect()
    connection.sql(f"SET preserve_insertion_order=false; SET threads={cores}")
    described = connection.sql(f"DESCRIBE SELECT * FROM read_ndjson('{pattern}', union_by_name=true, sample_size=-1, maximum_depth=1)").fetchall()
    columns = "{" + ",".join(f"\"{row[0]}\": 'VARCHAR'" for row in described) + "}"
    connection.sql(f"COPY (SELECT * EXCLUDE (filename), filename AS _source_file, {constants} FROM read_ndjson('{pattern}', columns={columns}, filename=true)) "
                   f"TO '{target}' (FORMAT PARQUET, COMPRESSION SNAPPY, FILE_SIZE_BYTES {128 << 20})")


def polars():
    import polars as pl
    names = {}
    with ThreadPoolExecutor(cores) as pool:
        for schema in pool.map(lambda path: list(pl.scan_ndjson(path, infer_schema_length=None).collect_schema()), inputs):
            names.update(dict.fromkeys(schema))
    rows = pl.scan_ndjson(inputs, schema={name: pl.String for name in names}, include_file_paths="_source_file")
    rows = rows.with_columns(pl.lit("2025-12-23").alias("_date"), pl.lit("m").alias("_manifest_id"), pl.lit("2025-12-23T00:00:00Z").alias("_ingested_at"))
    size = sum(map(os.path.getsize, inputs))
    rows.sink_parquet(pl.PartitionBy(target, approximate_bytes_per_file=size // files), compression="snappy", maintain_order=False, mkdir=True)


def spark():
    from pyspark.sql import SparkSession, functions, types
    settings = {"spark.ui.enabled": "false", "spark.sql.files.maxPartitionBytes": str(64 << 20), "spark.sql.session.timeZone": "UTC"}
    builder = SparkSession.builder
    for key, value in settings.items(): builder = builder.config(key, value)
    session = builder.getOrCreate()
    names = session.read.option("primitivesAsString", "true").json(source).columns
    rows = session.read.schema(types.StructType([types.StructField(name, types.StringType()) for name in names])).json(source)
    extra = {"_date": "2025-12-23", "_manifest_id": "m", "_ingested_at": "2025-12-23T00:00:00Z"}
    rows = rows.select("*", functions.input_file_name().alias("_source_file"), *[functions.lit(value).alias(name) for name, value in extra.items()])
    # A file is written by one core: fewer files than cores would leave cores idle.
    rows.coalesce(max(files, cores)).write.option("compression", "snappy").parquet(target + "/parquet")


{"clickhouse": clickhouse, "duckdb": duckdb, "polars": polars, "spark": spark}[tool]()
