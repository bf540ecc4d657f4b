"""TLS that demands and gives evidence, for ``ssl``, ``http.client``, ``asyncio`` and ``httpx``.

The peer's certificate is judged as the last step of the handshake, before a byte of a request is
sent or of an answer is read. A refusal is ``ssl.SSLCertVerificationError``.
"""

from __future__ import annotations

import os
import ssl
from typing import Any

from .client_v0 import DstackClientV0
from .client_v1 import DstackClientV1
from .errors import DstackError
from .verify import ANYTHING, Expectations, Verified, Verifier


class _Judge:
    """What a context knows about the peers it accepts."""

    def __init__(
        self, verifier: Verifier, expect: Expectations, root: bytes, host_check: bool, need: bool
    ) -> None:
        self.verifier, self.expect, self.root = verifier, expect, root
        self.host_check, self.need = host_check, need

    def judge(self, der: bytes | None, host: str | None) -> Verified | None:
        if der is None:
            if self.need:
                raise ssl.SSLCertVerificationError("the peer sent no certificate")
            return None
        try:
            return self.verifier.verify_certificate(
                der,
                root=self.root,
                host=host if self.host_check else None,
                expect=self.expect,
            )
        except DstackError as error:
            refusal = ssl.SSLCertVerificationError(str(error))
            raise refusal from error


def _judge_of(context: ssl.SSLContext) -> _Judge:
    if not isinstance(context, AttestedContext):
        raise ssl.SSLError("the context of an attested connection was exchanged")
    return context._judge


_NOT_JUDGED = "the peer is not judged yet: do_handshake() comes first"


class AttestedSocket(ssl.SSLSocket):
    """A socket whose peer was judged by its evidence; ``verified`` tells what was found."""

    verified: Verified | None = None
    _judged = False

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands, and judge."""
        super().do_handshake(block)
        try:
            judge = _judge_of(self.context)
            self.verified = judge.judge(self.getpeercert(True), self.server_hostname)
        except BaseException:
            self.close()
            raise
        self._judged = True

    # Reading or writing would shake hands by itself, and go on without the judgement.
    def _need_judged(self) -> None:
        if not self._judged:
            raise ssl.SSLError(_NOT_JUDGED)

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """Read from a peer that was accepted."""
        self._need_judged()
        return super().read(len, buffer)

    def write(self, data: Any) -> int:
        """Write to a peer that was accepted."""
        self._need_judged()
        return super().write(data)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send to a peer that was accepted."""
        self._need_judged()
        return super().send(data, flags)


class AttestedObject(ssl.SSLObject):
    """The same for streams that do their own input and output."""

    verified: Verified | None = None
    _judged = False
    _refusal: BaseException | None = None

    def do_handshake(self) -> None:
        """Shake hands, and judge."""
        if self._refusal is not None:
            raise self._refusal
        super().do_handshake()
        try:
            judge = _judge_of(self.context)
            self.verified = judge.judge(self.getpeercert(True), self.server_hostname)
        except BaseException as error:
            self._refusal = error
            raise
        self._judged = True

    def _need_judged(self) -> None:
        if self._refusal is not None:
            raise self._refusal
        if not self._judged:
            raise ssl.SSLError(_NOT_JUDGED)

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """Read from a peer that was accepted."""
        self._need_judged()
        return super().read(len) if buffer is None else super().read(len, buffer)

    def write(self, data: Any) -> int:
        """Write to a peer that was accepted."""
        self._need_judged()
        return super().write(data)


class AttestedContext(ssl.SSLContext):
    """A context whose connections are judged by the peer's evidence."""

    sslsocket_class = AttestedSocket
    sslobject_class = AttestedObject
    _judge: _Judge


def _context(protocol: int, judge: _Judge) -> AttestedContext:
    context = AttestedContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context._judge = judge
    return context


def load_identity(context: ssl.SSLContext, key: str, chain: str) -> None:
    """Load a private key and certificate chain from text: no file is written."""
    fd = os.memfd_create("dstack-identity", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(fd), "w") as file:
            file.write(chain.rstrip("\n") + "\n" + key)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _load_issued(
    context: ssl.SSLContext, client: DstackClientV0 | DstackClientV1, subject: str, client_auth: bool
) -> None:
    usage = {
        "usage_ra_tls": True,
        "usage_server_auth": not client_auth,
        "usage_client_auth": client_auth,
    }
    made = (
        client.issue_cert(subject, [subject], **usage)
        if isinstance(client, DstackClientV1)
        else client.get_tls_key(subject, [subject], **usage)
    )
    load_identity(context, made.key, "\n".join(made.certificate_chain))


def client_context(
    verifier: Verifier,
    expect: Expectations = ANYTHING,
    *,
    root: bytes = b"",
    check_hostname: bool = False,
    identity: tuple[str, str] | None = None,
    agent: DstackClientV0 | DstackClientV1 | None = None,
    subject: str = "client",
) -> AttestedContext:
    """Make a context for connecting to attested servers.

    ``expect`` should name the app: without it any app with good evidence is accepted. ``root`` (PEM)
    asks for a chain to that root besides, ``check_hostname`` for the server's name. To show evidence
    of one's own, give ``identity`` (private key and chain, PEM) or the ``agent`` that issues it.
    """
    judge = _Judge(verifier, expect, root, check_hostname, True)
    context = _context(ssl.PROTOCOL_TLS_CLIENT, judge)
    # The certificate's issuer proves nothing here: what it carries is judged instead.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if identity is not None:
        load_identity(context, *identity)
    elif agent is not None:
        _load_issued(context, agent, subject, True)
    return context


def server_context(
    *,
    identity: tuple[str, str] | None = None,
    agent: DstackClientV0 | DstackClientV1 | None = None,
    subject: str = "localhost",
    verifier: Verifier | None = None,
    expect: Expectations = ANYTHING,
    client_root: str | None = None,
) -> ssl.SSLContext:
    """Make a context for an attested server: its certificate is ``identity`` (private key and chain,
    PEM), or issued by the ``agent``.

    With ``client_root`` (PEM) clients must show a certificate of that root, whose evidence the
    ``verifier`` judges. Python's ``ssl`` cannot ask for certificates of unknown issuers.
    """
    if client_root is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    else:
        if verifier is None:
            raise ValueError("clients cannot be judged without a verifier")
        root = client_root.encode()
        context = _context(ssl.PROTOCOL_TLS_SERVER, _Judge(verifier, expect, root, False, True))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=client_root)
    if identity is not None:
        load_identity(context, *identity)
    elif agent is not None:
        _load_issued(context, agent, subject, False)
    else:
        raise ValueError("a server needs an identity, or the agent that issues it")
    return context
