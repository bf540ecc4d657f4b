"""Fixtures: data of our simulated hardware (DSTACK_TEST_DATA, made by make_data), and an agent that
serves it (DSTACK_SIMULATOR_ENDPOINT, TAPPD_SIMULATOR_ENDPOINT)."""

import json
import os
import pathlib

import dstack
import pytest


@pytest.fixture(scope="session")
def data() -> pathlib.Path:
    return pathlib.Path(os.environ["DSTACK_TEST_DATA"])


@pytest.fixture(scope="session")
def kms(data: pathlib.Path) -> dict[str, bytes]:
    return {name: bytes.fromhex(text) for name, text in json.loads((data / "kms.json").read_text()).items()}


@pytest.fixture
def verifier(data: pathlib.Path) -> dstack.Verifier:
    made = dstack.Verifier(root=(data / "root.der").read_bytes(), root_name="simulation")
    made.add_collateral(dstack.Collateral((data / "collateral.json").read_bytes()))
    return made


@pytest.fixture
def attestation(data: pathlib.Path) -> bytes:
    return (data / "attestation.bin").read_bytes()
