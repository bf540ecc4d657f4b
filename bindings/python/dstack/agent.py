"""The library's own client of the agent. ``DstackClient`` is the one to prefer; this one answers with
bytes and needs nothing of Python's network code."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple

from . import native


class AgentKey(NamedTuple):
    """A derived key and the chain that vouches for it."""

    key: bytes
    public_key: bytes
    signature_chain: tuple[bytes, bytes]


class TlsKey(NamedTuple):
    """A fresh private key and its certificate chain, both PEM."""

    key: bytes
    certificate_chain: bytes


class Identity(NamedTuple):
    """Who the agent says this guest is; nothing here is evidence."""

    app_id: bytes
    instance_id: bytes
    compose_hash: bytes


def _public_key(secret: bytes, algorithm: str) -> bytes:
    if algorithm == "ed25519":
        return native.dstack_key_ed25519_public(secret)
    return native.dstack_key_k256_public(secret)


class Agent:
    """A client of one agent: a socket's path, ``http://host:port``, or the guest's own when None.

    May be shared by threads, whose calls run one after another; is a context manager.
    """

    def __init__(self, endpoint: str | None = None, *, timeout: float = 30.0) -> None:
        self._lock = threading.Lock()
        self._handle: native.dstack_agent | None = native.dstack_agent_new(
            endpoint, int(timeout * 1000)
        )

    def _open(self) -> native.dstack_agent:
        if self._handle is None:
            raise ValueError("this client is closed")
        return self._handle

    def get_key_v0(
        self, path: str = "", purpose: str = "", algorithm: str = "secp256k1"
    ) -> AgentKey:
        """Key of version 0: both algorithms give the same bytes at one path."""
        with self._lock:
            key, link, issued = native.flat_agent_get_key(self._open(), path, purpose, algorithm)
        return AgentKey(key, _public_key(key, algorithm), (link, issued))

    def get_key(self, domain: str, algorithm: str = "secp256k1") -> AgentKey:
        """Key of version 1, bound to domain and algorithm."""
        with self._lock:
            key, public, link, issued = native.flat_agent_get_key_v1(
                self._open(), domain, algorithm
            )
        return AgentKey(key, public[:32] if algorithm == "ed25519" else public, (link, issued))

    def get_tls_key(
        self,
        subject: str = "",
        alt_names: Sequence[str] = (),
        *,
        ra_tls: bool = False,
        server_auth: bool = True,
        client_auth: bool = False,
        with_app_info: bool = False,
        not_before: int = 0,
        not_after: int = 0,
    ) -> TlsKey:
        """Fresh key with a certificate; times in UNIX seconds, 0 for the agent's default."""
        if any("\n" in name for name in alt_names):
            raise ValueError("names hold no line feeds")
        with self._lock:
            return TlsKey(
                *native.flat_agent_get_tls_key(
                    self._open(),
                    subject,
                    "\n".join(alt_names),
                    ra_tls,
                    server_auth,
                    client_auth,
                    with_app_info,
                    not_before,
                    not_after,
                )
            )

    def quote(self, report_data: bytes) -> tuple[bytes, bytes]:
        """TDX quote over at most 64 bytes, and the event log's JSON text."""
        with self._lock:
            quote, log = native.dstack_agent_get_quote(self._open(), report_data)
        return quote, log

    def attest(self, report_data: bytes) -> bytes:
        """Attestation over at most 64 bytes, as ``Attestation`` reads it."""
        with self._lock:
            return native.dstack_agent_attest(self._open(), report_data)

    def identity(self) -> Identity:
        """What this guest is called."""
        with self._lock:
            return Identity(*native.flat_agent_get_info(self._open()))

    def version(self) -> str:
        """The agent's version."""
        with self._lock:
            return native.dstack_agent_get_version(self._open()).decode()

    def close(self) -> None:
        """Close the client; further calls raise ValueError."""
        with self._lock:
            self._handle = None

    def __enter__(self) -> Agent:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
