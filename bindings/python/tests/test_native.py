"""The library's own agent client, the TEE, chains of Sign, the environment key's signature."""

import gc
import hashlib
import os
import pathlib
import subprocess
import threading
import time

import dstack
import pytest

# A KMS's answer whose signer has the secret scalar 01 repeated (data of the reference SDKs).
ENV_APP = b"\xab" * 20
ENV_KEY = b"\xde" * 32
ENV_TIME = 1700000000
ENV_SIGNATURE = bytes.fromhex(
    "c9e643b59985ab43c0ae4ec75e302d9d7a70abe0212f9928d5fc56563aa56b54"
    "15271d9ea4dd8d02125359dae4267d704c374ba72a829bece6e16b5e3cdfc9f600"
)
ENV_SIGNER = bytes.fromhex("031b84c5567b126440995d3ed5aaba0565d71e1834604819ff9c17f5e9d5dd078f")


@pytest.fixture
def agent():
    with dstack.Agent(os.environ["DSTACK_SIMULATOR_ENDPOINT"]) as made:
        yield made


@pytest.mark.parametrize("algorithm,size", [("secp256k1", 33), ("ed25519", 32)])
def test_keys_are_those_of_the_other_client_and_their_chains_hold(agent, kms, algorithm, size):
    key = agent.get_key("wallet", algorithm)
    other = dstack.DstackClientV1().get_key("wallet", algorithm)
    assert key.key == other.key
    assert len(key.public_key) == size
    dstack.verify_chain_v1(
        key.public_key, key.signature_chain, "wallet", algorithm, kms["app_id"], kms["kms_root"]
    )
    with pytest.raises(dstack.RefusedError):
        dstack.verify_chain_v1(
            key.public_key, key.signature_chain, "walle", algorithm, kms["app_id"], kms["kms_root"]
        )
    old = agent.get_key_v0("wallet", "signing", algorithm)
    assert old.key != key.key
    dstack.verify_chain(
        old.public_key, old.signature_chain, "signing", kms["app_id"], kms["kms_root"]
    )


def test_certificates_evidence_and_identity_come_too(agent, kms):
    made = agent.get_tls_key("one", ["a.example", "b.example"], ra_tls=True, with_app_info=True)
    assert made.key.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert made.certificate_chain.count(b"BEGIN CERTIFICATE") >= 2
    assert agent.identity().app_id == kms["app_id"]
    assert agent.version()
    quote, log = agent.quote(b"x")
    assert dstack.parse_quote(quote) and log.startswith(b"[")
    assert dstack.Attestation(agent.attest(b"x")).report_data == b"x".ljust(64, b"\0")
    with pytest.raises(dstack.DstackError):
        agent.attest(bytes(65))
    with pytest.raises(ValueError):
        agent.get_tls_key("one", ["a\nb"])


def test_a_closed_client_is_refused_and_closing_twice_is_fine():
    agent = dstack.Agent(os.environ["DSTACK_SIMULATOR_ENDPOINT"])
    agent.close()
    agent.close()
    with pytest.raises(ValueError):
        agent.version()
    with pytest.raises(dstack.DstackError):
        dstack.Agent("/nonexistent/dstack.sock").version()
    del agent
    gc.collect()


def test_threads_may_share_a_client(agent):
    wanted = agent.get_key("shared").key
    found = []
    threads = [
        threading.Thread(
            target=lambda: found.extend(agent.get_key("shared").key for _ in range(20))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 80


@pytest.mark.parametrize("algorithm", ["secp256k1", "ed25519"])
def test_an_answer_of_sign_is_verified_whole(kms, algorithm):
    answer = dstack.DstackClientV0().sign(algorithm, b"data")
    chain = answer.decode_signature_chain()
    public = answer.decode_public_key()
    dstack.verify_sign_chain(public, algorithm, b"data", chain, kms["app_id"], kms["kms_root"])
    with pytest.raises(dstack.RefusedError):
        dstack.verify_sign_chain(public, algorithm, b"date", chain, kms["app_id"], kms["kms_root"])
    with pytest.raises(dstack.RefusedError):
        dstack.verify_sign_chain(public, algorithm, b"data", chain, kms["app_id"], ENV_SIGNER)
    with pytest.raises(ValueError):
        dstack.verify_sign_chain(public, algorithm, b"data", chain[1:], kms["app_id"], ENV_SIGNER)
    with pytest.raises(ValueError):
        dstack.verify_sign_chain(public, "rsa", b"data", chain, kms["app_id"], kms["kms_root"])


def check(**changes):
    given = {"public_key": ENV_KEY, "signature": ENV_SIGNATURE, "app_id": ENV_APP,
             "timestamp": ENV_TIME, "trusted_signer": ENV_SIGNER, "now": ENV_TIME} | changes
    dstack.check_env_key(**given)


def test_the_key_of_an_environment_is_fresh_and_of_the_trusted_kms():
    check()
    check(now=ENV_TIME + 300)
    check(now=ENV_TIME - 60)
    for changes in (
        {"now": ENV_TIME + 301},  # kept and sent again
        {"now": ENV_TIME - 61},
        {"timestamp": ENV_TIME + 1},  # the same signature, made to look newer
        {"public_key": b"\xdf" + ENV_KEY[1:]},
        {"app_id": b"\xac" + ENV_APP[1:]},
        {"trusted_signer": b"\x02" + ENV_SIGNER[1:]},
        {"signature": ENV_SIGNATURE[:-1] + b"\x01"},
    ):
        with pytest.raises(dstack.RefusedError):
            check(**changes)
    with pytest.raises(dstack.RefusedError):
        dstack.encrypt_environment_for({"A": "1"}, ENV_KEY, ENV_SIGNATURE, ENV_APP, ENV_TIME,
                                       ENV_SIGNER)
    assert dstack.encrypt_environment_for({"A": "1"}, ENV_KEY, ENV_SIGNATURE, ENV_APP, ENV_TIME,
                                          ENV_SIGNER, now=ENV_TIME)


@pytest.fixture
def tee(data, tmp_path_factory):
    """A simulated TEE of dstack-vmm, as a process beside this one."""
    program = pathlib.Path(__file__).parents[3] / "build/bin/dstack-vmm"
    folder = tmp_path_factory.mktemp("tee")
    socket = folder / "tee.sock"
    subprocess.run([program, "simulate-tee", "--init", folder / "keys"], check=True,
                   capture_output=True)
    server = subprocess.Popen(
        [program, "simulate-tee", "--keys", folder / "keys", "--socket", socket, "--image",
         data / "image"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not socket.exists() and server.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    try:
        yield str(socket), (folder / "keys/root.der").read_bytes()
    finally:
        server.terminate()
        server.wait()


def test_a_tee_gives_registers_and_quotes_over_them(tee):
    socket, root = tee
    with dstack.Tee("sim:unix:" + socket, sim_root=root) as opened:
        assert opened.simulated and opened.provider == "sim"
        before = opened.registers()
        digest = hashlib.sha384(b"event").digest()
        opened.extend(3, digest, "event")
        after = opened.registers()
        assert after.rtmr3 == hashlib.sha384(before.rtmr3 + digest).digest()
        assert after[:4] == before[:4]
        quote = opened.quote(b"\x07" * 64)
        assert b"\x07" * 64 in quote and after.rtmr3 in quote
        assert opened.boot_log()
        for wrong in (lambda: opened.extend(0, digest), lambda: opened.extend(3, digest[1:]),
                      lambda: opened.quote(bytes(63))):
            with pytest.raises(dstack.DstackError):
                wrong()
    with pytest.raises(ValueError):
        opened.quote(bytes(64))


def test_a_simulated_tee_opens_under_its_pinned_root_alone(tee):
    socket, root = tee
    with pytest.raises(dstack.DstackError):
        dstack.Tee("sim:unix:" + socket)
    with pytest.raises(dstack.DstackError):
        dstack.Tee("nonsense:", sim_root=root)
