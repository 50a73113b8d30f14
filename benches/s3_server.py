#!/usr/bin/env python3
"""s3_server.py PORT ROOT MILLISECONDS

As much of S3 as Millwork asks for, for as little CPU as can be: the folders of ROOT are buckets, their files objects, and the
kernel moves content without copies where it can: sendfile out, past the page cache in. Each request is held back for some
milliseconds, as a store that is not on this machine does. It checks neither signatures nor checksums. As in S3, completing an
upload copies nothing: the parts become one file when somebody looks. `GET /-/requests` answers how many requests there were."""

import email.utils
import fcntl
import itertools
import mmap
import os
import re
import shutil
import socket
import sys
import threading
import time
import urllib.parse
import uuid
import xml.sax.saxutils

port, root, latency = int(sys.argv[1]), os.path.abspath(sys.argv[2]), float(sys.argv[3]) / 1000
uploads: dict = {}
completed: dict = {}
joining, counter, seen, BLOCK = threading.Lock(), itertools.count(1), 0, 1 << 20
ERRORS = {404: "NoSuchKey", 409: "Conflict", 412: "PreconditionFailed", 501: "NotImplemented"}
escape = xml.sax.saxutils.escape


def etag(stat):
    return f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'


def join(path):
    """Puts the parts of an object that was uploaded in parts together."""
    with joining:
        for part in completed.pop(path, ()):
            with open(path, "ab") as whole, open(part, "rb") as more:
                shutil.copyfileobj(more, whole, BLOCK)
            os.remove(part)


class Sink:
    """A new file that is written in whole blocks past the page cache: nothing but the kernel's copy from the socket costs CPU."""

    def __init__(self, path, block):
        self.file, self.block, self.filled = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_DIRECT), block, 0

    def room(self, count):
        return memoryview(self.block)[self.filled : self.filled + count]

    def add(self, count):
        self.filled += count
        if self.filled == len(self.block):
            self.flush()

    def put(self, content):
        count = min(len(content), len(self.block) - self.filled)
        self.room(count)[:] = content[:count]
        self.add(count)
        return count

    def flush(self):
        rest = memoryview(self.block)[: self.filled]
        while rest:
            rest = rest[os.write(self.file, rest) :]
        self.filled = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # The last bytes are no whole block.
        fcntl.fcntl(self.file, fcntl.F_SETFL, 0)
        self.flush()
        os.close(self.file)


class Connection:
    def __init__(self, client):
        self.client, self.received, self.block = client, b"", mmap.mmap(-1, BLOCK)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def until(self, end):
        """What comes before `end`; None, if nothing comes any more."""
        while end not in self.received:
            more = self.client.recv(1 << 16)
            if not more:
                return None
            self.received += more
        text, self.received = self.received.split(end, 1)
        return text

    def take(self, count, into):
        """Moves so many bytes of what comes to a sink."""
        while count:
            if self.received:
                got = into.put(self.received[:count])
                self.received = self.received[got:]
            elif not (got := self.client.recv_into(into.room(count))):
                raise ConnectionError("a body that ends early")
            else:
                into.add(got)
            count -= got

    def body(self, path):
        """Writes the body of a request, in the chunks of `aws-chunked` if it has them, into a new file."""
        if self.headers.get("expect"):
            self.client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with Sink(path, self.block) as into:
            if not self.headers.get("x-amz-content-sha256", "").startswith("STREAMING"):
                return self.take(int(self.headers.get("content-length", 0)), into)
            while size := int(self.until(b"\r\n").split(b";")[0], 16):
                self.take(size, into)
                self.until(b"\r\n")
            while self.until(b"\r\n"):
                pass

    def answer(self, status, body="", **headers):
        content = body.encode()
        if content:
            headers = {"content_type": "application/xml", **headers}
        lines = [f"HTTP/1.1 {status} -", f"content-length: {len(content)}", *[f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]]
        self.client.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if self.method == "HEAD" or status == 204 else content))

    def fail(self, status):
        self.answer(status, f"<Error><Code>{ERRORS[status]}</Code><Message>{self.method} {escape(self.path)}</Message></Error>")

    def serve(self):
        global seen
        with self.client:
            while head := self.until(b"\r\n\r\n"):
                first, *lines = head.decode("latin-1").split("\r\n")
                self.method, target, _ = first.split(" ", 2)
                self.headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                path, _, query = target.partition("?")
                self.path, self.query = urllib.parse.unquote(path), dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
                if path == "/-/requests":
                    for path in list(completed):
                        join(path)
                    return self.answer(200, str(seen))
                seen = next(counter)
                if latency:
                    time.sleep(latency)
                self.bucket, _, self.key = self.path.lstrip("/").partition("/")
                self.file = f"{root}/{self.bucket}/{self.key}"
                try:
                    self.handle()
                except FileNotFoundError:
                    self.fail(404)

    def handle(self):
        match self.method, *[name for name in ("uploads", "uploadId", "list-type") if name in self.query]:
            case ["HEAD"] if not self.key:
                self.answer(200 if os.path.isdir(self.file) else 404)
            case ["GET" | "HEAD"]:
                self.get()
            case ["GET", "list-type"]:
                self.list()
            case ["GET", "uploads"]:
                self.list_uploads()
            case ["GET", "uploadId"]:
                self.list_parts()
            case ["PUT"]:
                self.put()
            case ["PUT", "uploadId"]:
                self.put_part()
            case ["POST", "uploads"]:
                self.create_upload()
            case ["POST", "uploadId"]:
                self.complete_upload()
            case ["DELETE", "uploadId"]:
                if uploads.pop(self.query["uploadId"], None) is None:
                    return self.fail(404)
                shutil.rmtree(self.parts(), ignore_errors=True)
                self.answer(204)
            case ["DELETE"]:
                completed.pop(self.file, None)
                if os.path.exists(self.file):
                    os.remove(self.file)
                self.answer(204)
            case _:
                self.fail(501)

    def get(self):
        join(self.file)
        file = os.open(self.file, os.O_RDONLY)
        try:
            stat = os.fstat(file)
            if self.headers.get("if-match", etag(stat)) != etag(stat):
                return self.fail(412)
            start, end, status, headers = 0, stat.st_size, 200, {}
            if found := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", "")):
                start, end, status = int(found[1]), min(int(found[2] or stat.st_size) + 1, stat.st_size), 206
                headers = {"content-range": f"bytes {start}-{end - 1}/{stat.st_size}"}
            headers |= {"content-length": str(end - start), "etag": etag(stat), "last-modified": email.utils.formatdate(stat.st_mtime, usegmt=True)}
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            self.client.sendall(f"HTTP/1.1 {status} -\r\n{lines}\r\n".encode())
            while self.method == "GET" and start < end:
                start += os.sendfile(self.client.fileno(), file, start, end - start)
        finally:
            os.close(file)

    def list(self):
        prefix, found, folder = self.query.get("prefix", ""), [], f"{root}/{self.bucket}"
        for place, _, names in os.walk(os.path.join(folder, os.path.dirname(prefix))):
            for name in names:
                path = os.path.join(place, name)
                key = os.path.relpath(path, folder)
                if key.startswith(prefix):
                    found.append((key, os.stat(path)))
        entry = "<Contents><Key>%s</Key><Size>%d</Size><ETag>%s</ETag><LastModified>%s</LastModified></Contents>"
        entries = "".join(
            entry % (escape(key), stat.st_size, escape(etag(stat)), time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(stat.st_mtime)))
            for key, stat in sorted(found)
        )
        self.answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>{len(found)}</KeyCount>{entries}</ListBucketResult>")

    def publish(self, path):
        """Gives a finished file its key, over no other one if the request says so."""
        os.makedirs(os.path.dirname(self.file), exist_ok=True)
        if self.headers.get("if-none-match") == "*":
            try:
                os.link(path, self.file)
            except FileExistsError:
                return False
            finally:
                os.remove(path)
        else:
            os.replace(path, self.file)
        return True

    def put(self):
        if "x-amz-copy-source" in self.headers:
            return self.fail(501)
        path = f"{root}/.uploads/{uuid.uuid4()}"
        self.body(path)
        if not self.publish(path):
            return self.fail(412)
        self.answer(200, etag=etag(os.stat(self.file)))

    def parts(self):
        return f"{root}/.uploads/parts-{self.query['uploadId']}"

    def create_upload(self):
        self.query["uploadId"] = uuid.uuid4().hex
        uploads[self.query["uploadId"]] = self.bucket, self.key
        os.makedirs(self.parts())
        self.answer(200, f"<InitiateMultipartUploadResult><UploadId>{self.query['uploadId']}</UploadId></InitiateMultipartUploadResult>")

    def put_part(self):
        path = f"{self.parts()}/{self.query['partNumber']}"
        os.stat(self.parts())
        self.body(path)
        self.answer(200, etag=etag(os.stat(path)))

    def complete_upload(self):
        self.body(f"{self.parts()}/list")
        first, *rest = [f"{self.parts()}/{number}" for number in re.findall(r"<PartNumber>(\d+)<", open(f"{self.parts()}/list").read())]
        with joining:
            if not self.publish(first):
                return self.fail(412)
            completed[self.file] = rest
        uploads.pop(self.query["uploadId"], None)
        found = escape(etag(os.stat(self.file)))
        self.answer(200, f"<CompleteMultipartUploadResult><Key>{escape(self.key)}</Key><ETag>{found}</ETag></CompleteMultipartUploadResult>")

    def list_parts(self):
        found = sorted((int(name), os.stat(f"{self.parts()}/{name}")) for name in os.listdir(self.parts()) if name.isdigit())
        entries = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag(stat))}</ETag><Size>{stat.st_size}</Size></Part>" for number, stat in found
        )
        self.answer(200, f"<ListPartsResult><IsTruncated>false</IsTruncated>{entries}</ListPartsResult>")

    def list_uploads(self):
        there = [(id, key) for id, (bucket, key) in list(uploads.items()) if bucket == self.bucket and key.startswith(self.query.get("prefix", ""))]
        entries = "".join(f"<Upload><Key>{escape(key)}</Key><UploadId>{id}</UploadId></Upload>" for id, key in there)
        self.answer(200, f"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>{entries}</ListMultipartUploadsResult>")


def serve(client):
    try:
        Connection(client).serve()
    except (ConnectionError, BrokenPipeError):
        pass


listener = socket.create_server(("127.0.0.1", port), backlog=256)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
