"""A proxy before servers of AWS's protocols. It notes which action of IAM each request needs, of whom, on what, and refuses those that
the policies of that role do not grant, as AWS does. Roles are told apart by their access keys."""

import json
import re
import threading
import urllib.parse
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from moto.iam.access_control import IAMPolicy, PermissionResult

HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "proxy-connection"}
# A transaction needs the rights of what it holds.
IN_TRANSACTIONS = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem", "Get": "GetItem"}
ACCOUNT = "000000000000"


def s3_needs(method, path, query, headers):
    """Pairs of action and resource, by method, path and query."""
    bucket, _, key = urllib.parse.unquote(path.lstrip("/")).partition("/")
    on_bucket, on_object = f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/{key}"
    names = set(urllib.parse.parse_qs(query, keep_blank_values=True))
    if not bucket:
        return [("s3:ListAllMyBuckets", "*")]
    if not key:
        if method == "GET" and "uploads" in names:
            return [("s3:ListBucketMultipartUploads", on_bucket)]
        if method == "POST" and "delete" in names:
            return [("s3:DeleteObject", f"{on_bucket}/*")]
        if method in ("GET", "HEAD") and not names & {"notification", "lifecycle", "encryption", "publicAccessBlock"}:
            return [("s3:ListBucket", on_bucket)]
        return [(f"s3:{method}?{'&'.join(sorted(names))}", on_bucket)]
    if method in ("GET", "HEAD"):
        return [("s3:ListMultipartUploadParts" if "uploadId" in names else "s3:GetObject", on_object)]
    if method == "DELETE":
        return [("s3:AbortMultipartUpload" if "uploadId" in names else "s3:DeleteObject", on_object)]
    needs = [("s3:PutObject", on_object)]
    if source := headers.get("x-amz-copy-source"):
        needs.append(("s3:GetObject", "arn:aws:s3:::" + urllib.parse.unquote(source).lstrip("/").partition("?")[0]))
    return needs


def dynamodb_needs(operation, body, region):
    def on(table, index=None):
        name = table.rpartition("/")[2]
        return f"arn:aws:dynamodb:{region}:{ACCOUNT}:table/{name}" + (f"/index/{index}" if index else "")

    if operation in ("TransactWriteItems", "TransactGetItems"):
        return [(f"dynamodb:{IN_TRANSACTIONS[kind]}", on(what["TableName"])) for item in body["TransactItems"] for kind, what in item.items()]
    if "RequestItems" in body:
        return [(f"dynamodb:{operation}", on(table)) for table in body["RequestItems"]]
    return [(f"dynamodb:{operation}", on(body["TableName"], body.get("IndexName")) if "TableName" in body else "*")]


def sqs_needs(operation, body, region):
    name = body.get("QueueName") or body.get("QueueUrl", "").rpartition("/")[2]
    action = {"DeleteMessageBatch": "DeleteMessage", "SendMessageBatch": "SendMessage", "ChangeMessageVisibilityBatch": "ChangeMessageVisibility"}.get(
        operation, operation
    )
    return [(f"sqs:{action}", f"arn:aws:sqs:{region}:{ACCOUNT}:{name}")]


def needs_of(method, target, headers, content):
    """What a request needs, and the access key that signed it."""
    scope = re.search(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/", headers.get("authorization", ""))
    if scope is None:
        return None, []
    key, region, service = scope.groups()
    path, _, query = target.partition("?")
    if service == "s3":
        return key, s3_needs(method, path, query, headers)
    operation = headers.get("x-amz-target", "").rpartition(".")[2]
    body = json.loads(content or b"{}")
    return key, (dynamodb_needs if service == "dynamodb" else sqs_needs)(operation, body, region)


class Recorder:
    """The proxy. `policies` are documents by access key; with None for a key, all is let through and only noted."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.calls, self.denied, self.policies = set(), set(), {}
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def handle_any(self):
                recorder.answer(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *_):
                """A client that has gone away is no error."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def allowed(self, key, action, resource):
        documents = self.policies.get(key)
        if documents is None:
            return True
        results = [document.is_action_permitted(action, resource) for document in documents]
        return PermissionResult.PERMITTED in results and PermissionResult.DENIED not in results

    def grant(self, key, documents):
        self.policies[key] = [IAMPolicy(json.dumps(document)) for document in documents]

    def may_know(self, key, needs):
        """Notes that an object was missed, which takes the right to list its bucket."""
        missed = [resource.partition("/")[0] for action, resource in needs if action == "s3:GetObject"]
        self.calls.update((key, "s3:ListBucket", bucket) for bucket in missed)
        return all(self.allowed(key, "s3:ListBucket", bucket) for bucket in missed)

    def answer(self, handler):
        headers = {name.lower(): value for name, value in handler.headers.items()}
        content = read_body(handler, headers)
        key, needs = needs_of(handler.command, handler.path, headers, content)
        for action, resource in needs:
            self.calls.add((key, action, resource))
            if not self.allowed(key, action, resource):
                self.denied.add((key, action, resource))
                return refuse(handler, headers, action, resource)
        host, port = self.upstream
        connection = HTTPConnection(host, port, timeout=60)
        try:
            passed = {name: value for name, value in headers.items() if name not in HOP}
            passed["content-length"] = str(len(content))
            connection.request(handler.command, handler.path, content, passed)
            answer = connection.getresponse()
            payload = answer.read()
            if answer.status == 404 and not self.may_know(key, needs):
                # Who may not list a bucket is not told whether an object is there.
                return refuse(handler, headers, *needs[0])
            handler.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP | {"content-length", "date", "server"}:
                    handler.send_header(name, value)
            length = answer.getheader("content-length") if handler.command == "HEAD" else None
            handler.send_header("content-length", length or str(len(payload)))
            handler.end_headers()
            handler.wfile.write(payload)
        except OSError:
            handler.close_connection = True
        finally:
            connection.close()


def read_body(handler, headers):
    if headers.get("transfer-encoding", "").lower() == "chunked":
        parts = []
        while size := int(handler.rfile.readline().split(b";")[0], 16):
            parts.append(handler.rfile.read(size))
            handler.rfile.readline()
        handler.rfile.readline()
        return b"".join(parts)
    if headers.get("expect", "").lower() == "100-continue":
        headers.pop("expect")
    return handler.rfile.read(int(headers.get("content-length", 0)))


def refuse(handler, headers, action, resource):
    """AWS's answer to who may not."""
    text = f"User is not authorized to perform: {action} on resource: {resource}"
    if "x-amz-target" in headers:
        kind = "application/x-amz-json-1.0"
        payload = json.dumps({"__type": "com.amazonaws#AccessDeniedException", "message": text, "Message": text}).encode()
        status = 400
    else:
        kind, status = "application/xml", 403
        payload = f'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>{text}</Message></Error>'.encode()
    handler.send_response(status)
    handler.send_header("content-type", kind)
    handler.send_header("content-length", str(len(payload)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(payload)
