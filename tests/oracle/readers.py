#!/usr/bin/env python3
"""readers.py DIR: do all readers see the same in the Parquet files below a directory?

pyarrow says what is there: of each column of text its values, of each other how many there are. DuckDB, Polars, fastparquet,
ClickHouse (chdb), hyparquet (in node) and Spark have to agree. Reads all columns at once, as whoever opens a file does. Prints one line
of JSON; exits 1 with the first difference.

readers.py --serve: the same for each line of JSON on stdin, `{"directory": DIR}`; with `"document"`, too, its examples are run there, as
reading.py says. Answers each by a line of JSON, with an `error` if there is a difference. So all is loaded, and Spark started, once."""

import functools
import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pandas

# Else fastparquet 2026.9 loses the values of columns of which some pages have a dictionary and others not, whoever wrote them.
warnings.filterwarnings("ignore", category=DeprecationWarning)
warnings.filterwarnings("ignore", category=pandas.errors.Pandas4Warning)
pandas.options.future.infer_string = False
import chdb
import duckdb
import fastparquet
import polars
import pyarrow
import pyarrow.parquet as pq

import reading

HERE = Path(__file__).resolve().parent


def fail(message):
    sys.exit("readers: " + message)


def digest(values):
    """How many values a column has, and what they are, rows without one included."""
    count, hashed = 0, hashlib.sha256()
    for value in values:
        if value is None:
            hashed.update(b"\0N")
        else:
            count += 1
            hashed.update(b"\0V" + value.encode())
    return [count, hashed.hexdigest()]


def is_text(kind):
    return pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind) or pyarrow.types.is_string_view(kind)


def seen(table):
    """What a table holds, by column."""
    told = {}
    for name in table.column_names:
        column = table.column(name)
        told[name] = digest(column.to_pylist()) if is_text(column.type) else [len(column) - column.null_count, None]
    return told


def by_pyarrow(path):
    return seen(pq.ParquetFile(path).read())


def by_duckdb(path):
    # Names that differ in case only are the same to SQL; DuckDB numbers them.
    table = duckdb.sql("SELECT * FROM read_parquet($f)", params={"f": path}).to_arrow_table()
    return seen(table.rename_columns(pq.read_schema(path).names))


def by_polars(path):
    frame = polars.read_parquet(path)
    return {name: digest(frame[name].to_list()) if frame[name].dtype == polars.String else [frame[name].count(), None] for name in frame.columns}


def by_fastparquet(path):
    frame = fastparquet.ParquetFile(path).to_pandas()
    told = {}
    for name in frame.columns:
        column = frame[name]
        is_text = column.dtype == object and all(value is None or isinstance(value, str) for value in column)
        told[name] = digest(column) if is_text else [int(column.count()), None]
    return told


def by_clickhouse(path):
    quoted = path.replace("\\", "\\\\").replace("'", "\\'")
    # Row groups are read side by side, in no order, unless told.
    settings = "schema_inference_make_columns_nullable = 1, output_format_arrow_string_as_string = 1, input_format_parquet_preserve_order = 1, max_threads = 1"
    answer = chdb.query(f"SELECT * FROM file('{quoted}', Parquet) SETTINGS {settings}", "Arrow").bytes()
    return seen(pyarrow.ipc.open_file(answer).read_all())


def by_hyparquet(paths):
    node = shutil.which("node") or fail("node is not there: run `make test`, which installs it")
    modules = os.environ.get("MILLWORK_NODE_MODULES", str(Path(sys.prefix) / "node_modules"))
    done = subprocess.run([node, HERE / "readers.mjs", modules], input=json.dumps(paths), capture_output=True, text=True)
    if done.returncode:
        fail(f"hyparquet: {done.stderr}")
    return json.loads(done.stdout)


@functools.cache
def spark_session():
    """The one session of this process, which nobody else can reach."""
    if not shutil.which("java"):
        fail("java is not there: run `make test`, which installs it")
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[1]")
    for name, value in {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.caseSensitive": "true",
        # Java lives for seconds here: a better compiler and a collector of many threads cost more than they save.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    }.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    return spark


def go_with_spark_to(directory):
    """Names that are relative are so to a directory of Java's, which is the one it was started in."""
    java, settings = spark_session()._jvm, spark_session()._jsc.hadoopConfiguration()
    java.org.apache.hadoop.fs.FileSystem.get(settings).setWorkingDirectory(java.org.apache.hadoop.fs.Path(directory))


def by_spark(path):
    return seen(spark_session().read.parquet(Path(path).as_uri()).toArrow())


def compare(path, reader, found, expected):
    # ClickHouse leaves a column out whose name is empty.
    if reader == "ClickHouse":
        expected = {name: told for name, told in expected.items() if name}
    if list(found) != list(expected):
        fail(f"{reader}: {path} has columns {list(found)[:50]}, expected {list(expected)[:50]}")
    for name, (count, values) in expected.items():
        if found[name][0] != count:
            fail(f"{reader}: {path} {name!r}: {found[name][0]} values, expected {count}")
        if values is not None and found[name][1] is None:
            fail(f"{reader}: {path} {name!r} is no text")
        if values is not None and found[name][1] != values:
            fail(f"{reader}: {path} {name!r}: its values are others")


def ask(directory):
    """What all readers counted in the files below a directory."""
    paths = sorted(glob.glob(f"{glob.escape(os.path.abspath(directory))}/**/*.parquet", recursive=True))
    if not paths:
        fail(f"there are no Parquet files below {directory}")
    expected = {path: by_pyarrow(path) for path in paths}
    readers = {"DuckDB": by_duckdb, "Polars": by_polars, "fastparquet": by_fastparquet, "ClickHouse": by_clickhouse, "Spark": by_spark}
    for path in paths:
        for name, read in readers.items():
            try:
                found = read(path)
            except Exception as e:
                fail(f"{name}: {path}: {type(e).__name__}: {str(e)[:500]}")
            compare(path, name, found, expected[path])
    for path, told in by_hyparquet(paths).items():
        compare(path, "hyparquet", told, expected[path])
    rows = sum(pq.ParquetFile(path).metadata.num_rows for path in paths)
    return {"files": len(paths), "rows": rows, "columns": max(len(told) for told in expected.values())}


def answer(question):
    if "document" not in question:
        return ask(question["directory"])
    os.chdir(question["directory"])
    go_with_spark_to(question["directory"])
    try:
        return {"ran": reading.run(question["document"])}
    finally:
        os.chdir("/")


def serve():
    # Whatever readers print goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            told = answer(json.loads(line))
        except (Exception, SystemExit) as e:
            told = {"error": f"{type(e).__name__}: {e}"}
        print(json.dumps(told), file=answers, flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        print(json.dumps(ask(sys.argv[1])))
