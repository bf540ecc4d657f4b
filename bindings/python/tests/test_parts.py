"""Environment, manifest, measurement, accounts, errors."""

import asyncio
import json
import pathlib
import pickle

import dstack
import dstack.measure
import pytest


def test_an_environment_opens_with_the_apps_key_alone(kms):
    blob = dstack.encrypt_environment({"A": "1", "B": "zwei\n", "C": "x"}, kms["env_public"])
    opened = dstack.decrypt_environment(blob, kms["env_secret"], ["A", "B"])
    assert opened == {"A": "1", "B": "zwei\n"}
    with pytest.raises(dstack.RefusedError):
        dstack.decrypt_environment(blob, bytes(range(32)), ["A"])
    with pytest.raises(dstack.RefusedError):
        dstack.decrypt_environment(blob[:-1] + bytes([blob[-1] ^ 1]), kms["env_secret"], ["A"])


def test_the_older_names_encrypt_the_same(kms):
    envs = [dstack.EnvVar("A", "ü"), dstack.EnvVar("B", "2")]
    public = "0x" + kms["env_public"].hex()
    for text in (dstack.encrypt_env_vars_sync(envs, public),
                 asyncio.run(dstack.encrypt_env_vars(envs, public))):
        opened = dstack.decrypt_environment(bytes.fromhex(text), kms["env_secret"], ["A", "B"])
        assert opened == {"A": "ü", "B": "2"}


@pytest.mark.parametrize("name", ["", "1A", "A B", "A=", "A\0B"])
def test_bad_names_are_refused_before_they_are_encrypted(kms, name):
    with pytest.raises(ValueError):
        dstack.encrypt_environment({name: "x"}, kms["env_public"])


def test_manifest_hashes():
    # The example that the reference SDKs agree about.
    manifest = {
        "runner": "docker-compose",
        "docker_compose_file": "docker-compose.yml",
        "manifest_version": 1,
        "name": "test-app",
        "kms_enabled": False,
        "allowed_envs": ["NODE_ENV"],
        "public_logs": True,
    }
    wanted = "551c5fc76bfeecfafc5e70ad1f5b0656ac3c2906bf4172371d956e0e70739a0b"
    before = json.dumps(manifest)
    assert dstack.get_compose_hash(manifest) == wanted
    assert json.dumps(manifest) == before
    assert dstack.get_compose_hash({"runner": "bash", "docker_compose_file": "x"}, True) == (
        "c7f0417eb52727e5c93afea6ef707d827edbc7865ecfd7886c31bb56755fdfcc"
    )


def test_manifest_hashes_are_those_of_javascript():
    path = pathlib.Path(__file__).parents[4] / "shared/data/agent/compose-hash-vectors.json"
    if not path.exists():
        pytest.skip("the shared vectors are absent")
    for case in json.loads(path.read_text())["cases"]:
        if case.get("javascript") and isinstance(case["input"], dict):
            found = dstack.get_compose_hash(case["input"], case["normalize"])
            assert found == case["javascript"], case["id"]


def test_images_are_measured(data):
    digest = dstack.measure.image_digest(data / "image")
    vm_config = json.loads((data / "sys-config.json").read_text())["vm_config"]
    assert json.loads(vm_config)["os_image_hash"] == digest
    acpi = [bytes([i]) * 48 for i in (1, 2, 3)]
    made = dstack.measure.tdx_registers(data / "image", vm_config, *acpi)
    quote = dstack.parse_quote(dstack.Attestation((data / "attestation.bin").read_bytes()).evidence)
    text = json.dumps(quote)
    assert made.mrtd.hex() in text and made.rtmr1.hex() in text and made.rtmr2.hex() in text
    with pytest.raises(dstack.ArgumentError):
        dstack.measure.tdx_registers(data / "image", vm_config, b"", b"", b"")
    with pytest.raises(dstack.DstackError) as caught:
        dstack.measure.image_digest("/nonexistent")
    assert caught.value.name == "not_found"


def test_accounts_of_derived_keys():
    ethereum = pytest.importorskip("dstack.ethereum")
    solana = pytest.importorskip("dstack.solana")
    client = dstack.DstackClientV0()
    key = client.get_key("eth/test")
    assert ethereum.to_account(key).address.startswith("0x")
    assert bytes(ethereum.to_account(key).key) == key.decode_key()
    assert len(bytes(solana.to_keypair(client.get_key("sol", "", "ed25519")))) == 64
    tls = client.get_tls_key("x")
    for refused in (ethereum.to_account, solana.to_keypair):
        with pytest.raises(TypeError):
            refused(tls)


def test_errors_carry_status_name_and_message():
    with pytest.raises(dstack.ArgumentError) as caught:
        dstack.report_data(b"x", algorithm="md5")
    error = caught.value
    assert (error.status, error.name) == (-1, "argument")
    assert "algorithm" in error.message
    again = pickle.loads(pickle.dumps(error))
    assert (again.status, again.name, again.message) == (-1, "argument", error.message)
    assert pickle.loads(pickle.dumps(dstack.AgentError(400, "x"))).http_status == 400
