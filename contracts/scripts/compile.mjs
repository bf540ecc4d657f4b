// Compiles src/ with solc-js from standard JSON: the same sources give the same bytes.
import { createRequire } from "node:module";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
export const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

// What the command line deploys; one committed file each.
export const published = ["DstackApp", "DstackKms", "ERC1967Proxy", "TimelockController"];

export const settings = {
  optimizer: { enabled: true, runs: 200 },
  evmVersion: "shanghai",
  outputSelection: {
    "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "storageLayout"] },
  },
};

function sourcesUnder(folder) {
  const found = {};
  for (const entry of fs.readdirSync(path.join(root, folder), { withFileTypes: true })) {
    const name = `${folder}/${entry.name}`;
    if (entry.isDirectory()) Object.assign(found, sourcesUnder(name));
    else if (name.endsWith(".sol")) found[name] = { content: fs.readFileSync(path.join(root, name), "utf8") };
  }
  return found;
}

/** Every contract by name: {abi, bytecode, runtime, layout}. Throws on any error or warning. */
export function compile(folders = ["src"]) {
  const solc = require("solc");
  const sources = Object.assign({}, ...folders.map(sourcesUnder));
  const find = (name) => {
    const file = path.join(root, "node_modules", name);
    return fs.existsSync(file) ? { contents: fs.readFileSync(file, "utf8") } : { error: "not found" };
  };
  const input = { language: "Solidity", sources, settings };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: find }));
  const complaints = (output.errors ?? []).filter((e) => e.severity !== "info");
  if (complaints.length > 0) throw new Error(complaints.map((e) => e.formattedMessage).join("\n"));
  const contracts = {};
  for (const [source, found] of Object.entries(output.contracts)) {
    for (const [name, made] of Object.entries(found)) {
      contracts[name] = {
        source,
        abi: made.abi,
        bytecode: made.evm.bytecode.object,
        runtime: made.evm.deployedBytecode.object,
        layout: made.storageLayout,
      };
    }
  }
  return contracts;
}

/** The text of a contract's committed file. */
export function artifactText(name, contract) {
  return `${JSON.stringify(
    {
      contract: name,
      source: contract.source,
      compiler: require("solc/package.json").version,
      optimizerRuns: settings.optimizer.runs,
      evmVersion: settings.evmVersion,
      abi: contract.abi,
      bytecode: contract.bytecode,
    },
    null,
    1,
  )}\n`;
}
