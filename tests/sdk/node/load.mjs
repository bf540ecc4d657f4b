// Sends N mixed calls, eight at a time; prints a hash of the keys of ten paths.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { DstackClient } from '@phala/dstack-sdk';

const total = Number(process.argv[2]);
const endpoint = process.env.DSTACK_SIMULATOR_ENDPOINT;
const client = new DstackClient(endpoint);
const keys = new Map();
let next = 0;

async function call(i) {
  const nonce = Buffer.alloc(8);
  nonce.writeBigUInt64BE(BigInt(i));
  switch (i % 20) {
    case 0:
      assert.match((await client.getTlsKey({ subject: 'load.test' })).key, /BEGIN PRIVATE KEY/);
      break;
    case 1: {
      const quote = Buffer.from((await client.getQuote(nonce)).quote, 'hex');
      assert.deepEqual(quote.subarray(568, 576), nonce);
      break;
    }
    case 2:
      assert.equal((await client.info()).app_name, 'sdk-test');
      break;
    case 3:
      assert.ok((await client.attest(nonce)).attestation.length > 1000);
      break;
    case 4:
      assert.equal((await client.getKey(`mix/${i % 7}`, '', 'ed25519')).key.length, 32);
      break;
    case 5:
      assert.equal((await client.sign('secp256k1', nonce)).signature.length, 64);
      break;
    default: {
      const path = `mix/${i % 10}`;
      const key = Buffer.from((await client.getKey(path)).key).toString('hex');
      assert.equal(keys.get(path) ?? key, key);
      keys.set(path, key);
    }
  }
}

async function work() {
  while (next < total) await call(next++);
}

await Promise.all(Array.from({ length: 8 }, work));
const text = Array.from({ length: 10 }, (_, i) => keys.get(`mix/${i}`)).join('');
console.log(createHash('sha256').update(text).digest('hex'));
