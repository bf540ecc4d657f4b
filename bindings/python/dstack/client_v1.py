"""Version 1 of the agent's API: bytes are bytes, keys are bound to domain and algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import _http, _wire
from ._calls import AsyncClient, Call, SyncClient
from .types import Attested, DerivedKey, GpuEvidence, GuestInfo, IssuedCert, VersionResponse

_Bytes = (bytes, bytearray, memoryview)


def _issue_cert(
    subject: str | None,
    alt_names: Sequence[str] | None,
    flags: dict[str, bool],
    times: dict[str, int | None],
) -> Call[IssuedCert]:
    asked: dict[str, Any] = {"subject": subject or "", **flags}
    asked.update({name: value for name, value in times.items() if value is not None})
    if alt_names:
        asked["alt_names"] = list(alt_names)
    answer = yield "IssueCert", asked
    return IssuedCert(_wire.text(answer, "key"), _wire.texts(answer, "certificate_chain"))


def _get_key(domain: str, algorithm: str) -> Call[DerivedKey]:
    if not algorithm:
        raise ValueError("algorithm is required: secp256k1 or ed25519")
    answer = yield "GetKey", {"domain": domain, "algorithm": algorithm}
    return DerivedKey(
        _wire.data(answer, "key"),
        _wire.data(answer, "public_key"),
        _wire.datas(answer, "signature_chain"),
    )


def _gpu_evidence(answer: Any, field: str) -> list[GpuEvidence]:
    return [
        GpuEvidence(
            _wire.text(one, "vendor"), _wire.text(one, "format"), _wire.data(one, "evidence")
        )
        for one in _wire.need(answer, field, list)
    ]


def _attest(report_data: bytes, include_boottime_gpu_evidence: bool) -> Call[Attested]:
    if not isinstance(report_data, _Bytes):
        raise TypeError("report_data must be bytes")
    if not 1 <= len(bytes(report_data)) <= 64:
        raise ValueError("report_data must have 1 to 64 bytes")
    asked: dict[str, Any] = {"report_data": bytes(report_data).hex()}
    if include_boottime_gpu_evidence:
        asked["include_boottime_gpu_evidence"] = True
    answer = yield "Attest", asked
    return Attested(
        _wire.data(answer, "attestation"), _gpu_evidence(answer, "boottime_gpu_evidence")
    )


def _attest_gpu(nonce: bytes) -> Call[list[GpuEvidence]]:
    if not isinstance(nonce, _Bytes):
        raise TypeError("nonce must be bytes")
    if len(bytes(nonce)) != 32:
        raise ValueError("nonce must have 32 bytes")
    answer = yield "AttestGpu", {"nonce": bytes(nonce).hex()}
    return _gpu_evidence(answer, "bundles")


def _info() -> Call[GuestInfo]:
    answer = yield "Info", {}
    return GuestInfo(
        app_id=_wire.data(answer, "app_id"),
        app_name=_wire.text(answer, "app_name"),
        compose_hash=_wire.data(answer, "compose_hash"),
        app_compose=_wire.text(answer, "app_compose"),
        instance_id=_wire.data(answer, "instance_id"),
        device_id=_wire.data(answer, "device_id"),
        os_image_hash=_wire.data_or_empty(answer, "os_image_hash"),
        mr_aggregated=_wire.data_or_empty(answer, "mr_aggregated"),
        vm_config=_wire.text(answer, "vm_config"),
        key_provider_info=_wire.text(answer, "key_provider_info"),
        cloud_vendor=_wire.text(answer, "cloud_vendor"),
        cloud_product=_wire.text(answer, "cloud_product"),
    )


def _version() -> Call[VersionResponse]:
    answer = yield "Version", {}
    return VersionResponse(_wire.text(answer, "version"), _wire.text(answer, "rev"))


class DstackClientV1(SyncClient):
    """Blocking client of version 1. Arguments as those of ``DstackClientV0``."""

    _prefix = "/v1/"

    def __init__(self, endpoint: str | None = None, *, timeout: float = 3) -> None:
        found = _http.find_endpoint(endpoint, "DSTACK_SIMULATOR_ENDPOINT", "dstack.sock")
        super().__init__(found, timeout)

    def issue_cert(
        self,
        subject: str | None = None,
        alt_names: Sequence[str] | None = None,
        *,
        usage_ra_tls: bool = False,
        usage_server_auth: bool = True,
        usage_client_auth: bool = False,
        not_before: int | None = None,
        not_after: int | None = None,
        with_app_info: bool = False,
    ) -> IssuedCert:
        """Make a fresh key and have a certificate issued for it. Times are UNIX seconds."""
        flags = {
            "usage_ra_tls": usage_ra_tls,
            "usage_server_auth": usage_server_auth,
            "usage_client_auth": usage_client_auth,
            "with_app_info": with_app_info,
        }
        times = {"not_before": not_before, "not_after": not_after}
        return self._run(_issue_cert(subject, alt_names, flags, times))

    def get_key(self, domain: str, algorithm: str) -> DerivedKey:
        """Derive the key of a domain: ``algorithm`` is "secp256k1" or "ed25519"."""
        return self._run(_get_key(domain, algorithm))

    def attest(
        self, report_data: bytes, *, include_boottime_gpu_evidence: bool = False
    ) -> Attested:
        """Take an attestation over 1 to 64 bytes; zeros follow them."""
        return self._run(_attest(report_data, include_boottime_gpu_evidence))

    def attest_gpu(self, nonce: bytes) -> list[GpuEvidence]:
        """Take fresh evidence of the GPUs over a nonce of 32 bytes."""
        return self._run(_attest_gpu(nonce))

    def info(self) -> GuestInfo:
        """Ask who this guest is. Nothing in the answer is evidence."""
        return self._run(_info())

    def version(self) -> VersionResponse:
        """Ask for the agent's version."""
        return self._run(_version())


class AsyncDstackClientV1(AsyncClient):
    """The same for asyncio."""

    _prefix = "/v1/"

    def __init__(self, endpoint: str | None = None, *, timeout: float = 3) -> None:
        found = _http.find_endpoint(endpoint, "DSTACK_SIMULATOR_ENDPOINT", "dstack.sock")
        super().__init__(found, timeout)

    async def issue_cert(
        self,
        subject: str | None = None,
        alt_names: Sequence[str] | None = None,
        *,
        usage_ra_tls: bool = False,
        usage_server_auth: bool = True,
        usage_client_auth: bool = False,
        not_before: int | None = None,
        not_after: int | None = None,
        with_app_info: bool = False,
    ) -> IssuedCert:
        """Make a fresh key and have a certificate issued for it. Times are UNIX seconds."""
        flags = {
            "usage_ra_tls": usage_ra_tls,
            "usage_server_auth": usage_server_auth,
            "usage_client_auth": usage_client_auth,
            "with_app_info": with_app_info,
        }
        times = {"not_before": not_before, "not_after": not_after}
        return await self._run(_issue_cert(subject, alt_names, flags, times))

    async def get_key(self, domain: str, algorithm: str) -> DerivedKey:
        """Derive the key of a domain: ``algorithm`` is "secp256k1" or "ed25519"."""
        return await self._run(_get_key(domain, algorithm))

    async def attest(
        self, report_data: bytes, *, include_boottime_gpu_evidence: bool = False
    ) -> Attested:
        """Take an attestation over 1 to 64 bytes; zeros follow them."""
        return await self._run(_attest(report_data, include_boottime_gpu_evidence))

    async def attest_gpu(self, nonce: bytes) -> list[GpuEvidence]:
        """Take fresh evidence of the GPUs over a nonce of 32 bytes."""
        return await self._run(_attest_gpu(nonce))

    async def info(self) -> GuestInfo:
        """Ask who this guest is. Nothing in the answer is evidence."""
        return await self._run(_info())

    async def version(self) -> VersionResponse:
        """Ask for the agent's version."""
        return await self._run(_version())
