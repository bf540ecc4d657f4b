"""The agent's transport: JSON over HTTP/1.1 on a Unix socket or a host and port."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import ssl
import threading
import urllib.parse
from typing import Any

from .errors import AgentError

# Largest answer that is read: an Info with a long event log stays far below.
MAX_ANSWER = 32 << 20
_MAX_ERROR_TEXT = 512


def find_endpoint(given: str | None, variable: str, name: str) -> str:
    """Choose the argument, else the environment variable, else the first socket that exists."""
    if given:
        return given
    if variable in os.environ:
        return os.environ[variable]
    paths = [f"/var/run/{name}", f"/run/{name}", f"/var/run/dstack/{name}", f"/run/dstack/{name}"]
    return next((path for path in paths if os.path.exists(path)), paths[0])


class Address:
    """Where an endpoint is: ``path`` of a Unix socket, or host, port and ``tls``."""

    def __init__(self, endpoint: str) -> None:
        self.path: str | None = None
        self.host, self.port, self.tls, self.prefix = "localhost", 80, False, ""
        if endpoint.startswith(("http://", "https://")):
            url = urllib.parse.urlsplit(endpoint)
            self.tls = url.scheme == "https"
            self.host = url.hostname or "localhost"
            self.port = url.port if url.port is not None else (443 if self.tls else 80)
            self.prefix = url.path.rstrip("/")
        else:
            self.path = endpoint.removeprefix("unix:")
            if self.path.startswith("/") and not os.path.exists(self.path):
                raise FileNotFoundError(f"Unix socket file {self.path} does not exist")

    @property
    def authority(self) -> str:
        """The Host header's value."""
        usual = 443 if self.tls else 80
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == usual else f"{host}:{self.port}"


def decode_answer(status: int, body: bytes) -> Any:
    """Give the JSON value of a good answer; raise AgentError for another."""
    try:
        value = json.loads(body) if body else None
    except ValueError:
        value = None
        if 200 <= status < 300:
            raise AgentError(status, "the agent's answer is not JSON") from None
    if 200 <= status < 300:
        return value
    text = value.get("error") if isinstance(value, dict) else None
    if not isinstance(text, str):
        text = body.decode("utf-8", "replace")
    raise AgentError(status, text[:_MAX_ERROR_TEXT])


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
        except BaseException:
            self.sock.close()
            raise


class SyncTransport:
    """Keeps connections open between calls; may be shared by threads."""

    def __init__(self, address: Address, timeout: float, headers: dict[str, str]) -> None:
        self._address, self._timeout, self._headers = address, timeout, headers
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def _connection(self) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            if self._idle:
                return self._idle.pop(), True
        a = self._address
        if a.path is not None:
            return _UnixConnection(a.path, self._timeout), False
        kind = http.client.HTTPSConnection if a.tls else http.client.HTTPConnection
        return kind(a.host, a.port, timeout=self._timeout), False

    def post(self, path: str, payload: Any) -> Any:
        """Send one call and give its answer."""
        body = json.dumps(payload).encode()
        while True:
            connection, reused = self._connection()
            try:
                connection.request("POST", self._address.prefix + path, body, self._headers)
                answer = connection.getresponse()
            except (http.client.RemoteDisconnected, ConnectionError):
                connection.close()
                # The server may have closed an idle connection; a fresh one decides.
                if reused:
                    continue
                raise
            except BaseException:
                connection.close()
                raise
            try:
                content = answer.read(MAX_ANSWER + 1)
                if len(content) > MAX_ANSWER:
                    raise AgentError(answer.status, "the agent's answer is too large")
            except BaseException:
                connection.close()
                raise
            if answer.will_close:
                connection.close()
            else:
                with self._lock:
                    self._idle.append(connection)
            return decode_answer(answer.status, content)

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


class _Stream:
    """One connection of the asynchronous transport."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.loop = asyncio.get_running_loop()

    async def exchange(self, head: bytes, body: bytes) -> tuple[int, bytes, bool]:
        self.writer.write(head + body)
        await self.writer.drain()
        try:
            raw = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if not error.partial:
                raise ConnectionResetError("the agent closed the connection") from None
            raise ConnectionAbortedError("the agent's answer ends in its header") from None
        lines = raw.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ", 2)[1])
        fields = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if colon:
                fields[name.strip().lower()] = value.strip()
        keep = fields.get("connection", "").lower() != "close"
        if "chunked" in fields.get("transfer-encoding", "").lower():
            return status, await self._chunks(), keep
        if "content-length" not in fields:
            return status, await self.reader.read(MAX_ANSWER), False
        length = int(fields["content-length"])
        if not 0 <= length <= MAX_ANSWER:
            raise AgentError(status, "the agent's answer is too large")
        return status, await self.reader.readexactly(length), keep

    async def _chunks(self) -> bytes:
        parts: list[bytes] = []
        total = 0
        while True:
            size = int((await self.reader.readline()).split(b";")[0], 16)
            total += size
            if size < 0 or total > MAX_ANSWER:
                raise AgentError(0, "the agent's answer is too large")
            if size == 0:
                while (await self.reader.readline()).strip():
                    pass
                return b"".join(parts)
            parts.append(await self.reader.readexactly(size))
            await self.reader.readexactly(2)


class AsyncTransport:
    """The same on asyncio. Connections belong to the event loop that opened them."""

    def __init__(self, address: Address, timeout: float, headers: dict[str, str]) -> None:
        self._address, self._timeout = address, timeout
        self._fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._idle: list[_Stream] = []

    async def _connection(self) -> tuple[_Stream, bool]:
        loop = asyncio.get_running_loop()
        while self._idle:
            stream = self._idle.pop()
            if stream.loop is loop and not stream.writer.is_closing():
                return stream, True
            if not stream.loop.is_closed():
                stream.writer.close()
        a = self._address
        if a.path is not None:
            return _Stream(*await asyncio.open_unix_connection(a.path)), False
        tls = ssl.create_default_context() if a.tls else None
        return _Stream(*await asyncio.open_connection(a.host, a.port, ssl=tls)), False

    async def _post(self, path: str, payload: Any) -> Any:
        body = json.dumps(payload).encode()
        head = (
            f"POST {self._address.prefix}{path} HTTP/1.1\r\nHost: {self._address.authority}\r\n"
            f"{self._fields}Content-Length: {len(body)}\r\n\r\n"
        ).encode("latin-1")
        while True:
            stream, reused = await self._connection()
            try:
                status, content, keep = await stream.exchange(head, body)
            except (ConnectionResetError, BrokenPipeError):
                stream.writer.close()
                if reused:
                    continue
                raise
            except BaseException:
                stream.writer.close()
                raise
            if keep:
                self._idle.append(stream)
            else:
                stream.writer.close()
            return decode_answer(status, content)

    async def post(self, path: str, payload: Any) -> Any:
        """Send one call and give its answer."""
        return await asyncio.wait_for(self._post(path, payload), self._timeout)

    async def close(self) -> None:
        """Close idle connections."""
        idle, self._idle = self._idle, []
        for stream in idle:
            stream.writer.close()
            try:
                await stream.writer.wait_closed()
            except OSError:
                pass
