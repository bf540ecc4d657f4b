"""Verification over the library: true evidence passes, everything exchanged is refused."""

import contextlib
import copy
import gc
import resource
import threading

import dstack
import pytest


def test_true_evidence_verifies_and_names_its_anchors(verifier, attestation, data, kms):
    bound = dstack.report_data(b"recorded")
    found = verifier.verify(attestation, report_data=bound)
    assert found.app_id == kms["app_id"]
    assert found.tcb_status == "UpToDate"
    assert found.external_root
    assert found.claim("compose_hash").anchor == "measured"
    assert found.os_image_anchor == "self-asserted"
    expect = dstack.Expectations(image=data / "image")
    assert verifier.verify(attestation, expect=expect).os_image_anchor == "reference-image"


def test_what_differs_is_refused(verifier, attestation, kms):
    with pytest.raises(dstack.RefusedError, match="report data"):
        verifier.verify(attestation, report_data=dstack.report_data(b"other"))
    with pytest.raises(dstack.RefusedError, match="app_id"):
        verifier.verify(attestation, expect=dstack.Expectations(app_id=bytes(20)))
    verifier.verify(attestation, expect=dstack.Expectations(app_id=kms["app_id"]))
    with pytest.raises(dstack.ArgumentError):
        verifier.verify(attestation, report_data=b"short")


def test_sec_13_a_simulated_root_must_be_pinned(attestation, data):
    plain = dstack.Verifier()
    plain.add_collateral(dstack.Collateral((data / "collateral.json").read_text()))
    with pytest.raises(dstack.DstackError) as caught:
        plain.verify(attestation)
    assert caught.value.name.startswith("dcap.")
    assert caught.value.status <= -200


def test_the_simulators_own_quotes_do_not_verify(verifier):
    """Their report data was exchanged after signing: the simulator is no way around hardware."""
    made = dstack.DstackClientV1().attest(b"fresh")
    with pytest.raises(dstack.RefusedError):
        verifier.verify(made.attestation)


def test_every_flipped_byte_of_the_evidence_is_refused_or_equal(verifier, attestation):
    truth = verifier.verify(attestation)
    for at in range(0, len(attestation), 97):
        changed = bytearray(attestation)
        changed[at] ^= 1
        try:
            found = verifier.verify(bytes(changed))
        except dstack.DstackError:
            continue
        assert found.app_info == truth.app_info
        assert found.report_data == truth.report_data


def test_a_time_outside_the_collateral_is_refused(verifier, attestation, data):
    end = dstack.Collateral((data / "collateral.json").read_bytes()).expires
    verifier.verify(attestation, now=end - 1)
    with pytest.raises(dstack.RefusedError):
        verifier.verify(attestation, now=end + 1)


def test_a_policy_decides(verifier, attestation):
    rules = dstack.Policy({"allowed_statuses": ["OutOfDate"]})
    with pytest.raises(dstack.RefusedError) as caught:
        verifier.verify(attestation, expect=dstack.Expectations(policy=rules))
    assert caught.value.name.startswith("dcap.policy")
    verifier.verify(attestation, expect=dstack.Expectations(policy=dstack.Policy()))
    with pytest.raises(dstack.DstackError):
        dstack.Policy({"unknown": 1})


def test_quotes_alone(verifier, attestation):
    quote = dstack.Attestation(attestation).evidence
    report = verifier.verify_quote(quote, report_data=dstack.report_data(b"recorded"))
    assert report
    with pytest.raises(dstack.RefusedError):
        verifier.verify_quote(quote, report_data=bytes(64))


def test_attestations_keep_their_bytes(attestation):
    read = dstack.Attestation(attestation)
    assert read.encode() == attestation
    assert read.report_data == dstack.report_data(b"recorded")
    assert "os_image_hash" in read.vm_config


def test_certificates(verifier, data, kms):
    pem = (data / "ratls.pem").read_bytes()
    found = verifier.verify_certificate(pem, host="localhost")
    assert found is not None and found.app_id == kms["app_id"]
    with pytest.raises(dstack.RefusedError):
        verifier.verify_certificate(pem, host="other.test")
    # A zero byte in a name would be cut in C.
    with pytest.raises(ValueError):
        verifier.verify_certificate(pem, host="localhost\0.evil")


@pytest.mark.parametrize("bad", [b"", b"\0", b"\x83", b"A" * 10_000, bytes(1 << 20)])
def test_garbage_is_an_error_not_a_crash(verifier, bad):
    for call in (dstack.Attestation, dstack.parse_quote, dstack.Collateral, verifier.verify_quote,
                 verifier.verify, verifier.verify_certificate):
        with pytest.raises(dstack.DstackError):
            call(bad)


def test_wrong_types_are_type_errors():
    for bad in (1, 1.5, object(), [1]):
        with pytest.raises(TypeError):
            dstack.Attestation(bad)


def test_handles_are_freed_once_in_any_order(data, attestation):
    for _ in range(50):
        verifier = dstack.Verifier(root=(data / "root.der").read_bytes())
        collateral = dstack.Collateral((data / "collateral.json").read_bytes())
        verifier.add_collateral(collateral)
        del collateral
        gc.collect()
        verifier.verify(attestation)
        del verifier
    with pytest.raises(TypeError):
        copy.copy(dstack.Policy()._handle)


def test_memory_does_not_grow_with_calls_that_fail_or_succeed(verifier, attestation):
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    def work(times: int) -> None:
        for _ in range(times):
            verifier.verify(attestation)
            for bad in (b"", attestation[:500], attestation[:-1]):
                with contextlib.suppress(dstack.DstackError):
                    verifier.verify(bad)
            dstack.decrypt_environment(
                dstack.encrypt_environment({"A": "x" * 1000}, public), secret, ["A"]
            )

    secret = bytes(range(32))
    public = dstack.native.dstack_key_x25519_public(secret)
    work(50)
    before = resident()
    work(300)
    assert resident() - before < 2 << 20


def test_threads_share_a_verifier_and_run_at_once(verifier, attestation):
    failures = []

    def work() -> None:
        try:
            for _ in range(20):
                verifier.verify(attestation)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
