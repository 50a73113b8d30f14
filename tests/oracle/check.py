#!/usr/bin/env python3
"""check.py --input DIR --output DIR [--rejected DIR] [--lower] [--manifest FILE]... : is the output what the input says?

An oracle that shares no code with Millwork: it parses every line with Python's json, and compares every row, column and
value with what pyarrow reads from the Parquet files. DuckDB and Polars must read them, too, and find as many rows, and in
the first 40 columns as many values and bytes of text. Without --manifest, the manifests are those beside the output, and
every file of the input must be in one of them. Exits 1 with the first differences."""

import argparse
import base64
import collections
import datetime
import glob
import gzip
import hashlib
import json
import os
import re
import sys
from pathlib import Path

import duckdb
import polars
import pyarrow
import pyarrow.parquet as pq

META = ["_source_file", "_source_line", "_manifest_id", "_date", "_ingested_at"]
MAX_DEPTH, MAX_LINE, MAX_KEY, MAX_FIELDS, MAX_RAW = 128, 64 << 20, 4 << 10, 80_000, 1 << 20


class Reject(Exception):
    pass


def refuse_constant(text):
    raise Reject(text)


DECODER = json.JSONDecoder(parse_constant=refuse_constant, parse_int=str, parse_float=str)
SPACE = re.compile(r"[ \t\r]*")


def depth_of(text):
    depth = most = 0
    in_string = escaped = False
    for c in text:
        if in_string:
            if escaped:
                escaped = False
            elif c == "\\":
                escaped = True
            elif c == '"':
                in_string = False
        elif c == '"':
            in_string = True
        elif c in "[{":
            depth += 1
            most = max(most, depth)
        elif c in "]}":
            depth -= 1
    return most


def after_space(text, at):
    found = SPACE.match(text, at)
    assert found, "it matches nothing, too"
    return found.end()


def lone(text):
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def parse(line, lower):
    """The row of a line as {column: text or None}, None for a blank line."""
    text = line.decode("utf-8", "replace")
    if not text.strip(" \t\r"):
        return None
    if len(line) > MAX_LINE or len(text.encode()) > MAX_LINE or depth_of(text) > MAX_DEPTH:
        raise Reject()
    try:
        i = after_space(text, 0)
        if text[i] != "{":
            raise Reject()
        row, fields = {}, 0
        i = after_space(text, i + 1)
        if text[i] == "}":
            i += 1
        else:
            while True:
                if text[i] != '"':
                    raise Reject()
                key, i = DECODER.raw_decode(text, i)
                i = after_space(text, i)
                if text[i] != ":":
                    raise Reject()
                i = after_space(text, i + 1)
                value, end = DECODER.raw_decode(text, i)
                if value is None:
                    value = None
                elif text[i] == '"':
                    value = lone(value)
                else:
                    value = text[i:end]
                key, fields = lone(key), fields + 1
                if len(key.encode()) > MAX_KEY or fields > MAX_FIELDS:
                    raise Reject()
                row[key.lower() if lower else key] = value
                i = after_space(text, end)
                if text[i] == ",":
                    i = after_space(text, i + 1)
                elif text[i] == "}":
                    i += 1
                    break
                else:
                    raise Reject()
        if text[i:].strip(" \t\r"):
            raise Reject()
        return row
    except (ValueError, IndexError, RecursionError) as error:
        raise Reject() from error


def content(path):
    data = open(path, "rb").read()
    if path.endswith(".gz"):
        data = gzip.decompress(data) if data else b""
    if path.endswith(".zst"):
        data = pyarrow.input_stream(path, compression="zstd").read() if data else b""
    return data[3:] if data.startswith(b"\xef\xbb\xbf") else data


def is_something_else(data):
    """Whether content is no NDJSON, by how it starts; then all of it is one rejected line."""
    compressed = (b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"BZh91AY&SY", b"\xfd7zXZ\0", b"\x04\x22\x4d\x18", b"7z\xbc\xaf\x27\x1c")
    if data.startswith((*compressed, b"PAR1\x15", b"Obj\x01", b"ARROW1\0\0")) or (data[257:262] == b"ustar" and 0 in data[:257]):
        return True
    marked = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    text = data[2 if marked else 0 :][:32]
    text = text[: len(text) // 2 * 2]
    halves = text[::2], text[1::2]
    if len(text) >= (2 if marked else 8) and any(not any(a) and all(0 < c < 128 for c in b) for a, b in (halves, halves[::-1])):
        return True
    lines = [line.strip(b" \t\r\n\x0c") for line in data[: 256 << 10].split(b"\n")]
    first, second, third, *_ = [line for line in lines if line][:3] + [b""] * 3
    in_array = second.endswith((b"},", b"}]"))
    if not first.startswith(b"["):
        return False
    if first == b"[":
        return third.startswith(b'"') if second == b"{" else in_array
    if first.startswith(b"[{") and first.endswith(b"},"):
        return in_array
    return first.endswith(b"{") and second.startswith(b'"')


def expect(files, lower):
    """Rows by (uri, line), columns in order of first appearance, rejected raw lines by (uri, line)."""
    rows: dict = {}
    columns: dict = {}
    rejected: dict = {}
    for path in files:
        uri = uri_of(path)
        if is_something_else(data := content(path)):
            rejected[uri, 1] = data
            continue
        lines = data.split(b"\n")
        if lines[-1] == b"":
            lines.pop()
        for number, line in enumerate(lines, 1):
            try:
                row = parse(line, lower)
            except Reject:
                rejected[uri, number] = line
                continue
            if row is not None:
                rows[uri, number] = row
                for key in row:
                    columns.setdefault(key)
    names, taken = {}, set(columns)
    for key in columns:
        name, n = key, 1
        if key in META:
            while (name := f"{key}_{n}") in taken:
                n += 1
        names[key] = name
    return rows, names, rejected


URI: dict[str, str] = {}


def uri_of(path):
    """The URI under which Millwork read a file: its own, or that of the same key in a bucket."""
    if not URI:
        return Path(path).as_uri()
    return URI["bucket"] + os.path.relpath(path, URI["input"])


def fail(message):
    sys.exit("oracle: " + message)


def metadata_of(manifest, files):
    """What each row of a manifest has in its metadata columns; none where only the product knows."""
    metadata = manifest["metadata"]
    date, created_at = metadata.get("date_prefix"), metadata.get("created_at")
    return {
        "_manifest_id": metadata["manifest_id"],
        "_date": date or re.findall(r"\d{4}-\d{2}-\d{2}", uri_of(files[0]))[-1],
        "_ingested_at": created_at and datetime.datetime.fromisoformat(created_at),
    }


def check(files, outputs, lower, what, metadata):
    rows, names, rejected = expect(files, lower)
    want_columns = list(names.values()) + META
    tables = []
    for path in outputs:
        table = pq.ParquetFile(path).read()
        if table.column_names != want_columns:
            fail(f"{what}: {path} has columns\n  {table.column_names}, expected\n  {want_columns}")
        for name in names.values():
            if table.schema.field(name).type not in (pyarrow.string(), pyarrow.large_string()):
                fail(f"{name} is {table.schema.field(name).type}")
            if not table.schema.field(name).nullable:
                fail(f"{name} is not nullable")
        if table.schema.field("_source_line").type != pyarrow.int64():
            fail("_source_line is no int64")
        if table.schema.field("_ingested_at").type != pyarrow.timestamp("us", tz="UTC"):
            fail("_ingested_at: " + str(table.schema.field("_ingested_at").type))
        tables.append(table)
    for name, expected in metadata.items():
        values = {value for table in tables for value in table.column(name).unique().to_pylist()}
        if len(values) > 1 or (expected is not None and values - {expected}):
            fail(f"{what}: {name}: {values}, expected {expected!r}")
    seen = set()
    for table in tables:
        columns = {name: table.column(name).to_pylist() for name in want_columns}
        for i in range(table.num_rows):
            at = columns["_source_file"][i], columns["_source_line"][i]
            if at in seen:
                fail(f"{what}: {at} is there twice")
            seen.add(at)
            if at not in rows:
                fail(f"{what}: {at} should not be a row")
            for key, name in names.items():
                if columns[name][i] != rows[at].get(key):
                    fail(f"{what}: {at} {name}: {columns[name][i]!r}, expected {rows[at].get(key)!r}")
    missing = set(rows) - seen
    if missing:
        fail(f"{what}: {len(missing)} rows are missing, such as {sorted(missing)[:3]}")
    for path, table in zip(outputs, tables):
        if duckdb.sql("SELECT count(*) FROM read_parquet($f)", params={"f": path}).fetchall()[0][0] != table.num_rows:
            fail(f"DuckDB: {path}")
        if polars.read_parquet(path).height != table.num_rows:
            fail(f"Polars: {path}")
        plain = [n for n in names.values() if '"' not in n and "\0" not in n][:40]
        folded = collections.Counter(n.lower() for n in want_columns)
        for name in plain:
            values = table.column(name)
            text_bytes = sum(len(v.encode()) for v in values.to_pylist() if v is not None)
            if folded[name.lower()] == 1 and name:
                got = duckdb.sql(f'SELECT count("{name}"), coalesce(sum(strlen("{name}")), 0) FROM read_parquet($f)', params={"f": path}).fetchall()[0]
                if (got[0], int(got[1])) != (len(values) - values.null_count, text_bytes):
                    fail(f"DuckDB: {path} {name}: {got}")
            column = polars.read_parquet(path, columns=[name])[name]
            if (column.len() - column.null_count(), column.str.len_bytes().sum()) != (len(values) - values.null_count, text_bytes):
                fail(f"Polars: {path} {name}")
    return rejected, len(rows)


def check_rejected(directory, rejected):
    found = {}
    for path in glob.glob(f"{glob.escape(directory)}/rejected-lines/**/*.ndjson", recursive=True):
        for line in open(path, "rb"):
            record = json.loads(line)
            raw = record["raw"].encode() if "raw" in record else base64.b64decode(record["raw_base64"])
            at = record["source_file"], record["line"]
            if at in found:
                fail(f"rejected twice: {at}")
            whole = rejected.get(at, b"")
            if record["length"] != len(whole) or not record["reason"]:
                fail(f"rejected record: {record}")
            # What is kept of a long line is its start, up to the last whole character; the digest stands for the rest.
            if "sha256" in record and MAX_RAW - 4 < len(raw) <= MAX_RAW and whole.startswith(raw) and record["sha256"] == hashlib.sha256(whole).hexdigest():
                raw = whole
            found[at] = raw
    if found != rejected:
        odd = [at for at in set(found) | set(rejected) if found.get(at) != rejected.get(at)]
        fail(f"rejected lines differ in {len(odd)}: {[(at, found.get(at), rejected.get(at)) for at in sorted(odd)[:3]]}")


def as_uri(text):
    return Path(text).as_uri() if text.startswith("/") else text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--rejected")
    parser.add_argument("--uri", help="s3://BUCKET/ that --input is a copy of")
    parser.add_argument("--lower", action="store_true")
    parser.add_argument("--manifest", action="append", default=[])
    args = parser.parse_args()
    if args.uri:
        URI.update(bucket=args.uri, input=os.path.realpath(args.input))
    outputs = sorted(glob.glob(f"{glob.escape(os.path.abspath(args.output))}/**/*.parquet", recursive=True))
    by_manifest = collections.defaultdict(list)
    for path in outputs:
        by_manifest[pq.ParquetFile(path).metadata.metadata[b"millwork.manifest_id"].decode()].append(path)
    documents = args.manifest or glob.glob(f"{glob.escape(os.path.abspath(args.output))}/_millwork/manifests/**/*.json", recursive=True)
    rejected, total, listed = {}, 0, set()
    manifests = {document: json.load(open(document)) for document in sorted(documents)}
    uris_of = {d: [as_uri(uri) for location in m["fileLocations"] for uri in location["URIPrefixes"]] for d, m in manifests.items()}
    last = {uri: document for document, uris in uris_of.items() for uri in uris}
    everything = [path for path in sorted(glob.glob(f"{glob.escape(os.path.realpath(args.input))}/**/*", recursive=True)) if os.path.isfile(path)]
    for document, manifest in manifests.items():
        uris = uris_of[document]
        if any(last[uri] != document for uri in uris):
            continue  # failed; its files are in a newer manifest
        files = [path for path in everything if uri_of(path) in uris]
        files.sort(key=lambda path: uris.index(uri_of(path)))
        if len(files) != len(uris):
            fail(f"{document} lists {len(uris)} files, {len(files)} of them are in the input")
        listed.update(files)
        lines, count = check(files, by_manifest.pop(manifest["metadata"]["manifest_id"], []), args.lower, document, metadata_of(manifest, files))
        rejected.update(lines)
        total += count
    unlisted = set() if args.manifest else set(everything) - listed
    if unlisted:
        fail(f"{len(unlisted)} files of the input are in no manifest, such as {sorted(unlisted)[:3]}")
    if by_manifest:
        fail(f"output of unknown manifests: {list(by_manifest)}")
    if args.rejected:
        check_rejected(os.path.abspath(args.rejected), rejected)
    print(json.dumps({"files": len(listed), "rows": total, "rejected": len(rejected), "outputs": len(outputs)}))


if __name__ == "__main__":
    main()
