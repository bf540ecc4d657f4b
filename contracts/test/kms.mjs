// DstackKms: every function, event and reason.
import { ethers } from "ethers";
import { equal, hash, keccak, noHash, nobody, refused, test } from "./harness.mjs";

export const boot = (changes = {}) => ({
  appId: nobody, composeHash: hash("e1"), instanceId: "0x" + "51".repeat(20), deviceId: hash("c1"),
  mrAggregated: hash("b1"), mrSystem: hash("f1"), osImageHash: hash("a1"), tcbStatus: "UpToDate",
  advisoryIds: [], ...changes,
});
export const decision = async (contract, method, changes) => (await contract[method](boot(changes))).toArray();

/** The specific event, then PolicyChanged, and nothing else; and the count goes up. */
export async function changes(chain, contract, [method, ...values], event, policy, value, enabled) {
  const before = await contract.policyVersion();
  const receipt = await chain.send(contract, method, values, `${method.split("(")[0]}`);
  equal(
    chain.events(receipt),
    [...(event ? [event] : []), ["PolicyChanged", chain.owner.address, keccak(policy), value, enabled]],
    method,
  );
  equal(await contract.policyVersion(), before + 1n, "policyVersion");
}
const word = (address) => ethers.zeroPadValue(address, 32);

test("lists of the KMS change with their events", async (chain) => {
  const { kms } = chain;
  for (const [kind, list, event, policy] of [
    ["OsImageHash", "allowedOsImages", "OsImageHash", "os-image"],
    ["KmsAggregatedMr", "kmsAllowedAggregatedMrs", "KmsAggregatedMr", "kms-aggregated-mr"],
    ["KmsDevice", "kmsAllowedDeviceIds", "KmsDevice", "kms-device"],
  ]) {
    const value = hash("a7");
    equal(await kms[list](value), false, list);
    await changes(chain, kms, [`add${kind}`, value], [`${event}Added`, value], policy, value, true);
    equal(await kms[list](value), true, list);
    await changes(chain, kms, [`remove${kind}`, value], [`${event}Removed`, value], policy, value, false);
    equal(await kms[list](value), false, list);
  }
});

test("settings of the KMS change with their events", async (chain) => {
  const { kms } = chain;
  const implementation = "0x" + "77".repeat(20);
  await changes(chain, kms, ["setGatewayAppId", "any text"], ["GatewayAppIdSet", "any text"],
    "gateway-app-id", keccak("any text"), true);
  equal(await kms.gatewayAppId(), "any text");
  await changes(chain, kms, ["setAppImplementation", implementation],
    ["AppImplementationSet", implementation], "app-implementation", word(implementation), true);
  equal(await kms.appImplementation(), implementation);
  await changes(chain, kms, ["setKmsInfo", ["0x0102", "0x03", "0x04", "0x05"]], ["KmsInfoSet", "0x0102"],
    "kms-info", ethers.keccak256("0x0102"), true);
  await changes(chain, kms, ["setKmsQuote", "0x44"], null, "kms-quote", ethers.keccak256("0x44"), true);
  await changes(chain, kms, ["setKmsEventlog", "0x55"], null, "kms-eventlog", ethers.keccak256("0x55"), true);
  equal((await kms.kmsInfo()).toArray(), ["0x0102", "0x03", "0x44", "0x55"]);
});

test("anyone registers an app, but not the zero address", async (chain) => {
  const anyone = chain.kms.connect(chain.other);
  const app = "0x" + "66".repeat(20);
  const receipt = await chain.send(anyone, "registerApp", [app], "registerApp");
  equal(chain.events(receipt), [
    ["AppRegistered", app],
    ["PolicyChanged", chain.other.address, keccak("registered-app"), word(app), true],
  ]);
  equal(await chain.kms.registeredApps(app), true);
  await refused(anyone.registerApp(nobody), "Invalid app ID");
});

test("the factory makes an app with what it was told", async (chain) => {
  const anyone = chain.kms.connect(chain.other);
  const six = "deployAndRegisterApp(address,bool,bool,bool,bytes32,bytes32)";
  const five = "deployAndRegisterApp(address,bool,bool,bytes32,bytes32)";
  const make = async (method, values) => {
    const receipt = await chain.send(anyone, method, values);
    const [, appId, deployer] = chain.events(receipt).find(([n]) => n === "AppDeployedViaFactory");
    equal(deployer, chain.other.address);
    equal(await chain.kms.registeredApps(appId), true);
    return chain.at("DstackApp", appId);
  };
  const owner = chain.third.address;
  const strict = await make(six, [owner, true, true, false, hash("d1"), hash("e1")]);
  equal(await strict.owner(), owner);
  equal(await strict.requireTcbUpToDate(), true);
  equal(await strict.allowAnyDevice(), false);
  equal(await strict.allowedDeviceIds(hash("d1")), true);
  equal(await strict.allowedComposeHashes(hash("e1")), true);
  await refused(
    strict.connect(chain.third).upgradeToAndCall(chain.facts.app_implementation, "0x"),
    "Upgrades are permanently disabled",
  );
  const open = await make(five, [owner, false, true, noHash, noHash]);
  equal(await open.requireTcbUpToDate(), false);
  equal(await open.allowAnyDevice(), true);
  equal(await open.allowedDeviceIds(noHash), false);
  equal(await open.allowedComposeHashes(noHash), false);
  await refused(chain.kms[six](nobody, false, false, false, noHash, noHash), "invalid owner address");
});

test("a KMS without app implementation cannot make apps", async (chain) => {
  const data = chain.kms.interface.encodeFunctionData("initialize", [chain.owner.address, nobody]);
  const proxy = await chain.deploy("ERC1967Proxy", chain.facts.kms_implementation, data);
  const kms = chain.at("DstackKms", proxy.target);
  equal(await kms.appImplementation(), nobody);
  await refused(
    kms["deployAndRegisterApp(address,bool,bool,bytes32,bytes32)"](
      chain.owner.address, false, false, noHash, noHash),
    "App implementation not set",
  );
  await refused(kms.setAppImplementation(nobody), "Invalid implementation address");
});

test("a KMS is judged by TCB, OS image, measurement and device in this order", async (chain) => {
  const { kms } = chain;
  const now = (changes) => decision(kms, "isKmsAllowed", changes);
  equal(await now({ tcbStatus: "OutOfDate" }), [false, "TCB status is not up to date"]);
  equal(await now({ tcbStatus: "uptodate" }), [false, "TCB status is not up to date"]);
  equal(await now({ tcbStatus: "" }), [false, "TCB status is not up to date"]);
  equal(await now(), [false, "OS image is not allowed"]);
  await chain.send(kms, "addOsImageHash", [hash("a1")]);
  equal(await now(), [false, "Aggregated MR not allowed"]);
  await chain.send(kms, "addKmsAggregatedMr", [hash("b1")]);
  equal(await now(), [false, "KMS is not allowed to boot on this device"]);
  await chain.send(kms, "addKmsDevice", [hash("c1")]);
  equal(await now(), [true, ""]);
  equal(await now({ advisoryIds: ["INTEL-SA-00001"], mrSystem: noHash, instanceId: nobody }), [true, ""]);
});

test("an app is judged by registration, OS image, code and its own contract in this order", async (chain) => {
  const { kms } = chain;
  const app = await chain.newApp({ compose: hash("e1"), device: hash("c1") });
  const now = (changes) => decision(kms, "isAppAllowed", { appId: app.target, ...changes });
  const account = chain.fourth.address;
  equal(await now({ appId: account }), [false, "App not registered"]);
  equal(await now(), [false, "OS image is not allowed"]);
  await chain.send(kms, "addOsImageHash", [hash("a1")]);
  await chain.send(kms, "registerApp", [account]);
  equal(await now({ appId: account }), [false, "App not deployed or invalid address"]);
  equal(await now({ composeHash: hash("ee") }), [false, "Compose hash not allowed"]);
  equal(await now({ tcbStatus: "Revoked", mrAggregated: noHash }), [true, ""]);
  equal(await now(), [true, ""]);
});

test("the failure of an app's contract is the KMS contract's failure", async (chain) => {
  const { kms } = chain;
  await chain.send(kms, "addOsImageHash", [hash("a1")]);
  // A contract with code that does not know the question.
  await chain.send(kms, "registerApp", [chain.facts.kms_implementation]);
  equal(
    await decision(kms, "isAppAllowed", { appId: chain.facts.kms_implementation }),
    [false, "App not registered"], // the implementation's own, empty registry answers
  );
  const wallet = await chain.deploy("Multisig", [chain.owner.address], 1);
  await chain.send(kms, "registerApp", [wallet.target]);
  let failed = false;
  await kms.isAppAllowed(boot({ appId: wallet.target })).catch(() => (failed = true));
  equal(failed, true, "call of a contract that is no app");
});

test("only the owner changes the KMS contract", async (chain) => {
  const stranger = chain.kms.connect(chain.other);
  const who = chain.other.address;
  for (const [method, ...values] of [
    ["addOsImageHash", noHash], ["removeOsImageHash", noHash], ["addKmsAggregatedMr", noHash],
    ["removeKmsAggregatedMr", noHash], ["addKmsDevice", noHash], ["removeKmsDevice", noHash],
    ["setGatewayAppId", ""], ["setAppImplementation", who], ["setKmsInfo", ["0x", "0x", "0x", "0x"]],
    ["setKmsQuote", "0x"], ["setKmsEventlog", "0x"], ["transferOwnership", who], ["acceptOwnership"],
    ["renounceOwnership"], ["upgradeToAndCall", chain.facts.kms_implementation, "0x"],
    ["setGuardian", who], ["setValidity", keccak("os-image"), noHash, 0, 0],
    ["setAppApprovalRequired", true], ["approveApp", who], ["revokeAppApproval", who],
  ]) {
    await refused(stranger[method](...values), "OwnableUnauthorizedAccount", who);
  }
});
