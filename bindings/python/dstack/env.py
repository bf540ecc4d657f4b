"""Encryption of an app's environment, and the signature over the key it is encrypted to."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from . import native
from .errors import DstackError, RefusedError


class EnvVar(NamedTuple):
    """One environment variable."""

    key: str
    value: str


def _from_hex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def encrypt_env_vars_sync(envs: Sequence[EnvVar], public_key_hex: str) -> str:
    """Encrypt variables to an X25519 public key (hex) as the guest opens them; gives hex."""
    text = json.dumps({"env": [{"key": key, "value": value} for key, value in envs]})
    return native.dstack_env_encrypt_raw(text, _from_hex(public_key_hex)).hex()


async def encrypt_env_vars(envs: Sequence[EnvVar], public_key_hex: str) -> str:
    """Encrypt as ``encrypt_env_vars_sync`` does."""
    return encrypt_env_vars_sync(envs, public_key_hex)


def encrypt_environment(variables: Mapping[str, str], public_key: bytes) -> bytes:
    """Encrypt variables after checking what a guest would refuse: names, sizes, zero bytes."""
    env = native.dstack_env_new()
    for key, value in variables.items():
        native.dstack_env_set(env, key, value)
    return native.dstack_env_encrypt(env, public_key)


def decrypt_environment(blob: bytes, secret: bytes, allowed: Iterable[str]) -> dict[str, str]:
    """Open an encrypted environment and keep the allowed variables, as a guest does."""
    names = list(allowed)
    if any("\n" in name for name in names):
        raise ValueError("names of variables hold no line feeds")
    env = native.flat_env_decrypt(blob, secret, "\n".join(names))
    count = native.dstack_env_count(env)
    return {
        native.dstack_env_key(env, i): native.dstack_env_value(env, i) for i in range(count)
    }


def check_env_key(
    public_key: bytes,
    signature: bytes,
    app_id: bytes,
    timestamp: int,
    trusted_signer: bytes,
    *,
    now: int | None = None,
) -> None:
    """Refuse the key of a KMS's answer unless ``trusted_signer`` (33 bytes, from a source that is not
    that KMS) signed it for this app not longer than five minutes ago: an older answer may be one
    that somebody kept, whose key has been given up since."""
    moment = int(time.time()) if now is None else now
    signer = native.dstack_env_key_signer(public_key, signature, app_id, timestamp, moment)
    if signer != trusted_signer:
        raise RefusedError(_REFUSED, "refused", "the environment's key is not of the trusted KMS")


def encrypt_environment_for(
    variables: Mapping[str, str],
    public_key: bytes,
    signature: bytes,
    app_id: bytes,
    timestamp: int,
    trusted_signer: bytes,
    *,
    now: int | None = None,
) -> bytes:
    """Encrypt variables to the key of a KMS's answer, after ``check_env_key``."""
    check_env_key(public_key, signature, app_id, timestamp, trusted_signer, now=now)
    return encrypt_environment(variables, public_key)


_REFUSED = -12
_MAX_SKEW = 60


def verify_env_encrypt_public_key(
    public_key: bytes,
    signature: bytes,
    app_id: str,
    timestamp: int,
    *,
    max_age_seconds: int = 300,
) -> str | None:
    """Give the signer (``0x`` and a compressed point in hex) of a KMS's answer, which the caller
    compares with the key it trusts; None when the signature is malformed or not fresh."""
    age = int(time.time()) - timestamp
    if age > max_age_seconds or age < -_MAX_SKEW:
        return None
    try:
        signer = native.dstack_key_env_signer(_from_hex(app_id), timestamp, public_key, signature)
    except (ValueError, OverflowError, DstackError):
        return None
    return "0x" + signer.hex()


def verify_env_encrypt_public_key_legacy(
    public_key: bytes, signature: bytes, app_id: str
) -> str | None:
    """Give the signer of the older form, which proves no freshness. Deprecated."""
    warnings.warn(
        "verify_env_encrypt_public_key_legacy is deprecated, use verify_env_encrypt_public_key",
        DeprecationWarning,
        stacklevel=2,
    )
    try:
        signer = native.dstack_key_env_signer_legacy(_from_hex(app_id), public_key, signature)
    except (ValueError, DstackError):
        return None
    return "0x" + signer.hex()
