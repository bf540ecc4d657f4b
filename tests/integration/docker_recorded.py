#!/usr/bin/env python3
"""A recorded container engine: the two answers of Docker's API that the agent asks for, with contents
that a real engine would not let through. NOT Docker: test_agent_pages.py uses a real one besides.

usage: docker_recorded.py SOCKET REQUESTS_FILE
Every request line goes to REQUESTS_FILE, and "closed NAME" when a log's reader has gone.
"""

import json
import os
import socket
import struct
import sys
import threading
import time

HOSTILE = "<img src=x onerror=document.title='owned'>"


def entry(name, state, status, image, service=""):
    labels = {"com.docker.compose.service": service} if service else {}
    return {"Id": name, "Names": ["/" + name], "Image": image, "State": state, "Status": status,
            "Labels": labels, "Created": 1700000000}


CONTAINERS = [
    entry("shop-web-1", "running", "Up 5 minutes (healthy)",
          "registry.example/shop/web@sha256:" + "5f" * 32, "web"),
    entry("shop-worker-1", "running", "Up 2 minutes (unhealthy)",
          "registry.example/shop/worker:1.4", "worker"),
    entry("shop-setup-1", "exited", "Exited (0) 4 minutes ago", "busybox:1.36", "setup"),
    entry("terminal", "running", "Up 1 second", "tool"),
    entry(HOSTILE, "running", HOSTILE, "\"'><script>document.title='owned'</script>", HOSTILE),
    entry("../version", "running", "Up", "x\u202ey\u0007"),
]


def frame(channel, text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack(">BxxxI", channel, len(data)) + data


def stamp(n):
    return f"2026-01-02T03:04:{n // 10 % 60:02d}.{n % 10}00000000Z "


def shop(follow):
    for n in range(60):
        kind = 2 if n % 7 == 3 else 1
        text = f"GET /item/{n} 200 in {n * 7 % 90} ms" if kind == 1 else f"slow answer for item {n}"
        if n == 10:
            text = "\x1b[1;32mready\x1b[0m on \x1b[36mport 80\x1b[0m"
        if n == 20:
            text = HOSTILE + "</main><script>document.title='owned'</script>"
        if n == 30:
            text = "long " + "x" * 3000
        yield frame(kind, stamp(n) + text + "\n")
    n = 60
    while follow:
        time.sleep(0.1)
        yield frame(1, stamp(n) + f"tick {n}\n")
        n += 1


def terminal(follow):
    for part in (b"prompt> caf\xc3", b"\xa9 \x1b[3", b"1mred\x1b[0m\r\n", b"\xff end \xe2"):
        yield part
        time.sleep(0.05)
    while follow:
        time.sleep(0.1)
        yield b"."


def flood(follow):
    line = frame(1, "f" * 16000 + "\n")
    while True:
        yield line


LOGS = {
    "shop-web-1": ("multiplexed", shop), "terminal": ("raw", terminal), "flood": ("raw", flood),
    "broken": ("multiplexed", lambda follow: iter([b"\x09garbage without frames"])),
    "huge": ("multiplexed", lambda follow: iter([struct.pack(">BxxxI", 1, 0x7fffffff)])),
    "cut": ("multiplexed", lambda follow: iter([frame(1, "whole\n"), frame(2, "half")[:9]])),
}


def answer(connection, record):
    head = b""
    while b"\r\n\r\n" not in head:
        part = connection.recv(4096)
        if not part:
            return
        head += part
    line = head.split(b"\r\n")[0].decode("latin-1")
    record(line)
    path, _, query = line.split(" ")[1].partition("?")
    if path.endswith("/containers/json"):
        return whole(connection, 200, CONTAINERS)
    name = path.split("/")[2] if path.endswith("/logs") else ""
    if name == "nothttp":
        return connection.sendall(b"SSH-2.0-x\r\n\r\n")
    if name not in LOGS:
        return whole(connection, 404, {"message": "No such container: " + name})
    kind, produce = LOGS[name]
    connection.sendall((f"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.{kind}-stream\r\n"
                        "\r\n").encode())
    try:
        for part in produce("follow=true" in query):
            connection.sendall(part)
    except OSError:
        record("closed " + name)


def whole(connection, status, value):
    body = json.dumps(value).encode()
    connection.sendall(f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
                       f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)


def main():
    path, requests = sys.argv[1:3]
    out = os.open(requests, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(16)
    print("ready", flush=True)

    def serve(connection):
        with connection:
            answer(connection, lambda line: os.write(out, line.encode() + b"\n"))

    while True:
        connection, _ = server.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
