// Writes artifacts/ from src/; with --check, says instead whether what is there is what src/ gives.
import fs from "node:fs";
import path from "node:path";
import { artifactText, compile, published, root } from "./compile.mjs";

const check = process.argv.includes("--check");
const contracts = compile();
let stale = 0;
for (const name of published) {
  const file = path.join(root, "artifacts", `${name}.json`);
  const text = artifactText(name, contracts[name]);
  if (!check) {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text);
  } else if (!fs.existsSync(file) || fs.readFileSync(file, "utf8") !== text) {
    console.error(`artifacts/${name}.json is not what src/ compiles to: npm run build`);
    stale++;
  }
  const size = contracts[name].runtime.length / 2;
  console.log(`${name}: ${size} bytes of code`);
}
process.exit(stale > 0 ? 1 : 0);
