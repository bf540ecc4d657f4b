// A real chain for a test run, and one line per test: "ok NAME" or "not ok NAME" with the reason.
import { spawn } from "node:child_process";
import path from "node:path";
import readline from "node:readline";
import { ethers } from "ethers";
import { compile, root } from "../scripts/compile.mjs";

export const tests = [];
/** Adds a test; its name is a sentence. Every test begins on a chain as freshly deployed. */
export function test(name, run) {
  tests.push({ name, run });
}

export function check(holds, text) {
  if (!holds) throw new Error(text);
}
export function equal(found, expected, what = "value") {
  const text = (v) => JSON.stringify(v, (_, x) => (typeof x === "bigint" ? x.toString() : x));
  check(text(found) === text(expected), `${what}: expected ${text(expected)}, found ${text(found)}`);
}

export const keccak = (text) => ethers.keccak256(ethers.toUtf8Bytes(text));
export const hash = (byte) => "0x" + byte.repeat(32);
export const nobody = ethers.ZeroAddress;
export const noHash = ethers.ZeroHash;

export const contracts = compile();
const gasUsed = new Map();

export class Chain {
  static async start() {
    const chain = new Chain();
    const program = path.join(path.dirname(root), "tests/evm/devchain");
    chain.process = spawn(program, [], { stdio: ["pipe", "pipe", "inherit"] });
    const lines = readline.createInterface({ input: chain.process.stdout });
    const line = await new Promise((resolve, reject) => {
      lines.once("line", resolve);
      chain.process.once("exit", (code) => reject(new Error(`no chain: exit status ${code}`)));
    });
    chain.facts = JSON.parse(line);
    chain.provider = new ethers.JsonRpcProvider(chain.facts.rpc, 31337, {
      staticNetwork: true,
      cacheTimeout: -1,
      batchMaxCount: 1,
      pollingInterval: 20,
    });
    chain.signers = await Promise.all(
      chain.facts.accounts.map((_, i) => chain.provider.getSigner(i)),
    );
    [chain.owner, chain.other, chain.third, chain.fourth] = chain.signers;
    chain.kms = chain.at("DstackKms", chain.facts.kms);
    return chain;
  }

  stop() {
    this.provider.destroy();
    this.process.stdin.end();
  }

  at(name, address, signer = this.owner) {
    return new ethers.Contract(address, contracts[name].abi, signer);
  }

  async deploy(name, ...values) {
    const factory = new ethers.ContractFactory(contracts[name].abi, contracts[name].bytecode, this.owner);
    const made = await factory.deploy(...values);
    this.note(`deploy ${name}`, await this.receipt(made.deploymentTransaction()));
    return made;
  }

  note(what, receipt) {
    if (!gasUsed.has(what)) gasUsed.set(what, receipt.gasUsed);
    return receipt;
  }

  /** The receipt of what was sent. ethers' own wait() listens for a higher block number, which after
   * going back to a snapshot may never come. */
  async receipt(sent) {
    let receipt;
    while ((receipt = await this.provider.getTransactionReceipt(sent.hash)) === null) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    check(receipt.status === 1, "a transaction was reverted");
    return receipt;
  }

  /** Sends a transaction and gives its receipt; the first use of each function counts for the gas
   * table when `what` names it. */
  async send(contract, method, values, what) {
    const sent = await contract[method](...values);
    const receipt = await this.receipt(sent);
    if (what) this.note(what, receipt);
    return receipt;
  }

  /** The events of a receipt as [name, values...] in order, by the contracts' own interfaces. */
  events(receipt, ...interfaces) {
    const known = interfaces.length ? interfaces : ["DstackKms", "DstackApp", "TimelockController"];
    return receipt.logs.map((log) => {
      for (const name of known) {
        const parsed = new ethers.Interface(contracts[name].abi).parseLog(log);
        if (parsed) return [parsed.name, ...parsed.args.toArray()];
      }
      return ["unknown", log.topics[0]];
    });
  }

  async newApp(options = {}) {
    const { owner = this.owner.address, frozen = false, upToDate = false, any = false } = options;
    const receipt = await this.send(
      this.kms,
      "deployAndRegisterApp(address,bool,bool,bool,bytes32,bytes32)",
      [owner, frozen, upToDate, any, options.device ?? noHash, options.compose ?? noHash],
      "deployAndRegisterApp (new app)",
    );
    const found = this.events(receipt).find(([name]) => name === "AppDeployedViaFactory");
    return this.at("DstackApp", found[1]);
  }

  async now() {
    return (await this.provider.getBlock("latest")).timestamp;
  }
  /** Moves the clock of the chain to a moment and makes a block there. */
  async travel(time) {
    await this.provider.send("evm_setNextBlockTimestamp", [Number(time)]);
    await this.provider.send("evm_mine", []);
  }
}

/** The call must be refused: with this text, or with this custom error and its values. */
export async function refused(call, expected, ...values) {
  let data;
  try {
    await call;
  } catch (error) {
    data = error.data ?? error.info?.error?.data ?? error.error?.data;
    if (data === undefined || data === null) throw new Error(`refused without data: ${error.message}`);
  }
  check(data !== undefined, `expected to be refused: ${expected}`);
  for (const contract of Object.values(contracts)) {
    const parsed = new ethers.Interface(contract.abi).parseError(data);
    if (!parsed) continue;
    const found = parsed.name === "Error" ? parsed.args[0] : parsed.name;
    equal(found, expected, "reason");
    if (values.length) equal(parsed.args.toArray(), values, `values of ${expected}`);
    return;
  }
  throw new Error(`unknown refusal ${data}`);
}

export async function run(chain) {
  let failed = 0;
  for (const { name, run: body } of tests) {
    const before = await chain.provider.send("evm_snapshot", []);
    try {
      await body(chain);
      console.log(`ok ${name}`);
    } catch (error) {
      failed++;
      console.log(`not ok ${name}`);
      console.log(String(error.stack).split("\n").slice(0, 6).join("\n"));
    }
    await chain.provider.send("evm_revert", [before]);
  }
  return failed;
}

/** What the run used, by name. */
export function gasTable() {
  const rows = [...gasUsed].sort(([a], [b]) => (a < b ? -1 : 1));
  return ["| Transaction | Gas |", "|---|---|", ...rows.map(([what, gas]) => `| ${what} | ${gas} |`)].join("\n");
}
