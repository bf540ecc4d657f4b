"""Puts our package in the place of the reference SDK's, for its own tests."""

import sys

import dstack.compose
import dstack.env
import dstack.ethereum
import dstack.solana
import dstack.v0

sys.modules["dstack_sdk"] = dstack.v0
sys.modules["dstack_sdk.dstack_client"] = dstack.v0
sys.modules["dstack_sdk.encrypt_env_vars"] = dstack.env
sys.modules["dstack_sdk.get_compose_hash"] = dstack.compose
sys.modules["dstack_sdk.ethereum"] = dstack.ethereum
sys.modules["dstack_sdk.solana"] = dstack.solana
