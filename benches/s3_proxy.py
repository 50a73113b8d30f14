#!/usr/bin/env python3
"""s3_proxy.py PORT TARGET_PORT MILLISECONDS

Stands before an HTTP server on loopback and holds each request back for some milliseconds, as a store that is not on this
machine does; then all bytes pass as fast as they come, moved by the kernel (splice), so that it takes little of the CPU.
`GET /-/requests` answers how many requests there were. Bodies of requests must tell their length."""
import asyncio, fcntl, os, re, socket, sys

port, target, latency = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000
PIPE_BYTES, HEAD_BYTES, ALL = 1 << 20, 1 << 16, 1 << 62
length_of, seen = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE), 0


async def ready(add, remove, descriptor):
    future = asyncio.get_running_loop().create_future()
    add(descriptor, lambda: future.done() or future.set_result(None))
    try: await future
    finally: remove(descriptor)


async def move(source, sink, count):
    """Moves so many bytes, or all until the source ends, through a pipe."""
    loop = asyncio.get_running_loop()
    out, into = os.pipe()
    try:
        fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        while count:
            try: got = os.splice(source.fileno(), into, min(count, PIPE_BYTES), flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE)
            except BlockingIOError:
                await ready(loop.add_reader, loop.remove_reader, source.fileno())
                continue
            if not got: return
            count -= got
            while got:
                try: got -= os.splice(out, sink.fileno(), got, flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE)
                except BlockingIOError: await ready(loop.add_writer, loop.remove_writer, sink.fileno())
    finally:
        os.close(out)
        os.close(into)


async def requests(client, server):
    """Passes requests on, each after a while."""
    global seen
    loop, received = asyncio.get_running_loop(), b""
    while True:
        while b"\r\n\r\n" not in received:
            more = await loop.sock_recv(client, HEAD_BYTES)
            if not more: return
            received += more
        head, received = received.split(b"\r\n\r\n", 1)
        if head.startswith(b"GET /-/requests "):
            await loop.sock_sendall(client, b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n%d" % seen)
            return
        if b"\r\ntransfer-encoding:" in head.lower(): sys.exit("a request that does not tell its length")
        seen += 1
        found = length_of.search(head)
        length = int(found[1]) if found else 0
        body, received = received[:length], received[length:]
        if latency: await asyncio.sleep(latency)
        await loop.sock_sendall(server, head + b"\r\n\r\n" + body)
        if length > len(body): await move(client, server, length - len(body))


async def connection(client):
    loop, server = asyncio.get_running_loop(), socket.socket()
    try:
        for end in (client, server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(server, ("127.0.0.1", target))
        directions = [asyncio.ensure_future(requests(client, server)), asyncio.ensure_future(move(server, client, ALL))]
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        for direction in directions: direction.cancel()
        await asyncio.gather(*directions, return_exceptions=True)
    except OSError as error: print(f"proxy: {error}", file=sys.stderr, flush=True)
    finally:
        client.close()
        server.close()


async def main():
    listener, tasks = socket.create_server(("127.0.0.1", port), backlog=256), set()
    listener.setblocking(False)
    while True:
        client, _ = await asyncio.get_running_loop().sock_accept(listener)
        task = asyncio.create_task(connection(client))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


asyncio.run(main())
