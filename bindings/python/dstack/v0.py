"""The names of the reference SDK up to 0.5, where ``DstackClient`` means version 0.

``from dstack.v0 import DstackClient`` serves programs written for that SDK. In ``dstack`` itself the
name means version 1, as it does in the reference SDK from 0.6 on.
"""

from .client_v0 import AsyncDstackClientV0 as AsyncDstackClient
from .client_v0 import AsyncTappdClient, TappdClient
from .client_v0 import DstackClientV0 as DstackClient
from .compose import AppCompose, DockerConfig, get_compose_hash
from .env import (
    EnvVar,
    encrypt_env_vars,
    encrypt_env_vars_sync,
    verify_env_encrypt_public_key,
    verify_env_encrypt_public_key_legacy,
)
from .types import (
    AttestResponse,
    EventLog,
    GetKeyResponse,
    GetQuoteResponse,
    GetTlsKeyResponse,
    InfoResponse,
    SignResponse,
    TcbInfo,
    TcbInfoV03x,
    TcbInfoV05x,
    VerifyResponse,
    VersionResponse,
)

__all__ = [
    "AppCompose",
    "AsyncDstackClient",
    "AsyncTappdClient",
    "AttestResponse",
    "DockerConfig",
    "DstackClient",
    "EnvVar",
    "EventLog",
    "GetKeyResponse",
    "GetQuoteResponse",
    "GetTlsKeyResponse",
    "InfoResponse",
    "SignResponse",
    "TappdClient",
    "TcbInfo",
    "TcbInfoV03x",
    "TcbInfoV05x",
    "VerifyResponse",
    "VersionResponse",
    "encrypt_env_vars",
    "encrypt_env_vars_sync",
    "get_compose_hash",
    "verify_env_encrypt_public_key",
    "verify_env_encrypt_public_key_legacy",
]
