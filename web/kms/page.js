// Shows GET /status. Everything that comes is put in as text, never as markup.
"use strict";

const byId = (id) => document.getElementById(id);
const REFRESH_MS = 5000;
let show = "all";
let state = null;

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function short(hex) {
  return hex.length > 16 ? hex.slice(0, 10) + "…" + hex.slice(-4) : hex;
}

function value(text, whole) {
  const element = make("span", "value", whole ? text : short(text));
  element.title = text;
  return element;
}

function facts(list, pairs) {
  list.replaceChildren();
  for (const [name, content] of pairs) {
    if (content === undefined || content === null || content === "") continue;
    const cell = make("dd");
    cell.append(content instanceof Node ? content : document.createTextNode(content));
    list.append(make("dt", "", name), cell);
  }
}

function ago(seconds) {
  const age = Math.max(0, state.now - seconds);
  if (age < 90) return `${age} s ago`;
  if (age < 5400) return `${Math.round(age / 60)} min ago`;
  if (age < 129600) return `${Math.round(age / 3600)} h ago`;
  return new Date(seconds * 1000).toISOString().slice(0, 10);
}

function moment(seconds) {
  const element = make("time", "", ago(seconds));
  element.dateTime = new Date(seconds * 1000).toISOString();
  element.title = element.dateTime;
  return element;
}

const titles = {
  "key release": "App keys released", certificate: "Certificate signed", handover: "Root keys moved",
  denial: "Refused", admin: "Administration",
};

function recordItem(record) {
  const item = make("li", record.allowed ? "ok" : "bad");
  const sign = make("span", "mark", record.allowed ? "✓" : "✕");
  sign.setAttribute("aria-hidden", "true");
  const what = make("div");
  what.append(make("span", "what", titles[record.type] ?? record.type));
  if (record.app_id) {
    const who = make("div", "who", "app ");
    who.append(value(record.app_id));
    if (record.instance_id) who.append(", instance ", value(record.instance_id));
    what.append(who);
  }
  item.append(sign, what, moment(record.time));
  if (record.reason) {
    item.append(make("div", record.allowed ? "reason ok-reason" : "reason", record.reason));
  }
  return item;
}

function drawRecords() {
  const wanted = state.records.filter((record) =>
    show === "all" || (show === "released") === record.allowed);
  byId("records").replaceChildren(...wanted.map(recordItem));
  byId("records-none").hidden = wanted.length > 0;
  for (const button of document.querySelectorAll("[data-show]")) {
    button.setAttribute("aria-pressed", String(button.dataset.show === show));
  }
}

function drawInstances() {
  const found = new Map();
  for (const record of state.records) {
    if (record.type !== "key release") continue;
    const key = record.app_id + record.instance_id;
    const entry = found.get(key) ?? { record, count: 0 };
    entry.count += 1;
    found.set(key, entry);
  }
  const rows = [...found.values()].map(({ record, count }) => {
    const row = make("tr");
    for (const content of [value(record.app_id), value(record.instance_id || "shared"),
      String(count), moment(record.time), record.tcb_status]) {
      const cell = make("td");
      cell.append(content);
      row.append(cell);
    }
    return row;
  });
  byId("instances").tBodies[0].replaceChildren(...rows);
  byId("instances").hidden = rows.length === 0;
  byId("instances-none").hidden = rows.length > 0;
}

function many(count, one) {
  return `${count} ${one}${count === 1 ? "" : "s"}`;
}

function drawPolicy() {
  const { policy } = state;
  const rules = policy.rules ?? {};
  const kinds = {
    file: "allow-list file", chain: "contract on a chain", webhook: "webhook",
    dev: "none: everything is allowed",
  };
  const chain = policy.on_chain;
  const useless = chain ? chain.nodes.filter((node) => node.trouble) : [];
  facts(byId("policy"), [
    ["Decided by", kinds[policy.type] ?? policy.type],
    ["Source", policy.source && value(policy.source, true)],
    ["Trouble", policy.trouble],
    ["Gateway", policy.gateway_app_id && value(policy.gateway_app_id, true)],
    ["Contract", policy.contract && value(policy.contract, true)],
    ["Chain", policy.chain_id && String(policy.chain_id)],
    ["Read at", chain && chain.block > 0 &&
      `block ${chain.block}, ${many(Math.max(0, state.now - chain.block_time), "second")} old`],
    ["Nodes", chain && `${chain.quorum} of ${chain.nodes.length} must say the same`],
    ...useless.map((node) => ["Not used", node.trouble]),
    ["Reorganised", chain && chain.reorgs > 0 && many(chain.reorgs, "time")],
    ["OS images", rules.osImages && many(rules.osImages.length, "image")],
    ["TCB levels", (rules.allowedTcbStatuses ?? (policy.rules ? ["UpToDate"] : [])).join(", ")],
  ]);
  const apps = Object.entries(rules.apps ?? {}).map(([id, app]) => {
    const item = make("li");
    item.append(value(id, true));
    const devices = app.allowAnyDevice ? "any device" : many((app.devices ?? []).length, "device");
    item.append(make("div", "detail",
      `${many((app.composeHashes ?? []).length, "version")} allowed, on ${devices}`));
    return item;
  });
  byId("apps").replaceChildren(...apps);
}

function draw() {
  byId("domain").textContent = state.domain;
  byId("note").hidden = !state.insecure_dev;
  byId("note").textContent =
    "Development mode: evidence can be forged, and these keys are not for production.";
  byId("state").className = "card state " + (state.allowed ? "ok" : "bad");
  byId("verdict").textContent = state.allowed
    ? "Releases keys to apps that the policy allows" : "Releases nothing";
  byId("why").textContent = state.trouble;
  const own = state.identity ?? {};
  facts(byId("facts"), [
    ["Root key", value(state.k256_pubkey, true)],
    ["Platform", own.teeVariant && `${own.teeVariant}, ${own.tcbStatus}`],
    ["Own measurement", own.mrAggregated && value(own.mrAggregated, true)],
    ["Certificate", state.certificate_issued && moment(state.certificate_issued)],
    ["Version", state.version],
  ]);
  drawRecords();
  drawInstances();
  drawPolicy();
  facts(byId("log"), [
    ["Name", state.log.name],
    ["Entries", String(state.log.size)],
    ["Verifier key", value(state.log.vkey, true)],
  ]);
}

async function refresh() {
  try {
    const answer = await fetch("/status", { cache: "no-store" });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    state = await answer.json();
    draw();
  } catch (error) {
    byId("state").className = "card state bad";
    byId("verdict").textContent = "The KMS does not answer";
    byId("why").textContent = String(error.message);
  }
}

for (const button of document.querySelectorAll("[data-show]")) {
  button.addEventListener("click", () => {
    show = button.dataset.show;
    if (state) drawRecords();
  });
}
refresh();
setInterval(refresh, REFRESH_MS);
