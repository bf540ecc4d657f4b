"""Ethereum accounts from derived keys. Needs the package eth-account."""

from __future__ import annotations

from eth_account import Account
from eth_account.signers.local import LocalAccount

from .types import DerivedKey, GetKeyResponse


def to_account(key: GetKeyResponse | DerivedKey) -> LocalAccount:
    """Give the account of a derived secp256k1 key.

    TLS keys are refused: the older helpers took from them bytes that all TLS keys have in common,
    so that everybody got the same account.
    """
    if isinstance(key, GetKeyResponse):
        secret = key.decode_key()
    elif isinstance(key, DerivedKey):
        if len(key.public_key) != 33:
            raise ValueError("an Ethereum account needs a secp256k1 key")
        secret = key.key
    else:
        raise TypeError("a derived key is needed, as get_key() gives it; TLS keys are refused")
    account: LocalAccount = Account.from_key(secret)
    return account


to_account_secure = to_account
