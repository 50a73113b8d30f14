#!/usr/bin/env python3
"""s3.py --data DIR --out DIR --millwork BINARY --server BINARY [--json FILE] [--shapes events,wide,text] [--runs 5] [--files 200] [--milliseconds 20]

`millwork run` from a bucket into a bucket, through a proxy that holds each request back for 20 ms, against the same from a
directory into a directory. The server (s3s-fs, in Rust) and the proxy run on the same cores, so there is a third row without
latency: between it and the local row is what the protocol, the server and the proxy cost, between it and the row with latency
what waiting costs. Prints medians of rounds local, 0 ms, 20 ms; CPU seconds of Millwork, server and proxy; requests; and what
proxy and server can do at most when nothing else is to be done."""
import argparse, glob, http.client, os, socket, subprocess, sys, threading, time, urllib.parse
import botocore.config, botocore.session
import measure

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name in ("data", "out", "millwork", "server"): arguments.add_argument(f"--{name}", required=True)
arguments.add_argument("--json")
arguments.add_argument("--shapes", default="events,wide,text")
arguments.add_argument("--runs", type=int, default=5)
arguments.add_argument("--files", type=int, default=200)
arguments.add_argument("--milliseconds", type=float, default=20)
a = arguments.parse_args()
here, key, secret = os.path.dirname(os.path.abspath(__file__)), "bench", "bench-secret"
shapes, processes, streams = a.shapes.split(","), [], 4


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server: return server.getsockname()[1]


def started(command, port, log):
    """A server that listens."""
    process = subprocess.Popen(command, stdout=open(log, "w"), stderr=subprocess.STDOUT, env={**os.environ, "RUST_LOG": "warn"})
    processes.append(process)
    while socket.socket().connect_ex(("127.0.0.1", port)):
        if process.poll() is not None: sys.exit(f"{command[0]}: {open(log).read()}")
        time.sleep(0.02)
    return process


def proxy(target, milliseconds):
    port = free_port()
    process = started([sys.executable, f"{here}/s3_proxy.py", str(port), str(target), str(milliseconds)], port, f"{out}/proxy-{milliseconds}.log")
    return process, port


def requests_of(port):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/-/requests")
    return int(connection.getresponse().read())


def fetch(port, paths):
    """Fetches and throws away. Returns the bytes."""
    total, buffer = 0, bytearray(1 << 20)
    for path in paths:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", path)
        response = connection.getresponse()
        if response.status != 200: sys.exit(f"GET {path}: {response.status} {response.read()[:300]}")
        while size := response.readinto(buffer): total += size
    return total


def rate(port, paths):
    """MB/s of some connections at once."""
    totals, start = [], time.time()
    threads = [threading.Thread(target=lambda part: totals.append(fetch(port, part)), args=(paths[n::streams],)) for n in range(streams)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return sum(totals) / 1e6 / (time.time() - start), sum(totals) / 1e9


def source(size):
    """The port of a server that answers every request with so many bytes from memory, and needs next to no CPU for it."""
    memory, listener = os.memfd_create("source"), socket.create_server(("127.0.0.1", 0))
    os.truncate(memory, size)

    def answer(client):
        while client.recv(1 << 16):
            client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
            offset = 0
            while offset < size: offset += os.sendfile(client.fileno(), memory, offset, size - offset)

    def serve():
        while True: threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


def ceilings(server, inputs):
    """What the proxy alone, the server alone, and both can read out at most, and their CPU seconds a gigabyte."""
    session = botocore.session.Session()
    session.set_credentials(key, secret)
    settings = botocore.config.Config(signature_version="s3v4", s3={"addressing_style": "path"})

    def signed(port):
        client = session.create_client("s3", region_name="us-east-1", endpoint_url=f"http://127.0.0.1:{port}", config=settings)
        urls = [client.generate_presigned_url("get_object", {"Bucket": shapes[0], "Key": os.path.basename(path)}) for path in inputs]
        return [f"{url.path}?{url.query}" for url in map(urllib.parse.urlsplit, urls)]

    def measured(what, process, port, paths):
        before = measure.cpu_seconds(process.pid)
        mb_per_s, gigabytes = rate(port, paths)
        return {"what": what, "mb_per_s": mb_per_s, "cpu_seconds_per_gb": (measure.cpu_seconds(process.pid) - before) / gigabytes}

    alone, port = proxy(source(64 << 20), 0)
    found = [measured("proxy alone, 64 MiB bodies", alone, port, ["/"] * 32), measured("server alone, 3.5 MB objects", server[0], server[1], signed(server[1]))]
    both, port = proxy(server[1], 0)
    return [*found, measured("server and proxy (CPU: proxy)", both, port, signed(port))]


def once(shape, inputs, where):
    target, size = measure.fresh(f"{out}/run"), measure.warm(inputs)
    options = ["--output", target, "--input", os.path.dirname(inputs[0])]
    if where != "local":
        measure.fresh(f"{root}/output")
        for left in glob.glob(f"{root}/.*.json"): os.remove(left)
        process, port = proxies[where]
        options = ["--output", f"s3://output/{shape}", "--input", f"s3://{shape}", "--state", f"sqlite:{target}/state.db"]
        environment["AWS_ENDPOINT_URL_S3"] = f"http://127.0.0.1:{port}"
        before = [measure.cpu_seconds(server[0].pid), measure.cpu_seconds(process.pid), requests_of(port)]
    run = measure.timed([a.millwork, "run", *options], f"{out}/log", environment)
    used = [0, 0, 0]
    if where != "local": used = [now - then for now, then in zip([measure.cpu_seconds(server[0].pid), measure.cpu_seconds(process.pid), requests_of(port)], before)]
    sizes = measure.parquet_sizes(target if where == "local" else f"{root}/output")
    return {**run, "mb_per_s": size / 1e6 / run["seconds"], "server_cpu_seconds": used[0], "proxy_cpu_seconds": used[1], "requests": used[2], "output_mb": sum(sizes)}


out, delayed = measure.fresh(f"{a.out}/s3"), f"{a.milliseconds:.0f} ms"
root = measure.fresh(f"{out}/root")
environment = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_REGION": "us-east-1"}
inputs = {shape: measure.dataset(a.millwork, a.data, shape, a.files) for shape in shapes}
for shape in shapes:
    # The server shows a folder as a bucket, and its files as objects.
    os.makedirs(f"{root}/{shape}")
    for path in inputs[shape]: os.link(os.path.realpath(path), f"{root}/{shape}/{os.path.basename(path)}")
try:
    port = free_port()
    server = started([a.server, "--host", "127.0.0.1", "--port", str(port), "--access-key", key, "--secret-key", secret, root], port, f"{out}/server.log"), port
    proxies = {"0 ms": proxy(port, 0), delayed: proxy(port, a.milliseconds)}
    results = {"milliseconds": a.milliseconds, "ceilings": ceilings(server, inputs[shapes[0]]), "shapes": {}}
    print(f"The servers' limits, {streams} connections")
    measure.table(["", "MB/s", "CPU s a GB"], [[c["what"], f"{c['mb_per_s']:.0f}", f"{c['cpu_seconds_per_gb']:.2f}"] for c in results["ceilings"]])
    rows = []
    for shape in shapes:
        runs = {where: [] for where in ("local", *proxies)}
        for _ in range(a.runs):
            for where in runs: runs[where].append(once(shape, inputs[shape], where))
        medians = results["shapes"][shape] = {where: measure.medians(of) for where, of in runs.items()}
        for where, m in medians.items():
            shares = [f"{m['mb_per_s'] / medians[base]['mb_per_s'] * 100:.0f} %" for base in ("local", "0 ms")]
            rows.append([shape, where, f"{m['seconds']:.2f}", f"{m['mb_per_s']:.0f}", *shares, *[f"{m[name]:.1f}" for name in ("cpu_seconds", "server_cpu_seconds", "proxy_cpu_seconds")],
                         f"{m['requests']:.0f}", f"{m['peak_mb']:.0f}"])
    print(f"S3's protocol on loopback, {len(measure.CORES)} cores for Millwork, server and proxy; target: {delayed} at least 85 % of local; medians of {a.runs}")
    measure.table(["shape", "", "s", "input MB/s", "of local", "of 0 ms", "CPU s", "server CPU s", "proxy CPU s", "requests", "peak MB"], rows)
    measure.save(a.json, "s3", results)
finally:
    for process in processes: process.terminate()
    for process in processes: process.wait()
