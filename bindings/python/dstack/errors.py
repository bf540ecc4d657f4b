"""Exceptions. Every one carries a status number, its stable name and a message."""

from __future__ import annotations


class DstackError(Exception):
    """A failed call.

    ``status`` is the library's number (negative), ``name`` its stable lower-case name such as
    ``"crypto"`` or ``"dcap.quote.signature"``, ``message`` a sentence for people.
    """

    def __init__(self, status: int, name: str, message: str) -> None:
        super().__init__(status, name, message)
        self.status = status
        self.name = name
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} ({self.name})"


class ArgumentError(DstackError, ValueError):
    """A value outside its documented range, or bytes that do not have the required form."""


class RefusedError(DstackError):
    """Evidence, a certificate, a signature or a policy check did not hold."""


class AgentError(DstackError):
    """The agent answered with an error. ``http_status`` is the answer's status."""

    def __init__(self, http_status: int, message: str) -> None:
        super().__init__(_PEER, "peer", message)
        self.http_status = http_status

    def __str__(self) -> str:
        return f"HTTP {self.http_status}: {self.message}"

    def __reduce__(self) -> tuple[type[AgentError], tuple[int, str]]:
        return AgentError, (self.http_status, self.message)


_ARGUMENT, _FORMAT, _CRYPTO, _REFUSED, _PEER = -1, -3, -11, -12, -15


def from_status(status: int, name: str, message: str) -> DstackError:
    """Make the exception that stands for a status of the library."""
    if status in (_ARGUMENT, _FORMAT):
        return ArgumentError(status, name, message)
    if status in (_CRYPTO, _REFUSED) or status <= -100:
        return RefusedError(status, name, message)
    return DstackError(status, name, message)
