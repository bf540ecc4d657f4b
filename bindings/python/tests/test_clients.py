"""Both API versions, blocking and asyncio, against the simulator."""

import asyncio
import concurrent.futures
import hashlib
import os

import dstack
import dstack.v0
import pytest


def test_version_0_keys_are_vouched_for_up_to_the_kms(kms):
    with dstack.DstackClientV0() as client:
        made = client.get_key("wallet/main", "signing")
    public = dstack.keys.public_key_of(made.decode_key())
    chain = made.decode_signature_chain()
    app = dstack.verify_chain(public, chain, "signing", kms["app_id"], kms["kms_root"])
    assert len(app) == 33
    with pytest.raises(dstack.RefusedError):
        dstack.verify_chain(public, chain, "other", kms["app_id"], kms["kms_root"])


@pytest.mark.parametrize("algorithm", ["secp256k1", "ed25519"])
def test_version_1_keys_are_bound_to_domain_and_algorithm(kms, algorithm):
    client = dstack.DstackClient()
    made = client.get_key("wallet", algorithm)
    arguments = made.public_key, made.signature_chain, "wallet", algorithm
    dstack.verify_chain_v1(*arguments, kms["app_id"], kms["kms_root"])
    with pytest.raises(dstack.RefusedError):
        dstack.verify_chain_v1(*arguments[:2], "purse", algorithm, kms["app_id"], kms["kms_root"])
    assert made.key.hex() not in repr(made)


def test_two_algorithms_share_no_key_in_version_1():
    client = dstack.DstackClientV1()
    assert client.get_key("x", "secp256k1").key != client.get_key("x", "ed25519").key


def test_what_the_client_refuses_by_itself():
    client = dstack.DstackClientV1()
    for call in (
        lambda: client.get_key("x", ""),
        lambda: client.attest(b""),
        lambda: client.attest(bytes(65)),
        lambda: client.attest("text"),
        lambda: client.attest_gpu(bytes(31)),
        lambda: dstack.DstackClientV0().get_quote(b""),
        lambda: dstack.DstackClientV0().sign("secp256k1_prehashed", b"short"),
    ):
        with pytest.raises((ValueError, TypeError)):
            call()


def test_the_agents_error_carries_status_and_text():
    with pytest.raises(dstack.AgentError) as caught:
        dstack.DstackClientV1().get_key("x", "rsa")
    assert caught.value.http_status == 400
    assert caught.value.name == "peer"
    assert "rsa" in caught.value.message
    with pytest.raises(dstack.AgentError) as caught:
        dstack.DstackClientV0().emit_event("name", b"payload")
    assert "EmitEvent was removed" in str(caught.value)


def test_a_missing_socket_and_a_dead_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        dstack.DstackClientV1(str(tmp_path / "none.sock"))
    client = dstack.DstackClientV0("http://127.0.0.1:1")
    assert client.is_reachable() is False
    with pytest.raises(OSError):
        client.version()


def test_quotes_bind_their_report_data_and_replay():
    answer = dstack.DstackClientV0().get_quote(b"from python")
    report = dstack.parse_quote(answer.decode_quote())["report"]
    td = report.get("TD10") or report.get("TD15") or report
    assert bytes.fromhex(td["report_data"]) == b"from python".ljust(64, b"\0")
    for index, register in answer.replay_rtmrs().items():
        assert register == td[f"rt_mr{index}"]


def test_information_agrees_between_versions():
    old, new = dstack.DstackClientV0().info(), dstack.DstackClientV1().info()
    assert bytes.fromhex(old.app_id) == new.app_id
    assert hashlib.sha256(new.app_compose.encode()).digest() == new.compose_hash
    assert dstack.compose_hash(new.app_compose.encode()) == new.compose_hash


def test_asyncio_clients_overlap_their_calls():
    async def main() -> None:
        async with dstack.AsyncDstackClient() as client:
            keys = await asyncio.gather(*(client.get_key(f"d/{i}", "ed25519") for i in range(50)))
            assert len({key.key for key in keys}) == 50
            with pytest.raises(dstack.AgentError):
                await client.get_key("x", "rsa")
        async with dstack.AsyncDstackClientV0() as client:
            assert await client.is_reachable()
            made = await client.sign("ed25519", "text")
            good = await client.verify(
                "ed25519", "text", made.decode_signature(), made.decode_public_key()
            )
            assert good.valid

    asyncio.run(main())


def test_an_asyncio_client_outlives_its_loop():
    client = dstack.AsyncDstackClientV1()
    first = asyncio.run(client.version())
    assert asyncio.run(client.version()) == first


def test_threads_share_a_client():
    with dstack.DstackClientV1() as client, concurrent.futures.ThreadPoolExecutor(16) as pool:
        keys = list(pool.map(lambda i: client.get_key(f"t/{i % 10}", "secp256k1").key, range(200)))
    assert len(set(keys)) == 10
    assert keys[3] == keys[193]


def test_cancellation_leaves_no_half_read_connection():
    async def main() -> None:
        async with dstack.AsyncDstackClientV0() as client:
            for _ in range(20):
                task = asyncio.ensure_future(client.info())
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert (await client.get_key("a")).key == (await client.get_key("a")).key

    asyncio.run(main())


def test_the_legacy_service():
    with pytest.warns(DeprecationWarning):
        client = dstack.v0.TappdClient()
    with pytest.warns(DeprecationWarning):
        made = client.derive_key("/", "old.test")
    assert len(made.as_uint8array(32)) == 32
    with pytest.warns(DeprecationWarning):
        assert len(client.tdx_quote(bytes(64)).decode_quote()) > 632
    assert client.info().app_name == "sdk-test"


def test_names_of_the_older_sdk():
    assert dstack.v0.DstackClient is dstack.DstackClientV0
    assert dstack.DstackClient is dstack.DstackClientV1
    assert os.environ["DSTACK_SIMULATOR_ENDPOINT"]
