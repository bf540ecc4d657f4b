"""Verification: quotes, attestations, certificates that carry them."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from typing import Any

from . import native
from .errors import RefusedError


@dataclass(frozen=True)
class Claim:
    """One verified claim. ``anchor`` tells what its trust rests on: "measured",
    "reference-image", "policy", "self-asserted" or "none"."""

    name: str
    value: str
    anchor: str


@dataclass(frozen=True)
class Verified:
    """What a verification established."""

    tee_variant: str
    tcb_status: str
    advisory_ids: list[str]
    report_data: bytes
    app_info: dict[str, Any]
    os_image_anchor: str
    external_root: bool
    claims: list[Claim]

    def claim(self, name: str) -> Claim:
        """Give the claim of this name; KeyError when there is none."""
        for claim in self.claims:
            if claim.name == name:
                return claim
        raise KeyError(name)

    @property
    def app_id(self) -> bytes:
        """The app's id, 20 bytes."""
        return bytes.fromhex(self.app_info["app_id"])

    @property
    def compose_hash(self) -> bytes:
        """SHA-256 of the app's manifest."""
        return bytes.fromhex(self.app_info["compose_hash"])

    @classmethod
    def _from_native(cls, handle: native.dstack_verified) -> Verified:
        value = json.loads(native.dstack_verified_to_json(handle))
        return cls(
            tee_variant=value["tee_variant"],
            tcb_status=value["tcb_status"],
            advisory_ids=value["advisory_ids"],
            report_data=bytes.fromhex(value["report_data"]),
            app_info=value["app_info"],
            os_image_anchor=value["os_image_anchor"],
            external_root=value["external_root"],
            claims=[Claim(c["name"], c["value"], c["anchor"]) for c in value["claims"]],
        )


def report_data(content: bytes, tag: str = "app-data", algorithm: str = "") -> bytes:
    """Give the 64 bytes of report data that bind tagged content (SHA-512 unless told)."""
    return native.dstack_report_data(tag, algorithm, content)


def parse_quote(quote: bytes) -> dict[str, Any]:
    """Give what a quote says: its form is checked, its truth is not."""
    value: dict[str, Any] = json.loads(native.flat_quote_to_json(quote))
    return value


class Policy:
    """Which TCB levels are good enough, as JSON text or a dictionary. Immutable; the default takes
    UpToDate alone."""

    def __init__(self, rules: str | dict[str, Any] | None = None) -> None:
        text = rules if isinstance(rules, str) else json.dumps(rules or {})
        self._handle = native.dstack_policy_parse(text)


class Collateral:
    """What Intel publishes about a platform. Immutable."""

    def __init__(self, bundle: str | bytes) -> None:
        self._handle = native.dstack_collateral_parse(bundle)

    @classmethod
    def fetch(
        cls,
        quote: bytes,
        server: str | None = None,
        *,
        timeout: float = 30,
        proxy: str | None = None,
    ) -> Collateral:
        """Fetch what verifies this quote; ``server`` is a base URL of Intel's service or a cache."""
        self = cls.__new__(cls)
        self._handle = native.flat_collateral_fetch(quote, server, int(timeout * 1000), proxy)
        return self

    def to_json(self) -> str:
        """Give the bundle."""
        return native.dstack_collateral_to_json(self._handle, False).decode()

    @property
    def expires(self) -> int:
        """When the bundle stops being usable, UNIX seconds."""
        return native.dstack_collateral_expires(self._handle)


class Attestation:
    """A decoded attestation: nothing in it is verified."""

    def __init__(self, encoded: bytes) -> None:
        self._handle = native.dstack_attestation_decode(encoded)

    @classmethod
    def from_quote(cls, quote: bytes, event_log: str | bytes) -> Attestation:
        """Make one of a TDX quote and the JSON text of its event log."""
        self = cls.__new__(cls)
        self._handle = native.dstack_attestation_from_quote(quote, event_log)
        return self

    def encode(self) -> bytes:
        """Give its bytes in the form it was decoded from."""
        return native.dstack_attestation_encode(
            self._handle, native.DSTACK_ATTESTATION_AS_DECODED
        )

    def to_dict(self) -> dict[str, Any]:
        """Give everything in it, for people."""
        value: dict[str, Any] = json.loads(native.dstack_attestation_to_json(self._handle))
        return value

    @property
    def evidence(self) -> bytes:
        """The platform's evidence: for TDX the quote."""
        return native.dstack_attestation_evidence(self._handle)

    @property
    def report_data(self) -> bytes:
        """The stated report data, 64 bytes."""
        return native.dstack_attestation_report_data(self._handle)

    @property
    def vm_config(self) -> str:
        """The configuration text."""
        return native.dstack_attestation_config(self._handle) or ""


@dataclass(frozen=True)
class Expectations:
    """What a verifier demands beyond the truth of the evidence. None or "": anything."""

    app_id: bytes | None = None
    compose_hash: bytes | None = None
    policy: Policy | None = None
    vm_config: str | None = None
    require_mr_config: bool = False
    image: str | os.PathLike[str] | None = None

    def check(self, verified: Verified) -> None:
        """Compare with what was verified; RefusedError names what differs."""
        for name, wanted in (("app_id", self.app_id), ("compose_hash", self.compose_hash)):
            if wanted is None:
                continue
            found = str(verified.app_info.get(name, ""))
            if found != wanted.hex():
                raise RefusedError(-12, "refused", f"{name} is {found}, not {wanted.hex()}")

    @property
    def _image(self) -> str | None:
        return None if self.image is None else os.fspath(self.image)

    @property
    def _policy(self) -> native.dstack_policy | None:
        return None if self.policy is None else self.policy._handle


ANYTHING = Expectations()


class Verifier:
    """Verifies evidence against Intel's root, and keeps what it verified. Threads may share one.

    ``root`` pins one further anchor (DER), for simulated platforms; ``builtin_root=False`` drops
    Intel's. ``fetch`` fetches collateral that is not there yet, from ``server``.
    """

    def __init__(
        self,
        *,
        root: bytes = b"",
        root_name: str = "pinned",
        builtin_root: bool = True,
        allow_debug: bool = False,
        allow_service_td: bool = False,
        fetch: bool = False,
        server: str | None = None,
    ) -> None:
        self._handle = native.flat_verifier_new(
            root, root_name, builtin_root, allow_debug, allow_service_td
        )
        self._fetch, self._server = fetch, server

    def add_collateral(self, collateral: Collateral) -> None:
        """Give collateral to choose from."""
        native.dstack_verifier_add_collateral(self._handle, collateral._handle)

    def _prepare(self, evidence: bytes, now: int) -> None:
        if self._fetch and not native.dstack_verifier_has_collateral(self._handle, evidence, now):
            self.add_collateral(Collateral.fetch(evidence, self._server))

    def verify_quote(
        self,
        quote: bytes,
        *,
        report_data: bytes = b"",
        policy: Policy | None = None,
        now: int | None = None,
    ) -> dict[str, Any]:
        """Verify an SGX or TDX quote and give the report. Without a policy every status but Revoked
        passes, and the caller judges."""
        at = int(time.time()) if now is None else now
        self._prepare(quote, at)
        rules = None if policy is None else policy._handle
        value: dict[str, Any] = json.loads(
            native.flat_quote_check(self._handle, quote, report_data, rules, at)
        )
        return value

    def verify(
        self,
        attestation: Attestation | bytes,
        *,
        report_data: bytes = b"",
        expect: Expectations = ANYTHING,
        boot_time: bool = False,
        now: int | None = None,
    ) -> Verified:
        """Verify an attestation end to end. ``report_data`` are the 64 bytes that must be bound;
        without them nothing says that the evidence is fresh or meant for the caller."""
        if not isinstance(attestation, Attestation):
            attestation = Attestation(attestation)
        at = int(time.time()) if now is None else now
        self._prepare(attestation.evidence, at)
        verified = Verified._from_native(
            native.flat_attestation_verify(
                self._handle,
                attestation._handle,
                report_data,
                expect._policy,
                expect.vm_config,
                boot_time,
                expect.require_mr_config,
                expect._image,
                at,
            )
        )
        expect.check(verified)
        return verified

    def verify_certificate(
        self,
        certificate: bytes,
        *,
        root: bytes = b"",
        intermediates: bytes = b"",
        host: str | None = None,
        usage: str | None = None,
        expect: Expectations = ANYTHING,
        require_attestation: bool = True,
        now: int | None = None,
    ) -> Verified | None:
        """Verify a certificate (PEM or DER): validity, its chain to ``root`` where given, its names,
        and its evidence, bound to its key. Gives what the evidence established; None when it carries
        none and none is required."""
        at = int(time.time()) if now is None else now
        cert = native.dstack_cert_parse(certificate)
        encoded = native.flat_cert_attestation(cert)
        if encoded:
            self._prepare(Attestation(encoded).evidence, at)
        made = native.flat_cert_verify(
            self._handle,
            cert,
            root,
            intermediates,
            host,
            usage,
            b"",
            require_attestation,
            expect._policy,
            expect.vm_config,
            expect.require_mr_config,
            expect._image,
            at,
        )
        if made is None:
            return None
        verified = Verified._from_native(made)
        expect.check(verified)
        return verified
