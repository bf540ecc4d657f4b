// Against calls and logs recorded from the reference's contracts, where they are at hand.
import fs from "node:fs";
import path from "node:path";
import { ethers } from "ethers";
import { root } from "../scripts/compile.mjs";
import { contracts, equal, hash, noHash, refused, test } from "./harness.mjs";

const folder = path.join(path.dirname(root), "../shared/data/governance");
const read = (name) => JSON.parse(fs.readFileSync(path.join(folder, name), "utf8"));

if (!fs.existsSync(folder)) {
  console.log("    skip  recordings of the reference's contracts are not here");
} else {
  const calls = read("abi-calls.json");
  const recorded = read("event-logs.json");

  const noCode = "0x" + "99".repeat(20);

  /** The transactions that led to the recorded state, each by the name the recording gives it. */
  async function setUp(chain) {
    const { kms } = chain;
    const steps = [];
    const step = async (name, contract, method, ...values) => {
      const receipt = await chain.send(contract, method, values);
      steps.push(...receipt.logs.map((log) => ({ tx: name, ...log })));
      return receipt;
    };
    await step("addOsImageHash(a1..)", kms, "addOsImageHash", hash("a1"));
    await step("addKmsAggregatedMr(b1..)", kms, "addKmsAggregatedMr", hash("b1"));
    await step("addKmsDevice(c1..)", kms, "addKmsDevice", hash("c1"));
    await step(
      "deployAndRegisterApp6", kms, "deployAndRegisterApp(address,bool,bool,bool,bytes32,bytes32)",
      chain.owner.address, false, true, false, hash("d1"), hash("e1"),
    );
    const app = chain.at("DstackApp", recorded.app);
    await step("setGatewayAppId(app)", kms, "setGatewayAppId", recorded.app);
    await step("addComposeHash(e2..)", app, "addComposeHash", hash("e2"));
    await step("removeComposeHash(e2..)", app, "removeComposeHash", hash("e2"));
    await step("removeOsImageHash(a2..)", kms, "removeOsImageHash", hash("a2"));
    await step("setRequireTcbUpToDate(true)", app, "setRequireTcbUpToDate", true);
    const shown = recorded.logs.find((log) => log.tx === "setKmsInfo");
    const [pubkey] = ethers.AbiCoder.defaultAbiCoder().decode(["bytes"], shown.data);
    await step("setKmsInfo", kms, "setKmsInfo", [pubkey, "0x", "0x", "0x"]);
    await step("registerApp(99..)", kms, "registerApp", noCode);
    return steps;
  }

  test("addresses are those of the reference's deployment", async (chain) => {
    equal(chain.facts.kms.toLowerCase(), calls.kmsProxy.toLowerCase());
    equal(chain.facts.kms_implementation.toLowerCase(), calls.kmsImplementation.toLowerCase());
    equal(chain.facts.app_implementation.toLowerCase(), calls.appImplementation.toLowerCase());
  });

  test("logs of every step are those of the reference's contracts", async (chain) => {
    const found = await setUp(chain);
    equal(
      found.map((l) => [l.tx, l.address.toLowerCase(), l.topics, l.data]),
      recorded.logs.map((l) => [l.tx, l.address.toLowerCase(), l.topics, l.data]),
      "logs",
    );
  });

  test("recorded calls give the recorded bytes", async (chain) => {
    const unregistered = await chain.provider.send("evm_snapshot", []);
    await setUp(chain);
    for (const call of calls.calls) {
      // Recorded before that address was registered.
      if (call.name === "app unregistered") continue;
      const found = await chain.provider.call({ to: calls.kmsProxy, data: call.calldata });
      equal(found, call.returndata, call.name);
    }
    await chain.provider.send("evm_revert", [unregistered]);
    const early = calls.calls.find((call) => call.name === "app unregistered");
    const found = await chain.provider.call({ to: calls.kmsProxy, data: early.calldata });
    equal(found, early.returndata, early.name);
  });

  test("recorded calldata is what our interface encodes", async (chain) => {
    const kms = new ethers.Interface(contracts.DstackKms.abi);
    equal(
      kms.encodeFunctionData("initialize", [chain.owner.address, calls.appImplementation]),
      calls.initialize_calldata,
    );
    equal(
      kms.encodeFunctionData("deployAndRegisterApp(address,bool,bool,bool,bytes32,bytes32)", [
        chain.owner.address, false, true, false, hash("d1"), hash("e1"),
      ]),
      calls.deployAndRegisterApp_calldata,
    );
  });

  test("recorded refusals are ours", async (chain) => {
    const stranger = chain.at("DstackKms", chain.facts.kms, chain.other);
    const dataOf = async (call) => call.then(() => null, (e) => e.data ?? e.info?.error?.data);
    equal(
      await dataOf(stranger.addOsImageHash.staticCall(noHash)),
      calls.reverts["addOsImageHash by non-owner"],
    );
    equal(
      await dataOf(chain.kms.registerApp.staticCall(ethers.ZeroAddress)),
      calls.reverts["registerApp(0)"],
    );
    await refused(chain.kms.registerApp.staticCall(ethers.ZeroAddress), "Invalid app ID");
  });

  test("recorded storage slots hold the recorded values", async (chain) => {
    const proof = read("eth-proof.json");
    await setUp(chain);
    let compared = 0;
    const walk = (node, address) => {
      if (Array.isArray(node)) return node.flatMap((n) => walk(n, address));
      if (node === null || typeof node !== "object") return [];
      const at = node.address ?? address;
      if (node.slot !== undefined && node.value !== undefined) return [[at, node.slot, node.value]];
      return Object.values(node).flatMap((n) => walk(n, at));
    };
    for (const [address, slot, value] of walk(proof)) {
      equal(BigInt(await chain.provider.getStorage(address, slot)), BigInt(value), `${address} ${slot}`);
      compared++;
    }
    equal(compared, 20, "number of slots");
  });
}
