"""What the agent's calls give."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from . import native
from .errors import ArgumentError


@dataclass(frozen=True)
class GetKeyResponse:
    """A derived key and the signatures that vouch for it, as hex."""

    key: str = field(repr=False)
    signature_chain: list[str]

    def decode_key(self) -> bytes:
        """Give the 32 bytes of the key."""
        return bytes.fromhex(self.key)

    def decode_signature_chain(self) -> list[bytes]:
        """Give the signatures: the app key's, then the KMS's."""
        return [bytes.fromhex(link) for link in self.signature_chain]


@dataclass(frozen=True)
class GetTlsKeyResponse:
    """A fresh private key and its certificate chain, PEM, leaf first."""

    key: str = field(repr=False)
    certificate_chain: list[str]

    def as_uint8array(self, max_length: int | None = None) -> bytes:
        """Give the key's PKCS#8 DER, cut or filled with zeros to ``max_length``."""
        lines = [line for line in self.key.splitlines() if line and not line.startswith("-----")]
        der = base64.b64decode("".join(lines), validate=True)
        return der if max_length is None else der[:max_length].ljust(max_length, b"\0")


@dataclass(frozen=True)
class EventLog:
    """One event of an event log."""

    imr: int
    event_type: int
    digest: str
    event: str
    event_payload: str
    version: int | None = None
    preimage: str | None = None


def _event(entry: dict[str, object]) -> EventLog:
    known = {name: entry[name] for name in EventLog.__dataclass_fields__ if name in entry}
    return EventLog(**known)  # type: ignore[arg-type]


@dataclass(frozen=True)
class GetQuoteResponse:
    """A TDX quote (hex) and the event log beside it (JSON text)."""

    quote: str
    event_log: str
    report_data: str = ""
    vm_config: str = ""

    def decode_quote(self) -> bytes:
        """Give the quote's bytes."""
        return bytes.fromhex(self.quote)

    def decode_event_log(self) -> list[EventLog]:
        """Give the events."""
        return [_event(entry) for entry in json.loads(self.event_log)]

    def replay_rtmrs(self) -> dict[int, str]:
        """Give the registers that the log replays to. Digests of runtime events are computed from
        their content, so stripped logs serve as well; nothing here is verified."""
        log = native.dstack_event_log_parse_json(self.event_log)
        return {i: mr.hex() for i, mr in enumerate(native.flat_event_log_replay(log))}


@dataclass(frozen=True)
class AttestResponse:
    """An attestation, hex."""

    attestation: str

    def decode_attestation(self) -> bytes:
        """Give its bytes, as ``Attestation.decode`` reads them."""
        return bytes.fromhex(self.attestation)


@dataclass(frozen=True)
class SignResponse:
    """A signature and what vouches for its key, as hex."""

    signature: str
    signature_chain: list[str]
    public_key: str

    def decode_signature(self) -> bytes:
        """Give the signature's bytes."""
        return bytes.fromhex(self.signature)

    def decode_signature_chain(self) -> list[bytes]:
        """Give the chain's bytes."""
        return [bytes.fromhex(link) for link in self.signature_chain]

    def decode_public_key(self) -> bytes:
        """Give the public key's bytes."""
        return bytes.fromhex(self.public_key)


@dataclass(frozen=True)
class VerifyResponse:
    """Whether a signature holds."""

    valid: bool


@dataclass(frozen=True)
class VersionResponse:
    """The agent's version and revision."""

    version: str
    rev: str


@dataclass(frozen=True)
class TcbInfo:
    """Registers and event log, as the agent tells them: nothing here is evidence."""

    mrtd: str
    rtmr0: str
    rtmr1: str
    rtmr2: str
    rtmr3: str
    app_compose: str
    event_log: list[EventLog]

    @classmethod
    def from_json(cls: type[T], text: str) -> T:
        """Read the text of an Info answer; members that are not known are left out."""
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ArgumentError(-3, "format", "tcb_info is not a JSON object")
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        known["event_log"] = [_event(entry) for entry in value.get("event_log", [])]
        return cls(**known)


@dataclass(frozen=True)
class TcbInfoV03x(TcbInfo):
    """As the legacy service tells it."""

    rootfs_hash: str | None = None


@dataclass(frozen=True)
class TcbInfoV05x(TcbInfo):
    """As version 0 tells it."""

    mr_aggregated: str
    os_image_hash: str
    compose_hash: str
    device_id: str


T = TypeVar("T", bound=TcbInfo)


@dataclass(frozen=True)
class InfoResponse(Generic[T]):
    """Who the agent says this guest is."""

    app_id: str
    instance_id: str
    app_cert: str
    tcb_info: T
    app_name: str
    device_id: str
    key_provider_info: str
    compose_hash: str
    mr_aggregated: str = ""
    os_image_hash: str = ""
    vm_config: str = ""
    cloud_vendor: str = ""
    cloud_product: str = ""


# ---- version 1: bytes are bytes -----------------------------------------------------------------


@dataclass(frozen=True)
class IssuedCert:
    """A fresh private key and its certificate chain, PEM, leaf first."""

    key: str = field(repr=False)
    certificate_chain: list[str]


@dataclass(frozen=True)
class DerivedKey:
    """A key bound to its domain and algorithm."""

    key: bytes = field(repr=False)
    public_key: bytes
    signature_chain: list[bytes]


@dataclass(frozen=True)
class GpuEvidence:
    """Evidence of a GPU in its vendor's form."""

    vendor: str
    format: str
    evidence: bytes


@dataclass(frozen=True)
class Attested:
    """An attestation in its version 1 form, with evidence of GPUs at boot where asked."""

    attestation: bytes
    boottime_gpu_evidence: list[GpuEvidence]


@dataclass(frozen=True)
class GuestInfo:
    """Who the agent says this guest is."""

    app_id: bytes
    app_name: str
    compose_hash: bytes
    app_compose: str
    instance_id: bytes
    device_id: bytes
    os_image_hash: bytes
    mr_aggregated: bytes
    vm_config: str
    key_provider_info: str
    cloud_vendor: str
    cloud_product: str
