// DstackApp: every function, event and reason.
import { ethers } from "ethers";
import { equal, hash, keccak, noHash, nobody, refused, test } from "./harness.mjs";
import { changes, decision } from "./kms.mjs";

test("lists and settings of an app change with their events", async (chain) => {
  const app = await chain.newApp();
  for (const [kind, list, policy] of [
    ["ComposeHash", "allowedComposeHashes", "compose-hash"], ["Device", "allowedDeviceIds", "device"],
  ]) {
    const value = hash("a7");
    await changes(chain, app, [`add${kind}`, value], [`${kind}Added`, value], policy, value, true);
    equal(await app[list](value), true, list);
    await changes(chain, app, [`remove${kind}`, value], [`${kind}Removed`, value], policy, value, false);
    equal(await app[list](value), false, list);
  }
  for (const [method, event, policy, view] of [
    ["setAllowAnyDevice", "AllowAnyDeviceSet", "allow-any-device", "allowAnyDevice"],
    ["setRequireTcbUpToDate", "RequireTcbUpToDateSet", "require-tcb-up-to-date", "requireTcbUpToDate"],
  ]) {
    for (const on of [true, false]) {
      await changes(chain, app, [method, on], [event, on], policy, noHash, on);
      equal(await app[view](), on, view);
    }
  }
  await changes(chain, app, ["disableUpgrades"], ["UpgradesDisabled"], "upgrades-disabled", noHash, true);
  equal(await app.version(), 2n);
});

test("an app is judged by TCB, compose hash and device in this order", async (chain) => {
  const app = await chain.newApp({ upToDate: true });
  const now = (changes) => decision(app, "isAppAllowed", changes);
  equal(await now({ tcbStatus: "OutOfDate" }), [false, "TCB status is not up to date"]);
  equal(await now(), [false, "Compose hash not allowed"]);
  await chain.send(app, "addComposeHash", [hash("e1")]);
  equal(await now(), [false, "Device not allowed"]);
  await chain.send(app, "addDevice", [hash("c1")]);
  equal(await now(), [true, ""]);
  equal(await now({ deviceId: hash("c2") }), [false, "Device not allowed"]);
  await chain.send(app, "setAllowAnyDevice", [true]);
  equal(await now({ deviceId: hash("c2") }), [true, ""]);
  await chain.send(app, "removeDevice", [hash("c1")]);
  equal(await now(), [true, ""], "a removed device while any device is allowed");
  await chain.send(app, "setRequireTcbUpToDate", [false]);
  equal(await now({ tcbStatus: "OutOfDate" }), [true, ""]);
  await chain.send(app, "removeComposeHash", [hash("e1")]);
  equal(await now(), [false, "Compose hash not allowed"]);
});

test("initializing an app tells what it allowed", async (chain) => {
  const receipt = await chain.send(
    chain.kms, "deployAndRegisterApp(address,bool,bool,bytes32,bytes32)",
    [chain.third.address, false, false, hash("d1"), hash("e1")],
  );
  equal(chain.events(receipt).map(([name]) => name), [
    "Upgraded", "DeviceAdded", "PolicyChanged", "ComposeHashAdded", "PolicyChanged",
    "OwnershipTransferred", "Initialized", "AppRegistered", "PolicyChanged", "AppDeployedViaFactory",
  ]);
});

test("only the owner changes an app's contract", async (chain) => {
  const app = (await chain.newApp()).connect(chain.other);
  const who = chain.other.address;
  for (const [method, ...values] of [
    ["addComposeHash", noHash], ["removeComposeHash", noHash], ["addDevice", noHash],
    ["removeDevice", noHash], ["setAllowAnyDevice", true], ["setRequireTcbUpToDate", true],
    ["disableUpgrades"], ["transferOwnership", who], ["acceptOwnership"], ["renounceOwnership"],
    ["upgradeToAndCall", chain.facts.app_implementation, "0x"], ["setGuardian", who],
    ["setValidity", keccak("device"), noHash, 0, 0], ["setRestrictOsImages", true],
    ["addOsImageHash", noHash], ["removeOsImageHash", noHash], ["setAdvisoryRefused", "X", true],
  ]) {
    await refused(app[method](...values), "OwnableUnauthorizedAccount", who);
  }
});

test("a frozen app changes no more, not even by its guardian", async (chain) => {
  const app = await chain.newApp({ compose: hash("e1") });
  await chain.send(app, "setGuardian", [chain.other.address]);
  await chain.send(app, "disableUpgrades", []);
  await chain.send(app, "renounceOwnership", [], "renounceOwnership (app)");
  equal(await app.owner(), nobody);
  equal(await app.guardian(), nobody);
  const who = chain.owner.address;
  await refused(app.addComposeHash(hash("e2")), "OwnableUnauthorizedAccount", who);
  await refused(
    app.connect(chain.other).removeComposeHash(hash("e1")), "OwnableUnauthorizedAccount", chain.other.address,
  );
  equal(await app.allowedComposeHashes(hash("e1")), true);
});
