"""Sends N mixed calls, eight at a time; prints a hash of the keys of ten paths."""

import asyncio
import hashlib
import sys

import dstack


async def main(total: int) -> None:
    keys: dict[str, str] = {}
    count = iter(range(total))

    async def work(agent: dstack.AsyncDstackClientV0, newer: dstack.AsyncDstackClientV1) -> None:
        for i in count:
            kind = i % 20
            if kind == 0:
                made = await agent.get_tls_key("load.test", ["load.test"])
                assert made.key.startswith("-----BEGIN PRIVATE KEY-----")
            elif kind == 1:
                nonce = i.to_bytes(8, "big")
                quote = (await agent.get_quote(nonce)).decode_quote()
                assert quote[568:576] == nonce
            elif kind == 2:
                assert (await agent.info()).app_name == "sdk-test"
            elif kind == 3:
                assert len((await newer.attest(i.to_bytes(8, "big"))).attestation) > 1000
            elif kind == 4:
                made_key = await newer.get_key(f"mix/{i % 7}", "ed25519")
                assert len(made_key.public_key) == 32
            elif kind == 5:
                signed = await agent.sign("secp256k1", i.to_bytes(8, "big"))
                assert len(signed.decode_signature()) == 64
            else:
                path = f"mix/{i % 10}"
                key = (await agent.get_key(path)).key
                assert keys.setdefault(path, key) == key

    async with dstack.AsyncDstackClientV0(timeout=30) as agent:
        async with dstack.AsyncDstackClientV1(timeout=30) as newer:
            await asyncio.gather(*(work(agent, newer) for _ in range(8)))
    text = "".join(keys[f"mix/{i}"] for i in range(10))
    print(hashlib.sha256(text.encode()).hexdigest())


asyncio.run(main(int(sys.argv[1])))
