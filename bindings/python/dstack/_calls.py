"""What all clients share. A call is a generator: it yields ``(method, payload)`` requests, is sent
their answers and returns its result, so that one description serves blocking and asyncio clients."""

from __future__ import annotations

from collections.abc import Generator
from types import TracebackType
from typing import Any, TypeVar

from . import _http

R = TypeVar("R")
Call = Generator[tuple[str, dict[str, Any]], Any, R]

HEADERS = {"Content-Type": "application/json", "User-Agent": "dstack-python/1"}


def to_bytes(value: str | bytes | bytearray | memoryview) -> bytes:
    """Give the UTF-8 of text, or the bytes themselves."""
    return value.encode() if isinstance(value, str) else bytes(value)


class SyncClient:
    """A blocking client. May be shared by threads; is a context manager."""

    _prefix = "/"

    def __init__(self, endpoint: str, timeout: float) -> None:
        self._transport = _http.SyncTransport(_http.Address(endpoint), timeout, HEADERS)

    def _send_rpc_request(self, method: str, payload: dict[str, Any]) -> Any:
        return self._transport.post(self._prefix + method, payload)

    def _run(self, call: Call[R]) -> R:
        try:
            request = next(call)
            while True:
                try:
                    answer = self._send_rpc_request(*request)
                except Exception as error:
                    request = call.throw(error)
                else:
                    request = call.send(answer)
        except StopIteration as done:
            result: R = done.value
            return result

    def close(self) -> None:
        """Close idle connections. The client stays usable."""
        self._transport.close()

    def __enter__(self: SyncSelf) -> SyncSelf:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient:
    """An asyncio client; is an asynchronous context manager."""

    _prefix = "/"

    def __init__(self, endpoint: str, timeout: float) -> None:
        self._transport = _http.AsyncTransport(_http.Address(endpoint), timeout, HEADERS)

    async def _send_rpc_request(self, method: str, payload: dict[str, Any]) -> Any:
        return await self._transport.post(self._prefix + method, payload)

    async def _run(self, call: Call[R]) -> R:
        try:
            request = next(call)
            while True:
                try:
                    answer = await self._send_rpc_request(*request)
                except Exception as error:
                    request = call.throw(error)
                else:
                    request = call.send(answer)
        except StopIteration as done:
            result: R = done.value
            return result

    async def close(self) -> None:
        """Close idle connections. The client stays usable."""
        await self._transport.close()

    async def __aenter__(self: AsyncSelf) -> AsyncSelf:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


SyncSelf = TypeVar("SyncSelf", bound=SyncClient)
AsyncSelf = TypeVar("AsyncSelf", bound=AsyncClient)
