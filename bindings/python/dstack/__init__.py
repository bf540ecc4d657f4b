"""dstack: confidential containers.

Inside a guest, ``DstackClient`` (version 1 of the agent's API; ``DstackClientV0`` for the frozen
version 0) gives keys, certificates and evidence. Outside, ``Verifier`` judges evidence, ``ratls``
makes TLS contexts that demand it, ``encrypt_environment`` encrypts secrets for a guest.
"""

from . import native
from .agent import Agent, AgentKey, Identity, TlsKey
from .client_v0 import AsyncDstackClientV0, AsyncTappdClient, DstackClientV0, TappdClient
from .client_v1 import AsyncDstackClientV1, DstackClientV1
from .compose import AppCompose, DockerConfig, compose_hash, get_compose_hash
from .env import (
    EnvVar,
    check_env_key,
    decrypt_environment,
    encrypt_env_vars,
    encrypt_env_vars_sync,
    encrypt_environment,
    encrypt_environment_for,
    verify_env_encrypt_public_key,
    verify_env_encrypt_public_key_legacy,
)
from .errors import AgentError, ArgumentError, DstackError, RefusedError, from_status
from .keys import verify_chain, verify_chain_v1, verify_sign_chain
from .tee import Registers, Tee
from .types import (
    Attested,
    AttestResponse,
    DerivedKey,
    EventLog,
    GetKeyResponse,
    GetQuoteResponse,
    GetTlsKeyResponse,
    GpuEvidence,
    GuestInfo,
    InfoResponse,
    IssuedCert,
    SignResponse,
    TcbInfo,
    VerifyResponse,
    VersionResponse,
)
from .verify import (
    Attestation,
    Claim,
    Collateral,
    Expectations,
    Policy,
    Verified,
    Verifier,
    parse_quote,
    report_data,
)

native.set_error_class(from_status)

DstackClient = DstackClientV1
AsyncDstackClient = AsyncDstackClientV1

__version__: str = native.dstack_version()

__all__ = [
    "Agent",
    "AgentError",
    "AgentKey",
    "AppCompose",
    "ArgumentError",
    "AsyncDstackClient",
    "AsyncDstackClientV0",
    "AsyncDstackClientV1",
    "AsyncTappdClient",
    "AttestResponse",
    "Attestation",
    "Attested",
    "Claim",
    "Collateral",
    "DerivedKey",
    "DockerConfig",
    "DstackClient",
    "DstackClientV0",
    "DstackClientV1",
    "DstackError",
    "EnvVar",
    "EventLog",
    "Expectations",
    "GetKeyResponse",
    "GetQuoteResponse",
    "GetTlsKeyResponse",
    "GpuEvidence",
    "GuestInfo",
    "Identity",
    "InfoResponse",
    "IssuedCert",
    "Policy",
    "RefusedError",
    "Registers",
    "SignResponse",
    "TappdClient",
    "TcbInfo",
    "Tee",
    "TlsKey",
    "Verified",
    "Verifier",
    "VerifyResponse",
    "VersionResponse",
    "check_env_key",
    "compose_hash",
    "decrypt_environment",
    "encrypt_env_vars",
    "encrypt_env_vars_sync",
    "encrypt_environment",
    "encrypt_environment_for",
    "get_compose_hash",
    "parse_quote",
    "report_data",
    "verify_chain",
    "verify_chain_v1",
    "verify_env_encrypt_public_key",
    "verify_env_encrypt_public_key_legacy",
    "verify_sign_chain",
]
