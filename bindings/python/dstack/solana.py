"""Solana key pairs from derived keys. Needs the package solders."""

from __future__ import annotations

from solders.keypair import Keypair

from .types import DerivedKey, GetKeyResponse


def to_keypair(key: GetKeyResponse | DerivedKey) -> Keypair:
    """Give the key pair of a derived key, taken as an Ed25519 seed. TLS keys are refused."""
    if isinstance(key, GetKeyResponse):
        return Keypair.from_seed(key.decode_key())
    if isinstance(key, DerivedKey):
        if len(key.public_key) != 32:
            raise ValueError("a Solana key pair needs an ed25519 key")
        return Keypair.from_seed(key.key)
    raise TypeError("a derived key is needed, as get_key() gives it; TLS keys are refused")


to_keypair_secure = to_keypair
