"""Asks the guest's agent who this app is, derives a key, and takes evidence over a nonce.

pip install ./bindings/python && python examples/python/agent.py
"""

import dstack

NONCE = b"a nonce of the relying party"

with dstack.DstackClientV0() as agent:
    print("app", agent.info().app_id)
    # The key itself stays here; what vouches for it may be shown.
    print("link", agent.get_key("example", "demo").signature_chain[0])
    attestation = dstack.Attestation(agent.attest(NONCE).decode_attestation())
    print("nonce", "bound" if attestation.report_data.startswith(NONCE) else "lost")
