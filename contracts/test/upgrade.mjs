// New code behind the same address.
import { ethers } from "ethers";
import { equal, hash, keccak, refused, test } from "./harness.mjs";

const slot = "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc";
const behind = async (chain, proxy) =>
  ethers.getAddress("0x" + (await chain.provider.getStorage(proxy, slot)).slice(26));

test("the owner upgrades, state stays, and the event tells", async (chain) => {
  const app = await chain.newApp({ compose: hash("e1") });
  for (const [name, contract] of [["DstackKms", chain.kms], ["DstackApp", app]]) {
    const fresh = (await chain.deploy(name)).target;
    const receipt = await chain.send(contract, "upgradeToAndCall", [fresh, "0x"], `upgradeToAndCall (${name})`);
    equal(chain.events(receipt), [
      ["Upgraded", fresh],
      ["PolicyChanged", chain.owner.address, keccak("implementation-upgrade"), ethers.zeroPadValue(fresh, 32), true],
    ]);
    equal(await behind(chain, contract.target), fresh);
    equal(await contract.owner(), chain.owner.address);
  }
  equal(await chain.kms.registeredApps(app.target), true);
  equal(await app.allowedComposeHashes(hash("e1")), true);
  equal(await app.proxiableUUID.staticCall().catch((e) => e.revert?.name), "UUPSUnauthorizedCallContext");
});

test("an upgrade may call the new code", async (chain) => {
  const app = await chain.newApp();
  const fresh = (await chain.deploy("DstackApp")).target;
  const call = app.interface.encodeFunctionData("addComposeHash", [hash("e7")]);
  await chain.send(app, "upgradeToAndCall", [fresh, call]);
  equal(await app.allowedComposeHashes(hash("e7")), true);
});

test("upgrades end once they are disabled", async (chain) => {
  const app = await chain.newApp();
  await chain.send(app, "upgradeToAndCall", [chain.facts.app_implementation, "0x"]);
  await chain.send(app, "disableUpgrades", []);
  await refused(app.upgradeToAndCall(chain.facts.app_implementation, "0x"), "Upgrades are permanently disabled");
});

test("only upgradeable code can be upgraded to", async (chain) => {
  const account = chain.other.address;
  await refused(chain.kms.upgradeToAndCall(chain.facts.kms, "0x"), "ERC1967InvalidImplementation");
  const other = await chain.deploy("Multisig", [account], 1);
  await refused(chain.kms.upgradeToAndCall(other.target, "0x"), "ERC1967InvalidImplementation");
  const implementation = chain.at("DstackKms", chain.facts.kms_implementation);
  await refused(implementation.upgradeToAndCall(chain.facts.kms_implementation, "0x"), "UUPSUnauthorizedCallContext");
});
