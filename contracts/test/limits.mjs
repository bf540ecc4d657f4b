// What these contracts have beyond the reference's.
import { ethers } from "ethers";
import { equal, hash, keccak, noHash, nobody, refused, test } from "./harness.mjs";
import { changes, decision } from "./kms.mjs";

const word = (address) => ethers.zeroPadValue(address, 32);

/** Inside, at both ends and outside of a period. */
async function period(chain, contract, policy, value, ask, allowed, reason) {
  const before = await chain.provider.send("evm_snapshot", []);
  const start = (await chain.now()) + 1000;
  await chain.send(contract, "setValidity", [keccak(policy), value, start, start + 500]);
  equal((await contract.validity(keccak(policy), value)).toArray(), [BigInt(start), BigInt(start + 500)]);
  equal(await ask(), [false, reason], `${policy} before`);
  for (const [at, holds] of [[start - 1, false], [start, true], [start + 500, true], [start + 501, false]]) {
    await chain.travel(at);
    equal(await ask(), holds ? allowed : [false, reason], `${policy} at ${at - start}`);
  }
  await chain.send(contract, "setValidity", [keccak(policy), value, 0, 0]);
  equal(await ask(), allowed, `${policy} unbounded again`);
  await chain.provider.send("evm_revert", [before]);
}

test("entries of the KMS hold within their validity period only", async (chain) => {
  const { kms } = chain;
  await chain.send(kms, "addOsImageHash", [hash("a1")]);
  await chain.send(kms, "addKmsAggregatedMr", [hash("b1")]);
  await chain.send(kms, "addKmsDevice", [hash("c1")]);
  const app = await chain.newApp({ compose: hash("e1"), device: hash("c1") });
  const askKms = () => decision(kms, "isKmsAllowed");
  const askApp = () => decision(kms, "isAppAllowed", { appId: app.target });
  const ok = [true, ""];
  await period(chain, kms, "os-image", hash("a1"), askKms, ok, "OS image is outside its validity period");
  await period(chain, kms, "os-image", hash("a1"), askApp, ok, "OS image is outside its validity period");
  await period(chain, kms, "kms-aggregated-mr", hash("b1"), askKms, ok, "Aggregated MR is outside its validity period");
  await period(chain, kms, "kms-device", hash("c1"), askKms, ok, "KMS device is outside its validity period");
  await period(chain, kms, "registered-app", word(app.target), askApp, ok, "App registration is outside its validity period");
});

test("entries of an app hold within their validity period only", async (chain) => {
  const app = await chain.newApp({ compose: hash("e1"), device: hash("c1") });
  await chain.send(app, "addOsImageHash", [hash("a1")]);
  await chain.send(app, "setRestrictOsImages", [true]);
  const ask = () => decision(app, "isAppAllowed");
  const ok = [true, ""];
  await period(chain, app, "compose-hash", hash("e1"), ask, ok, "Compose hash is outside its validity period");
  await period(chain, app, "device", hash("c1"), ask, ok, "Device is outside its validity period");
  await period(chain, app, "os-image", hash("a1"), ask, ok, "OS image is outside its validity period");
});

test("setting a validity period tells of it and counts", async (chain) => {
  const before = await chain.kms.policyVersion();
  const receipt = await chain.send(chain.kms, "setValidity", [keccak("os-image"), hash("a1"), 5, 9]);
  equal(chain.events(receipt), [["ValiditySet", keccak("os-image"), hash("a1"), 5n, 9n]]);
  equal(await chain.kms.policyVersion(), before + 1n);
  // With times whose bytes, and so whose gas, do not depend on the day.
  const times = [0x71717171, 0x72727272];
  await chain.send(chain.kms, "setValidity", [keccak("os-image"), hash("a2"), ...times], "setValidity");
  await refused(chain.kms.setValidity(keccak("os-image"), noHash, 9, 5), "Validity ends before it begins");
  await refused(chain.kms.setValidity(keccak("compose-hash"), noHash, 0, 0), "Policy has no validity period");
  const app = await chain.newApp();
  await refused(app.setValidity(keccak("kms-device"), noHash, 0, 0), "Policy has no validity period");
});

test("removing an entry forgets its validity period", async (chain) => {
  const app = await chain.newApp();
  for (const [contract, policy, remove] of [
    [chain.kms, "os-image", "removeOsImageHash"], [chain.kms, "kms-aggregated-mr", "removeKmsAggregatedMr"],
    [chain.kms, "kms-device", "removeKmsDevice"], [app, "compose-hash", "removeComposeHash"],
    [app, "device", "removeDevice"], [app, "os-image", "removeOsImageHash"],
  ]) {
    await chain.send(contract, "setValidity", [keccak(policy), hash("a1"), 5, 9]);
    await chain.send(contract, remove, [hash("a1")]);
    equal((await contract.validity(keccak(policy), hash("a1"))).toArray(), [0n, 0n], policy);
  }
});

test("the guardian removes entries", async (chain) => {
  const app = await chain.newApp({ compose: hash("e1"), device: hash("d1") });
  const who = chain.other.address;
  for (const contract of [chain.kms, app]) {
    await changes(chain, contract, ["setGuardian", who], ["GuardianSet", who], "guardian", word(who), true);
    equal(await contract.guardian(), who);
  }
  const kms = chain.kms.connect(chain.other);
  for (const method of ["removeOsImageHash", "removeKmsAggregatedMr", "removeKmsDevice"]) {
    await chain.send(kms, method, [hash("a1")]);
  }
  await chain.send(kms, "revokeAppApproval", [app.target]);
  const mine = app.connect(chain.other);
  for (const method of ["removeComposeHash", "removeDevice", "removeOsImageHash"]) {
    await chain.send(mine, method, [hash("e1")]);
  }
  equal(await app.allowedComposeHashes(hash("e1")), false);
});

test("the guardian can do nothing but remove", async (chain) => {
  const app = await chain.newApp();
  const who = chain.other.address;
  await chain.send(chain.kms, "setGuardian", [who]);
  await chain.send(app, "setGuardian", [who]);
  for (const [contract, method, ...values] of [
    [chain.kms, "addOsImageHash", noHash], [chain.kms, "addKmsAggregatedMr", noHash],
    [chain.kms, "addKmsDevice", noHash], [chain.kms, "setGatewayAppId", ""],
    [chain.kms, "setAppImplementation", who], [chain.kms, "setKmsInfo", ["0x", "0x", "0x", "0x"]],
    [chain.kms, "setKmsQuote", "0x"], [chain.kms, "setKmsEventlog", "0x"], [chain.kms, "setGuardian", who],
    [chain.kms, "setValidity", keccak("os-image"), noHash, 0, 0], [chain.kms, "approveApp", who],
    [chain.kms, "setAppApprovalRequired", false], [chain.kms, "transferOwnership", who],
    [chain.kms, "upgradeToAndCall", chain.facts.kms_implementation, "0x"],
    [app, "addComposeHash", noHash], [app, "addDevice", noHash], [app, "setAllowAnyDevice", true],
    [app, "setRequireTcbUpToDate", false], [app, "disableUpgrades"], [app, "addOsImageHash", noHash],
    [app, "setRestrictOsImages", false], [app, "setAdvisoryRefused", "X", false],
    [app, "transferOwnership", who], [app, "renounceOwnership"],
    [app, "upgradeToAndCall", chain.facts.app_implementation, "0x"],
  ]) {
    await refused(contract.connect(chain.other)[method](...values), "OwnableUnauthorizedAccount", who);
  }
  await changes(chain, app, ["setGuardian", nobody], ["GuardianSet", nobody], "guardian", noHash, false);
  await refused(app.connect(chain.other).removeDevice(noHash), "OwnableUnauthorizedAccount", who);
});

test("with approval required, registration alone gives no keys", async (chain) => {
  const { kms } = chain;
  await chain.send(kms, "addOsImageHash", [hash("a1")]);
  const app = await chain.newApp({ compose: hash("e1"), any: true });
  const now = () => decision(kms, "isAppAllowed", { appId: app.target });
  equal(await now(), [true, ""]);
  await changes(chain, kms, ["setAppApprovalRequired", true], ["AppApprovalRequiredSet", true],
    "app-approval-required", noHash, true);
  equal(await kms.appApprovalRequired(), true);
  equal(await now(), [false, "App is not approved"]);
  await changes(chain, kms, ["approveApp", app.target], ["AppApproved", app.target],
    "approved-app", word(app.target), true);
  equal(await kms.approvedApps(app.target), true);
  equal(await now(), [true, ""]);
  await changes(chain, kms, ["revokeAppApproval", app.target], ["AppApprovalRevoked", app.target],
    "approved-app", word(app.target), false);
  equal(await now(), [false, "App is not approved"]);
  await chain.send(kms, "setAppApprovalRequired", [false]);
  equal(await now(), [true, ""]);
  await refused(kms.approveApp(nobody), "Invalid app ID");
});

test("an app's own list of OS images keeps it away from others", async (chain) => {
  const app = await chain.newApp({ compose: hash("e1"), any: true });
  const now = () => decision(app, "isAppAllowed");
  equal(await now(), [true, ""]);
  await changes(chain, app, ["setRestrictOsImages", true], ["RestrictOsImagesSet", true],
    "restrict-os-images", noHash, true);
  equal(await app.restrictOsImages(), true);
  equal(await now(), [false, "OS image is not allowed"]);
  await changes(chain, app, ["addOsImageHash", hash("a1")], ["OsImageHashAdded", hash("a1")],
    "os-image", hash("a1"), true);
  equal(await app.allowedOsImages(hash("a1")), true);
  equal(await now(), [true, ""]);
  await changes(chain, app, ["removeOsImageHash", hash("a1")], ["OsImageHashRemoved", hash("a1")],
    "os-image", hash("a1"), false);
  equal(await now(), [false, "OS image is not allowed"]);
});

test("an app refuses platforms with an advisory that it names", async (chain) => {
  const app = await chain.newApp({ compose: hash("e1"), any: true });
  const id = "INTEL-SA-01234";
  await changes(chain, app, ["setAdvisoryRefused", id, true], ["AdvisoryRefusedSet", id, true],
    "refused-advisory", keccak(id), true);
  equal(await app.refusedAdvisories(keccak(id)), true);
  const with_ = (advisoryIds) => decision(app, "isAppAllowed", { advisoryIds });
  equal(await with_([]), [true, ""]);
  equal(await with_(["INTEL-SA-00001"]), [true, ""]);
  equal(await with_(["INTEL-SA-00001", id]), [false, "Security advisory is not accepted"]);
  await chain.send(app, "setAdvisoryRefused", [id, false]);
  equal(await with_([id]), [true, ""]);
});

test("ownership of the KMS contract cannot be renounced", async (chain) => {
  await refused(chain.kms.renounceOwnership.staticCall(), "Ownership cannot be renounced");
  equal(await chain.kms.owner(), chain.owner.address);
});
