// The reference system's npm package against our agent: every call it has, and what must hold of
// each answer. Endpoints come from the environment, as the package reads them.
import assert from 'node:assert/strict';
import { createHash, X509Certificate, createPrivateKey, createPublicKey } from 'node:crypto';
import { test } from 'node:test';
import { DstackClient, TappdClient } from '@phala/dstack-sdk';

const client = new DstackClient();
const hex = (bytes) => Buffer.from(bytes).toString('hex');

test('is reachable', async () => {
  assert.equal(await client.isReachable(), true);
});

test('keys depend on the path alone, chains on the purpose too', async () => {
  const a = await client.getKey('wallet/main', 'signing');
  const b = await client.getKey('wallet/main', 'other');
  const c = await client.getKey('wallet/second', 'signing');
  assert.equal(a.key.length, 32);
  assert.deepEqual(a.signature_chain.map((link) => link.length), [65, 65]);
  assert.equal(hex(a.key), hex(b.key));
  assert.notEqual(hex(a.signature_chain[0]), hex(b.signature_chain[0]));
  assert.equal(hex(a.signature_chain[1]), hex(b.signature_chain[1]));
  assert.notEqual(hex(a.key), hex(c.key));
});

test('gives Ed25519 keys and refuses unknown algorithms', async () => {
  assert.equal((await client.getKey('a', '', 'ed25519')).key.length, 32);
  await assert.rejects(client.getKey('a', '', 'rsa'));
});

// This version of the package counts characters where HTTP counts bytes, so such a request arrives cut
// short: the answer is an error, and comes without waiting for the rest.
test('a path beyond ASCII is refused at once, not waited for', async () => {
  const began = Date.now();
  await assert.rejects(client.getKey('schlüssel/键/🔑', 'zweck'));
  assert.ok(Date.now() - began < 3000);
});

test('TLS keys are fresh, belong to their certificate, and carry the names asked for', async () => {
  const options = { subject: 'api.test', altNames: ['b.test', '10.0.0.1'], usageRaTls: true };
  const [one, two] = [await client.getTlsKey(options), await client.getTlsKey(options)];
  assert.notEqual(one.key, two.key);
  const leaf = new X509Certificate(one.certificate_chain[0]);
  assert.match(leaf.subject, /CN=api\.test/);
  assert.match(leaf.subjectAltName, /DNS:b\.test/);
  assert.match(leaf.subjectAltName, /IP Address:10\.0\.0\.1/);
  const spki = { type: 'spki', format: 'der' };
  assert.equal(hex(createPublicKey(createPrivateKey(one.key)).export(spki)),
    hex(leaf.publicKey.export(spki)));
  assert.ok(leaf.verify(new X509Certificate(one.certificate_chain[1]).publicKey));
});

test('a certificate has the validity asked for', async () => {
  const from = Math.floor(Date.now() / 1000) - 60;
  const answer = await client.getTlsKey({ notBefore: from, notAfter: from + 3600 });
  const leaf = new X509Certificate(answer.certificate_chain[0]);
  assert.equal(Date.parse(leaf.validFrom) / 1000, from);
  assert.equal(Date.parse(leaf.validTo) / 1000, from + 3600);
});

test('a quote carries the report data, and its log replays to its registers', async () => {
  const answer = await client.getQuote('from node');
  const quote = Buffer.from(answer.quote, 'hex');
  assert.equal(quote.subarray(568, 577).toString(), 'from node');
  assert.ok(quote.subarray(577, 632).every((byte) => byte === 0));
  answer.replayRtmrs().forEach((register, i) => {
    assert.equal(register, hex(quote.subarray(376 + 48 * i, 424 + 48 * i)));
  });
  await assert.rejects(async () => client.getQuote(Buffer.alloc(65)));
});

test('attests', async () => {
  const { attestation } = await client.attest(Buffer.from('from node'));
  assert.ok(attestation.includes(hex(Buffer.from('from node'))));
});

test('tells what runs, with the hash of its manifest', async () => {
  const info = await client.info();
  assert.equal(info.app_name, 'sdk-test');
  const hash = createHash('sha256').update(info.tcb_info.app_compose).digest('hex');
  assert.equal(info.tcb_info.compose_hash, hash);
  assert.equal(info.app_id, hash.slice(0, 40));
  assert.ok((await client.version()).version.length > 0);
});

test('signatures verify, and only over what was signed', async () => {
  const digest = createHash('sha256').update('x').digest();
  for (const [algorithm, data] of [['ed25519', 'x'], ['secp256k1', 'x'],
    ['secp256k1_prehashed', digest]]) {
    const made = await client.sign(algorithm, data);
    assert.equal(made.signature_chain.length, 3);
    const ok = await client.verify(algorithm, data, made.signature, made.public_key);
    assert.equal(ok.valid, true);
    const other = createHash('sha256').update('y').digest();
    const bad = await client.verify(algorithm, other, made.signature, made.public_key);
    assert.equal(bad.valid, false);
  }
});

test('the older service still answers', async () => {
  const older = new TappdClient();
  const key = await older.deriveKey('/', 'old.test');
  assert.match(new X509Certificate(key.certificate_chain[0]).subject, /CN=old\.test/);
  assert.equal(hex((await older.deriveKey('/', 'old.test')).asUint8Array()),
    hex(key.asUint8Array()));
  const hash = createHash('sha256').update('app-data:').update('z').digest('hex');
  const quote = await older.tdxQuote('z', 'sha256');
  assert.ok(quote.quote.includes(hash));
});

test('many calls at once each get their own answer', async () => {
  const paths = Array.from({ length: 200 }, (_, i) => `p/${i}`);
  const keys = await Promise.all(paths.map((path) => client.getKey(path)));
  assert.equal(new Set(keys.map((key) => hex(key.key))).size, paths.length);
});
