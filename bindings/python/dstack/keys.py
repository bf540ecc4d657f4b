"""Verification of the signatures that vouch for derived keys."""

from __future__ import annotations

from collections.abc import Sequence

from . import native

_ALGORITHMS = {
    "secp256k1": native.DSTACK_KEY_SECP256K1,
    "ed25519": native.DSTACK_KEY_ED25519,
}


def _two(chain: Sequence[bytes]) -> tuple[bytes, bytes]:
    if len(chain) != 2:
        raise ValueError("a chain has two signatures: the app key's and the KMS's")
    return bytes(chain[0]), bytes(chain[1])


def verify_chain(
    public_key: bytes, chain: Sequence[bytes], purpose: str, app_id: bytes, kms_root: bytes
) -> bytes:
    """Verify the chain of a version 0 key up to ``kms_root`` (33 bytes, from a source that is not
    under test). Gives the app's key; raises RefusedError when the chain does not hold."""
    link, issued = _two(chain)
    return native.dstack_key_chain_verify(public_key, purpose, link, issued, app_id, kms_root)


def verify_chain_v1(
    public_key: bytes,
    chain: Sequence[bytes],
    domain: str,
    algorithm: str,
    app_id: bytes,
    kms_root: bytes,
) -> bytes:
    """Verify the chain of a version 1 key, which binds domain and algorithm."""
    link, issued = _two(chain)
    return native.dstack_key_chain_verify_v1(
        public_key, domain, _ALGORITHMS[algorithm], link, issued, app_id, kms_root
    )


def verify_sign_chain(
    public_key: bytes,
    algorithm: str,
    data: bytes,
    chain: Sequence[bytes],
    app_id: bytes,
    kms_root: bytes,
) -> bytes:
    """Verify an answer of Sign whole: the signature over ``data`` and the chain up to ``kms_root``.
    ``algorithm`` is secp256k1, secp256k1_prehashed or ed25519."""
    if len(chain) != 3:
        raise ValueError("a chain of Sign has three signatures")
    signature, link, issued = (bytes(item) for item in chain)
    return native.flat_sign_chain_verify(
        public_key, algorithm, data, signature, link, issued, app_id, kms_root
    )


def public_key_of(secret: bytes) -> bytes:
    """Give the compressed public key of a secp256k1 scalar."""
    return native.dstack_key_k256_public(secret)
