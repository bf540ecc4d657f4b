// The interface: every selector, topic, storage slot and interface id that others rely on.
import { ethers } from "ethers";
import { check, contracts, equal, keccak, refused, test } from "./harness.mjs";

const shared = {
  owner: "8da5cb5b", pendingOwner: "e30c3978", transferOwnership: "f2fde38b",
  acceptOwnership: "79ba5097", renounceOwnership: "715018a6", upgradeToAndCall: "4f1ef286",
  proxiableUUID: "52d1902d", UPGRADE_INTERFACE_VERSION: "ad3cb1cc", supportsInterface: "01ffc9a7",
  isAppAllowed: "1e079198",
};
const selectors = {
  DstackKms: {
    ...shared, initialize: "485cc955", isKmsAllowed: "e067ec9d", gatewayAppId: "95f51931",
    appImplementation: "25a992da", kmsInfo: "09177063", registeredApps: "a6c4cce9",
    kmsAllowedAggregatedMrs: "f6fe4f40", kmsAllowedDeviceIds: "13eb9770",
    allowedOsImages: "9a4e1d18", registerApp: "17a1d80f",
    "deployAndRegisterApp(address,bool,bool,bool,bytes32,bytes32)": "9cb9c31f",
    "deployAndRegisterApp(address,bool,bool,bytes32,bytes32)": "8618169d",
    addOsImageHash: "06a3ae96", removeOsImageHash: "9425bac6", addKmsAggregatedMr: "3e32d346",
    removeKmsAggregatedMr: "2adee48d", addKmsDevice: "4d5922a1", removeKmsDevice: "9e6f3114",
    setGatewayAppId: "3971db27", setAppImplementation: "3ceaaa11", setKmsInfo: "7d025352",
    setKmsQuote: "18c1ecb2", setKmsEventlog: "736ede7a",
  },
  DstackApp: {
    ...shared, "initialize(address,bool,bool,bytes32,bytes32)": "187515ca",
    "initialize(address,bool,bool,bool,bytes32,bytes32)": "9ed28193", addComposeHash: "dfc77223",
    removeComposeHash: "67b3f22c", addDevice: "2a819728", removeDevice: "1d266200",
    setAllowAnyDevice: "7c4beeb8", setRequireTcbUpToDate: "6e4c7422", disableUpgrades: "ec669036",
    allowedComposeHashes: "2f6622e5", allowedDeviceIds: "bf8b211b", allowAnyDevice: "3440a16a",
    requireTcbUpToDate: "0aa58c83", version: "54fd4d50",
  },
};
const topics = {
  AppRegistered: "0d540ad8f39e07d19909687352b9fa017405d93c91a6760981fbae9cf28bfef7",
  AppDeployedViaFactory: "fd86d7f6962eba3b7a3bf9129c06c0b2f885e1c61ef2c9f0dbb856be0deefdee",
  AppImplementationSet: "08bb433f12b5fd81d2d5e0deeb3b4d28371781ddbd80e9d053e7468d2b1aa82d",
  KmsInfoSet: "77cdad119a452bbd96c45635758fc4af8a6bde3deaccf3fada634ddf9a162706",
  KmsAggregatedMrAdded: "68615a0b92795750b3d180ff73429e1291d225e449eee954a567b91104fd9837",
  KmsAggregatedMrRemoved: "54cd662e41eec7ddf0f32f034b2533e481b471dd3ea978222d609ec8fffb1bb0",
  KmsDeviceAdded: "f2b290637b1193e12eb38ab32b986303639b1687cc2cd1e25f993e6eae2f4041",
  KmsDeviceRemoved: "1a9888a45e3df8b7e6bb3090747d598d2a0d78e61388161a90799f54df8f4434",
  OsImageHashAdded: "4911843506849c85a5ca6e6e2c01eed2d3ab86baba619517a2aad9d5ab2aeff2",
  OsImageHashRemoved: "99b3cee95daf3138d0c982299cd0264f5b7a61aa629b42b92f3ec8966aa7f6fe",
  GatewayAppIdSet: "5b2b64f770ea5266055ebd3ebf205ef06cbfa738e62684edf0e28356e34acf06",
  PolicyChanged: "341d3bc64e32172fc5bcf27b0f7f69dc5adc19af64b7aa1dee361e5883c32375",
  Initialized: "c7f505b2f371ae2175ee4913f4499e1f2633a7b5936321eed1cdaeb6115181d2",
  OwnershipTransferStarted: "38d16b8cac22d99fc7c124b9cd0de2d3fa1faef420bfe791d8c362d765e22700",
  OwnershipTransferred: "8be0079c531659141344cd1fd0a4f28419497f9722a3daafe3b4186f6b6457e0",
  Upgraded: "bc7cd75a20ee27fd9adebab32041f755214dbc6bffa90cc0225b39da2e5c2d3b",
  ComposeHashAdded: "fecb34306dd9d8b785b54d65489d06afc8822a0893ddacedff40c50a4942d0af",
  ComposeHashRemoved: "755b79bd4b0eeab344d032284a99003b2ddc018b646752ac72d681593a6e8947",
  DeviceAdded: "67fc71ab96fe3fa3c6f78e9a00e635d591b7333ce611c0380bc577aac702243b",
  DeviceRemoved: "e0862975ac517b0478d308012afabc4bc37c23874a18144d7f2dfb852ff95c2c",
  AllowAnyDeviceSet: "bb2cdb6c7b362202d40373f87bc4788301cca658f91711ac1662e1ad2cba4a20",
  RequireTcbUpToDateSet: "afae60561b2481a349b45b3a47357f70eef6ae67e5b6e1749d74de7f19a25aa1",
  UpgradesDisabled: "0e5daa943fcd7e7182d0e893d180695c2ea9f6f1b4a1c5432faf14cf17b774e8",
};
const errors = {
  OwnableUnauthorizedAccount: "118cdaa7", OwnableInvalidOwner: "1e4fbdf7",
  InvalidInitialization: "f92ee8a9", NotInitializing: "d7e6bcf8",
  UUPSUnauthorizedCallContext: "e07c8dba", UUPSUnsupportedProxiableUUID: "aa1d49a4",
  ERC1967InvalidImplementation: "4c9c8ce3",
};

test("every function of the published interface has its selector", async () => {
  for (const [contract, functions] of Object.entries(selectors)) {
    const iface = new ethers.Interface(contracts[contract].abi);
    for (const [name, selector] of Object.entries(functions)) {
      equal(iface.getFunction(name).selector, "0x" + selector, `${contract}.${name}`);
    }
  }
});

test("every event of the published interface has its topic", async () => {
  const both = [contracts.DstackKms, contracts.DstackApp].map((c) => new ethers.Interface(c.abi));
  for (const [name, topic] of Object.entries(topics)) {
    const found = both.map((iface) => iface.getEvent(name)?.topicHash).filter((t) => t);
    check(found.length > 0, `no event ${name}`);
    for (const each of found) equal(each, "0x" + topic, name);
  }
});

test("every custom error has its selector", async () => {
  const iface = new ethers.Interface(contracts.DstackKms.abi);
  for (const [name, selector] of Object.entries(errors)) {
    equal(iface.getError(name).selector, "0x" + selector, name);
  }
});

test("numbered storage slots are where the reference has them", async () => {
  const slots = (name) =>
    Object.fromEntries(contracts[name].layout.storage.map((s) => [s.label, [Number(s.slot), s.offset]]));
  equal(slots("DstackKms"), {
    kmsInfo: [0, 0], gatewayAppId: [4, 0], registeredApps: [5, 0], kmsAllowedAggregatedMrs: [6, 0],
    kmsAllowedDeviceIds: [7, 0], allowedOsImages: [8, 0], appImplementation: [9, 0], __gap: [10, 0],
  });
  equal(slots("DstackApp"), {
    allowedComposeHashes: [0, 0], _upgradesDisabled: [1, 0], allowAnyDevice: [1, 1],
    allowedDeviceIds: [2, 0], requireTcbUpToDate: [3, 0], __gap: [4, 0],
  });
});

test("namespaced storage lies where ERC-7201 puts it", async (chain) => {
  const location = (name) => {
    const id = BigInt(keccak(name)) - 1n;
    const slot = BigInt(ethers.keccak256(ethers.toBeHex(id, 32))) & ~0xffn;
    return ethers.toBeHex(slot, 32);
  };
  await chain.send(chain.kms, "setGuardian", [chain.other.address]);
  const word = await chain.provider.getStorage(chain.facts.kms, location("dstack.storage.Policy"));
  equal(BigInt(word) & 0xffffffffffffffffn, await chain.kms.policyVersion(), "version");
  equal(ethers.getAddress("0x" + word.slice(10, 50)), chain.other.address, "guardian");
  await chain.send(chain.kms, "setAppApprovalRequired", [true]);
  equal(BigInt(await chain.provider.getStorage(chain.facts.kms, location("dstack.storage.AppApproval"))), 1n);
  const app = await chain.newApp();
  await chain.send(app, "setRestrictOsImages", [true]);
  equal(BigInt(await chain.provider.getStorage(app.target, location("dstack.storage.AppLimits"))), 1n);
});

test("the interfaces that each contract claims are these", async (chain) => {
  const app = await chain.newApp();
  for (const [contract, ids] of [
    [chain.kms, { "0x1e079198": true, "0x01ffc9a7": true, "0x8fd37527": false, "0xffffffff": false }],
    [app, { "0x1e079198": true, "0x01ffc9a7": true, "0x8fd37527": true, "0xffffffff": false }],
  ]) {
    for (const [id, claimed] of Object.entries(ids)) equal(await contract.supportsInterface(id), claimed, id);
  }
});

test("contracts fit the size limit of deployed code", async () => {
  for (const name of ["DstackKms", "DstackApp", "Multisig", "TimelockController"]) {
    check(contracts[name].runtime.length / 2 <= 24576, `${name} is too large`);
  }
});

test("a proxy is initialized once and its implementation never", async (chain) => {
  const owner = chain.owner.address;
  await refused(chain.kms.initialize(owner, owner), "InvalidInitialization");
  for (const name of ["kms_implementation", "app_implementation"]) {
    const contract = chain.at(name.startsWith("kms") ? "DstackKms" : "DstackApp", chain.facts[name]);
    const values = name.startsWith("kms") ? [owner, owner] : [owner, false, false, ethers.ZeroHash, ethers.ZeroHash];
    const method = name.startsWith("kms") ? "initialize" : "initialize(address,bool,bool,bytes32,bytes32)";
    await refused(contract[method](...values), "InvalidInitialization");
  }
  const app = await chain.newApp();
  await refused(
    app["initialize(address,bool,bool,bytes32,bytes32)"](owner, false, false, ethers.ZeroHash, ethers.ZeroHash),
    "InvalidInitialization",
  );
  await refused(
    app["initialize(address,bool,bool,bool,bytes32,bytes32)"](
      owner, false, false, false, ethers.ZeroHash, ethers.ZeroHash),
    "InvalidInitialization",
  );
});
