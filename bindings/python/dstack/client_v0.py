"""Version 0 of the agent's API, which is frozen, and the legacy service before it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from . import _http, _wire
from ._calls import AsyncClient, Call, SyncClient, to_bytes
from .types import (
    AttestResponse,
    GetKeyResponse,
    GetQuoteResponse,
    GetTlsKeyResponse,
    InfoResponse,
    SignResponse,
    T,
    TcbInfo,
    TcbInfoV03x,
    TcbInfoV05x,
    VerifyResponse,
    VersionResponse,
)


def _need_version(refusal: str) -> Call[None]:
    try:
        yield "Version", {}
    except Exception as error:
        raise RuntimeError(
            f"{refusal} not supported: OS version too old (Version RPC unavailable)"
        ) from error


def _get_key(path: str | None, purpose: str | None, algorithm: str) -> Call[GetKeyResponse]:
    if algorithm not in ("", "secp256k1", "k256"):
        yield from _need_version(f'algorithm "{algorithm}" is')
    asked = {"path": path or "", "purpose": purpose or "", "algorithm": algorithm}
    answer = yield "GetKey", asked
    return GetKeyResponse(_wire.text(answer, "key"), _wire.texts(answer, "signature_chain"))


def _tls_key(answer: Any) -> GetTlsKeyResponse:
    return GetTlsKeyResponse(_wire.text(answer, "key"), _wire.texts(answer, "certificate_chain"))


def _get_tls_key(
    subject: str | None,
    alt_names: Sequence[str] | None,
    usages: dict[str, bool],
    later: dict[str, Any],
) -> Call[GetTlsKeyResponse]:
    later = {name: value for name, value in later.items() if value is not None}
    if later:
        yield from _need_version(f"TLS key options [{', '.join(later)}] are")
    asked: dict[str, Any] = {"subject": subject or "", **usages, **later}
    if alt_names:
        asked["alt_names"] = list(alt_names)
    return _tls_key((yield "GetTlsKey", asked))


def _report_data(value: str | bytes) -> str:
    if not value or not isinstance(value, (str, bytes, bytearray, memoryview)):
        raise ValueError("report_data can not be empty")
    data = to_bytes(value)
    if len(data) > 64:
        raise ValueError("report_data must be at most 64 bytes")
    return data.hex()


def _quote(answer: Any) -> GetQuoteResponse:
    return GetQuoteResponse(
        _wire.text(answer, "quote"),
        _wire.text(answer, "event_log"),
        _wire.text_or(answer, "report_data"),
        _wire.text_or(answer, "vm_config"),
    )


def _get_quote(report_data: str | bytes) -> Call[GetQuoteResponse]:
    return _quote((yield "GetQuote", {"report_data": _report_data(report_data)}))


def _attest(report_data: str | bytes) -> Call[AttestResponse]:
    answer = yield "Attest", {"report_data": _report_data(report_data)}
    return AttestResponse(_wire.text(answer, "attestation"))


def _info(kind: type[T]) -> Call[InfoResponse[T]]:
    answer = yield "Info", {}
    tcb = kind.from_json(_wire.text(answer, "tcb_info"))
    needed = ("app_id", "instance_id", "app_cert", "app_name", "device_id", "key_provider_info")
    later = ("mr_aggregated", "os_image_hash", "vm_config", "cloud_vendor", "cloud_product")
    return InfoResponse(
        tcb_info=tcb,
        compose_hash=_wire.text(answer, "compose_hash"),
        **{name: _wire.text(answer, name) for name in needed},
        **{name: _wire.text_or(answer, name) for name in later},
    )


def _sign(algorithm: str, data: str | bytes) -> Call[SignResponse]:
    content = to_bytes(data)
    if algorithm == "secp256k1_prehashed" and len(content) != 32:
        raise ValueError(f"{algorithm} signs a 32-byte digest, not {len(content)} bytes")
    answer = yield "Sign", {"algorithm": algorithm, "data": content.hex()}
    return SignResponse(
        _wire.text(answer, "signature"),
        _wire.texts(answer, "signature_chain"),
        _wire.text(answer, "public_key"),
    )


def _verify(
    algorithm: str, data: str | bytes, signature: str | bytes, public_key: str | bytes
) -> Call[VerifyResponse]:
    parts = {"data": data, "signature": signature, "public_key": public_key}
    asked = {name: to_bytes(value).hex() for name, value in parts.items()}
    answer = yield "Verify", {"algorithm": algorithm, **asked}
    return VerifyResponse(_wire.need(answer, "valid", bool))


def _version() -> Call[VersionResponse]:
    answer = yield "Version", {}
    return VersionResponse(_wire.text(answer, "version"), _wire.text(answer, "rev"))


def _emit_event(event: str, payload: str | bytes) -> Call[None]:
    if not event:
        raise ValueError("event name cannot be empty")
    yield "EmitEvent", {"event": event, "payload": to_bytes(payload).hex()}


def _reachable() -> Call[bool]:
    try:
        yield "Info", {}
    except Exception:
        return False
    return True


def _usages(ra_tls: bool, server: bool, client: bool) -> dict[str, bool]:
    return {"usage_ra_tls": ra_tls, "usage_server_auth": server, "usage_client_auth": client}


class DstackClientV0(SyncClient):
    """Blocking client of version 0.

    ``endpoint`` is the path of a socket or an ``http(s)://`` URL; without it the environment
    variable ``DSTACK_SIMULATOR_ENDPOINT`` is taken, then the first usual socket that exists.
    ``timeout`` is in seconds, for one request.
    """

    def __init__(self, endpoint: str | None = None, *, timeout: float = 3) -> None:
        found = _http.find_endpoint(endpoint, "DSTACK_SIMULATOR_ENDPOINT", "dstack.sock")
        super().__init__(found, timeout)

    def get_key(
        self, path: str | None = None, purpose: str | None = None, algorithm: str = "secp256k1"
    ) -> GetKeyResponse:
        """Derive the key of a path. Both algorithms give the same bytes at one path: the client of
        version 1 separates them."""
        return self._run(_get_key(path, purpose, algorithm))

    def get_tls_key(
        self,
        subject: str | None = None,
        alt_names: Sequence[str] | None = None,
        usage_ra_tls: bool = False,
        usage_server_auth: bool = True,
        usage_client_auth: bool = False,
        *,
        not_before: int | None = None,
        not_after: int | None = None,
        with_app_info: bool | None = None,
    ) -> GetTlsKeyResponse:
        """Make a fresh key and have a certificate issued for it. Times are UNIX seconds."""
        usages = _usages(usage_ra_tls, usage_server_auth, usage_client_auth)
        later = {"not_before": not_before, "not_after": not_after, "with_app_info": with_app_info}
        return self._run(_get_tls_key(subject, alt_names, usages, later))

    def get_quote(self, report_data: str | bytes) -> GetQuoteResponse:
        """Take a TDX quote over 1 to 64 bytes."""
        return self._run(_get_quote(report_data))

    def attest(self, report_data: str | bytes) -> AttestResponse:
        """Take an attestation over 1 to 64 bytes."""
        return self._run(_attest(report_data))

    def info(self) -> InfoResponse[TcbInfo]:
        """Ask who this guest is. Nothing in the answer is evidence."""
        return self._run(_info(TcbInfoV05x))

    def emit_event(self, event: str, payload: str | bytes) -> None:
        """Always fails: agents no longer let apps extend registers."""
        return self._run(_emit_event(event, payload))

    def sign(self, algorithm: str, data: str | bytes) -> SignResponse:
        """Sign with a key of the agent's choice for the algorithm."""
        return self._run(_sign(algorithm, data))

    def verify(
        self, algorithm: str, data: str | bytes, signature: str | bytes, public_key: str | bytes
    ) -> VerifyResponse:
        """Ask the agent whether a signature holds."""
        return self._run(_verify(algorithm, data, signature, public_key))

    def version(self) -> VersionResponse:
        """Ask for the agent's version."""
        return self._run(_version())

    def is_reachable(self) -> bool:
        """Tell whether the agent answers."""
        return self._run(_reachable())


class AsyncDstackClientV0(AsyncClient):
    """The same for asyncio."""

    def __init__(self, endpoint: str | None = None, *, timeout: float = 3) -> None:
        found = _http.find_endpoint(endpoint, "DSTACK_SIMULATOR_ENDPOINT", "dstack.sock")
        super().__init__(found, timeout)

    async def get_key(
        self, path: str | None = None, purpose: str | None = None, algorithm: str = "secp256k1"
    ) -> GetKeyResponse:
        """Derive the key of a path."""
        return await self._run(_get_key(path, purpose, algorithm))

    async def get_tls_key(
        self,
        subject: str | None = None,
        alt_names: Sequence[str] | None = None,
        usage_ra_tls: bool = False,
        usage_server_auth: bool = True,
        usage_client_auth: bool = False,
        *,
        not_before: int | None = None,
        not_after: int | None = None,
        with_app_info: bool | None = None,
    ) -> GetTlsKeyResponse:
        """Make a fresh key and have a certificate issued for it. Times are UNIX seconds."""
        usages = _usages(usage_ra_tls, usage_server_auth, usage_client_auth)
        later = {"not_before": not_before, "not_after": not_after, "with_app_info": with_app_info}
        return await self._run(_get_tls_key(subject, alt_names, usages, later))

    async def get_quote(self, report_data: str | bytes) -> GetQuoteResponse:
        """Take a TDX quote over 1 to 64 bytes."""
        return await self._run(_get_quote(report_data))

    async def attest(self, report_data: str | bytes) -> AttestResponse:
        """Take an attestation over 1 to 64 bytes."""
        return await self._run(_attest(report_data))

    async def info(self) -> InfoResponse[TcbInfo]:
        """Ask who this guest is. Nothing in the answer is evidence."""
        return await self._run(_info(TcbInfoV05x))

    async def emit_event(self, event: str, payload: str | bytes) -> None:
        """Always fails: agents no longer let apps extend registers."""
        return await self._run(_emit_event(event, payload))

    async def sign(self, algorithm: str, data: str | bytes) -> SignResponse:
        """Sign with a key of the agent's choice for the algorithm."""
        return await self._run(_sign(algorithm, data))

    async def verify(
        self, algorithm: str, data: str | bytes, signature: str | bytes, public_key: str | bytes
    ) -> VerifyResponse:
        """Ask the agent whether a signature holds."""
        return await self._run(_verify(algorithm, data, signature, public_key))

    async def version(self) -> VersionResponse:
        """Ask for the agent's version."""
        return await self._run(_version())

    async def is_reachable(self) -> bool:
        """Tell whether the agent answers."""
        return await self._run(_reachable())


# ---- the legacy service -------------------------------------------------------------------------


def _deprecated(what: str, instead: str) -> None:
    warnings.warn(f"{what} is deprecated, use {instead}", DeprecationWarning, stacklevel=3)


def _derive_key(
    path: str | None, subject: str | None, alt_names: Sequence[str] | None
) -> Call[GetTlsKeyResponse]:
    asked: dict[str, Any] = {"path": path or "", "subject": subject or path or ""}
    if alt_names:
        asked["alt_names"] = list(alt_names)
    return _tls_key((yield "DeriveKey", asked))


def _tdx_quote(report_data: str | bytes, hash_algorithm: str | None) -> Call[GetQuoteResponse]:
    if not report_data or not isinstance(report_data, (str, bytes)):
        raise ValueError("report_data can not be empty")
    text = to_bytes(report_data).hex()
    if hash_algorithm == "raw":
        if len(text) > 128:
            raise ValueError("report_data must be at most 64 bytes when it is taken raw")
        text = text.rjust(128, "0")
    asked = {"report_data": text, "hash_algorithm": hash_algorithm or "raw"}
    return _quote((yield "TdxQuote", asked))


class TappdClient(DstackClientV0):
    """Blocking client of the legacy service. Deprecated."""

    _prefix = "/prpc/Tappd."

    def __init__(self, endpoint: str | None = None, timeout: float = 3) -> None:
        _deprecated("TappdClient", "DstackClient")
        found = _http.find_endpoint(endpoint, "TAPPD_SIMULATOR_ENDPOINT", "tappd.sock")
        super().__init__(found, timeout=timeout)

    def derive_key(
        self,
        path: str | None = None,
        subject: str | None = None,
        alt_names: Sequence[str] | None = None,
    ) -> GetTlsKeyResponse:
        """Derive a P-256 key with a certificate. Deprecated."""
        _deprecated("derive_key", "get_key")
        return self._run(_derive_key(path, subject, alt_names))

    def tdx_quote(
        self, report_data: str | bytes, hash_algorithm: str | None = None
    ) -> GetQuoteResponse:
        """Take a quote over hashed report data. Deprecated."""
        _deprecated("tdx_quote", "get_quote")
        return self._run(_tdx_quote(report_data, hash_algorithm))

    def info(self) -> InfoResponse[TcbInfo]:
        """Ask who this guest is."""
        return self._run(_info(TcbInfoV03x))


class AsyncTappdClient(AsyncDstackClientV0):
    """The same for asyncio. Deprecated."""

    _prefix = "/prpc/Tappd."

    def __init__(self, endpoint: str | None = None, timeout: float = 3) -> None:
        _deprecated("AsyncTappdClient", "AsyncDstackClient")
        found = _http.find_endpoint(endpoint, "TAPPD_SIMULATOR_ENDPOINT", "tappd.sock")
        super().__init__(found, timeout=timeout)

    async def derive_key(
        self,
        path: str | None = None,
        subject: str | None = None,
        alt_names: Sequence[str] | None = None,
    ) -> GetTlsKeyResponse:
        """Derive a P-256 key with a certificate. Deprecated."""
        _deprecated("derive_key", "get_key")
        return await self._run(_derive_key(path, subject, alt_names))

    async def tdx_quote(
        self, report_data: str | bytes, hash_algorithm: str | None = None
    ) -> GetQuoteResponse:
        """Take a quote over hashed report data. Deprecated."""
        _deprecated("tdx_quote", "get_quote")
        return await self._run(_tdx_quote(report_data, hash_algorithm))

    async def info(self) -> InfoResponse[TcbInfo]:
        """Ask who this guest is."""
        return await self._run(_info(TcbInfoV03x))
