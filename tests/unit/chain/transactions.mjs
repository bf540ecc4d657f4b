// Makes transactions.json with ethers, an implementation that shares nothing with ours:
//     node tests/unit/chain/transactions.mjs > tests/unit/chain/transactions.json
import { createRequire } from "node:module";

const { ethers } = createRequire(new URL("../../../contracts/package.json", import.meta.url))("ethers");

const hex = (n) => ethers.hexlify(ethers.getBytes(ethers.keccak256(ethers.toUtf8Bytes(`seed ${n}`))));
const rlp = [];
for (const value of [
  "0x", "0x00", "0x7f", "0x80", "0x0400", "0x" + "61".repeat(55), "0x" + "61".repeat(56),
  "0x" + "62".repeat(255), "0x" + "63".repeat(256), "0x" + "64".repeat(65536),
  [], ["0x"], ["0x01", "0x0203"], Array(60).fill("0x05"),
]) {
  // Long ones by their hash.
  const encoded = ethers.encodeRlp(value);
  const shown = encoded.length > 600 ? { keccak: ethers.keccak256(encoded) } : { encoded };
  const repeated = !Array.isArray(value) && value.length > 200;
  rlp.push({
    ...(Array.isArray(value) ? { list: value } : repeated
      ? { byte: value.slice(0, 4), count: (value.length - 2) / 2 } : { bytes: value }),
    ...shown,
  });
}

const transactions = [];
const add = (fields) => {
  const key = hex(transactions.length);
  const wallet = new ethers.Wallet(key);
  const t = {
    chain_id: 1, nonce: 0, priority_fee: "0", max_fee: "0", gas_limit: 21000, to: null, value: "0",
    data: "0x", ...fields,
  };
  const made = ethers.Transaction.from({
    type: 2, chainId: t.chain_id, nonce: t.nonce, maxPriorityFeePerGas: t.priority_fee,
    maxFeePerGas: t.max_fee, gasLimit: t.gas_limit, to: t.to, value: t.value, data: t.data,
  });
  made.signature = wallet.signingKey.sign(made.unsignedHash);
  transactions.push({
    key, from: wallet.address, ...t, raw: made.serialized, hash: made.hash,
    created: ethers.getCreateAddress({ from: wallet.address, nonce: t.nonce }),
  });
};
const to = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
add({ to });
add({ to, nonce: 127, value: "1" });
add({ to, nonce: 128, max_fee: "255", priority_fee: "128", data: "0x00" });
add({ chain_id: 31337, to, nonce: 256, max_fee: "18446744073709551615", priority_fee: "1000000000", data: "0x7f" });
add({ chain_id: 8453, nonce: 65536, gas_limit: 30000000, max_fee: "2000000000", data: "0x80" });
add({ chain_id: 11155111, to, value: "18446744073709551615", data: "0x" + "ab".repeat(55) });
add({ chain_id: 4294967296, to, data: "0x" + "cd".repeat(56) });
add({ data: "0x" + "60".repeat(300) });
// Some until r or s begins with a zero, which the encoding drops.
for (let short = 0; short < 2;) {
  const before = transactions.length;
  add({ to, nonce: before });
  const { r, s } = ethers.Transaction.from(transactions[before].raw).signature;
  if (r.startsWith("0x00") || s.startsWith("0x00")) short++;
  else transactions[before].dull = true; // kept until the end: keys follow the index
}
console.log(JSON.stringify({ rlp, transactions: transactions.filter((t) => !t.dull) }, null, 1));
