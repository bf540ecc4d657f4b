// Runs every test of the contracts on a local chain. With --write-gas, also puts the gas table into
// docs/chain.md; without, that table must be what this run used.
import fs from "node:fs";
import path from "node:path";
import { root } from "../scripts/compile.mjs";
import { Chain, gasTable, run } from "./harness.mjs";

for (const name of ["interface", "kms", "app", "limits", "upgrade", "owners", "recorded"]) {
  await import(`./${name}.mjs`);
}

const chain = await Chain.start();
let failed = await run(chain);
chain.stop();

const file = path.join(path.dirname(root), "docs/chain.md");
const text = fs.readFileSync(file, "utf8");
const [start, end] = ["<!-- gas -->\n", "\n<!-- end of gas -->"];
const from = text.indexOf(start) + start.length;
const to = text.indexOf(end);
if (process.argv.includes("--write-gas")) {
  fs.writeFileSync(file, text.slice(0, from) + gasTable() + text.slice(to));
} else if (text.slice(from, to) === gasTable()) {
  console.log("ok the gas table of docs/chain.md is what the transactions use");
} else {
  failed++;
  console.log("not ok the gas table of docs/chain.md is what the transactions use");
}
process.exit(failed ? 1 : 0);
