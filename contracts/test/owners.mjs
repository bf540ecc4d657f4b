// Contracts as owners: two-step hand-over, a multisig, a timelock, and both together.
import { ethers } from "ethers";
import { contracts, equal, hash, noHash, nobody, refused, test } from "./harness.mjs";

const day = 86400;

test("ownership moves in two steps", async (chain) => {
  const { kms } = chain;
  const heir = chain.other;
  const started = await chain.send(kms, "transferOwnership", [heir.address], "transferOwnership");
  equal(chain.events(started), [["OwnershipTransferStarted", chain.owner.address, heir.address]]);
  equal(await kms.owner(), chain.owner.address, "owner before acceptance");
  equal(await kms.pendingOwner(), heir.address);
  await refused(kms.connect(chain.third).acceptOwnership(), "OwnableUnauthorizedAccount", chain.third.address);
  const accepted = await chain.send(kms.connect(heir), "acceptOwnership", [], "acceptOwnership");
  equal(chain.events(accepted), [["OwnershipTransferred", chain.owner.address, heir.address]]);
  equal(await kms.pendingOwner(), nobody);
  await refused(kms.addOsImageHash(hash("a1")), "OwnableUnauthorizedAccount", chain.owner.address);
  await chain.send(kms.connect(heir), "addOsImageHash", [hash("a1")]);
});

test("a multisig as owner acts when enough members confirmed", async (chain) => {
  const members = chain.signers.slice(1, 4);
  const multisig = await chain.deploy("Multisig", members.map((m) => m.address), 2);
  const as = (i) => multisig.connect(members[i]);
  const { kms } = chain;
  await chain.send(kms, "transferOwnership", [multisig.target]);
  const data = (method, ...values) => kms.interface.encodeFunctionData(method, values);
  const perform = async (call) => {
    const id = await multisig.proposalCount();
    await chain.send(as(0), "propose", [kms.target, 0, call]);
    await refused(as(0).execute(id), "Too few confirmations");
    await chain.send(as(1), "confirm", [id]);
    await chain.send(as(2), "execute", [id]);
    return id;
  };
  await perform(data("acceptOwnership"));
  equal(await kms.owner(), multisig.target);
  const id = await perform(data("addOsImageHash", hash("a1")));
  equal(await kms.allowedOsImages(hash("a1")), true);
  await refused(as(0).execute(id), "Already executed");
  await refused(as(0).confirm(id), "Already executed");
  await refused(kms.addOsImageHash(hash("a2")), "OwnableUnauthorizedAccount", chain.owner.address);
});

test("a multisig counts each member once and none besides", async (chain) => {
  const [, one, two, three] = chain.signers;
  const multisig = await chain.deploy("Multisig", [one.address, two.address], 2);
  const as = (signer) => multisig.connect(signer);
  await refused(as(three).propose(nobody, 0, "0x"), "Not a member");
  await chain.send(as(one), "propose", [chain.kms.target, 0, "0x12345678"]);
  await refused(as(three).confirm(0), "Not a member");
  await refused(as(one).confirm(0), "Already confirmed");
  await refused(as(two).confirm(7), "No such proposal");
  await refused(as(two).withdraw(0), "Not confirmed");
  await chain.send(as(two), "confirm", [0]);
  await chain.send(as(one), "withdraw", [0]);
  equal(await multisig.confirmations(0), 1n);
  await refused(as(two).execute(0), "Too few confirmations");
  const factory = new ethers.ContractFactory(multisig.interface, contracts.Multisig.bytecode, chain.owner);
  for (const [list, needed, reason] of [
    [[], 0, "Bad threshold"], [[one.address], 2, "Bad threshold"], [[nobody], 1, "Bad member"],
    [[one.address, one.address], 1, "Member named twice"],
  ]) {
    await refused(factory.deploy(list, needed), reason);
  }
});

test("a multisig's failed call is refused with the call's own reason", async (chain) => {
  const multisig = await chain.deploy("Multisig", [chain.owner.address], 1);
  const call = chain.kms.interface.encodeFunctionData("addOsImageHash", [noHash]);
  await chain.send(multisig, "propose", [chain.kms.target, 0, call]);
  await refused(multisig.execute(0), "OwnableUnauthorizedAccount", multisig.target);
  equal((await multisig.proposalOf(0)).executed, false);
});

test("a timelock as owner gives notice of every change", async (chain) => {
  const { kms } = chain;
  const [, proposer, executor, guardian] = chain.signers;
  const lock = await chain.deploy("TimelockController", 2 * day, [proposer.address], [executor.address], nobody);
  const through = async (method, ...values) => {
    const operation = [kms.target, 0, kms.interface.encodeFunctionData(method, values), noHash, noHash];
    await chain.send(lock.connect(proposer), "schedule", [...operation, 2 * day], "timelock: schedule");
    await refused(lock.connect(executor).execute(...operation), "TimelockUnexpectedOperationState");
    await chain.travel((await chain.now()) + 2 * day);
    await chain.send(lock.connect(executor), "execute", operation, "timelock: execute");
  };
  await chain.send(kms, "setGuardian", [guardian.address]);
  await chain.send(kms, "transferOwnership", [lock.target]);
  await through("acceptOwnership");
  equal(await kms.owner(), lock.target);
  await refused(kms.addOsImageHash(hash("a1")), "OwnableUnauthorizedAccount", chain.owner.address);
  await refused(
    lock.connect(chain.owner).schedule(kms.target, 0, "0x", noHash, noHash, 2 * day),
    "AccessControlUnauthorizedAccount",
  );
  const tooSoon = [kms.target, 0, "0x", noHash, hash("01"), day];
  await refused(lock.connect(proposer).schedule(...tooSoon), "TimelockInsufficientDelay");
  await through("addOsImageHash", hash("a1"));
  equal(await kms.allowedOsImages(hash("a1")), true);
  // The guardian need not wait to take a leaking image away.
  await chain.send(kms.connect(guardian), "removeOsImageHash", [hash("a1")]);
  equal(await kms.allowedOsImages(hash("a1")), false);
});

test("a multisig proposes to a timelock that owns the KMS contract and may cancel", async (chain) => {
  const { kms } = chain;
  const [, one, two] = chain.signers;
  const multisig = await chain.deploy("Multisig", [one.address, two.address], 2);
  const lock = await chain.deploy("TimelockController", day, [multisig.target], [nobody], nobody);
  await chain.send(kms, "transferOwnership", [lock.target]);
  const perform = async (call) => {
    const id = await multisig.proposalCount();
    await chain.send(multisig.connect(one), "propose", [lock.target, 0, call]);
    await chain.send(multisig.connect(two), "confirm", [id]);
    await chain.send(multisig.connect(two), "execute", [id]);
  };
  const accept = [kms.target, 0, kms.interface.encodeFunctionData("acceptOwnership", []), noHash, noHash];
  const scheduled = lock.interface.encodeFunctionData("schedule", [...accept, day]);
  await perform(scheduled);
  const id = await lock.hashOperation(...accept);
  equal(await lock.isOperationPending(id), true);
  await perform(lock.interface.encodeFunctionData("cancel", [id]));
  equal(await lock.isOperation(id), false);
  await perform(scheduled);
  await chain.travel((await chain.now()) + day);
  await chain.send(lock.connect(chain.signers[5]), "execute", accept); // open to anyone
  equal(await kms.owner(), lock.target);
});
