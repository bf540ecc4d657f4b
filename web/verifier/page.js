// Sends what is pasted, dropped or typed to /inspect and draws its answer as a tree. Everything that
// comes back is put in as text, never as markup.
"use strict";

const byId = (id) => document.getElementById(id);

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

const signs = { ok: "✓", bad: "✕", warn: "!", none: "·" };
const words = { ok: "holds", bad: "failed", warn: "holds, with a remark", none: "not reached" };

function mark(kind) {
  const sign = make("span", "mark", signs[kind]);
  sign.setAttribute("aria-hidden", "true");
  return sign;
}

function chip(anchor) {
  return make("span", "chip " + anchor, anchor);
}

function isAnchor(anchor) {
  return anchor && anchor !== "none";
}

function facts(pairs) {
  const list = make("dl", "facts");
  for (const { name, value, anchor } of pairs) {
    const cell = make("dd");
    cell.append(make("span", "value", value));
    if (isAnchor(anchor)) cell.append(chip(anchor));
    list.append(make("dt", "", name), cell);
  }
  return list;
}

// ---- the tree ----

function kindOf(step) {
  if (step.status === "failed") return step.optional ? "warn" : "bad";
  if (step.status !== "ok") return "none";
  return step.caveat || step.anchor === "self-asserted" ? "warn" : "ok";
}

function branch(step, children) {
  const item = make("li");
  if (step.status === "group") {
    const line = make("div", "group");
    line.append(make("span", "", step.title));
    item.append(line);
  } else {
    const kind = kindOf(step);
    const details = make("details", "step " + kind);
    const summary = make("summary", kind);
    summary.append(mark(kind), make("span", "title", step.title),
      make("span", "sr", " " + words[kind]));
    if (isAnchor(step.anchor)) summary.append(chip(step.anchor));
    const more = make("span", "more", "›");
    more.setAttribute("aria-hidden", "true");
    summary.append(more);
    const body = make("div", "body");
    if (step.detail) body.append(make("p", "", step.detail));
    if (step.inputs.length) body.append(facts(step.inputs));
    details.append(summary, body);
    details.open = kind === "bad";
    item.append(details);
  }
  if (children.length) {
    const list = make("ul");
    list.append(...children);
    item.append(list);
  }
  return item;
}

function tree(steps) {
  const ids = new Set(steps.map((step) => step.id));
  const below = (parent) => steps
    .filter((step) => (ids.has(step.parent) ? step.parent : null) === parent)
    .map((step) => branch(step, below(step.id)));
  const list = make("ul", "tree");
  list.append(...below(null));
  return list;
}

// ---- the answer ----

const kinds = {
  attestation: "attestation", certificate: "certificate", quote: "quote", address: "address",
};

function headline(answer) {
  const what = kinds[answer.kind] || "evidence";
  if (answer.verdict !== "verified") return "This " + what + " is refused";
  if (answer.kind === "quote") return "The quote is genuine";
  return "This " + what + " is verified";
}

function remark(answer, weak) {
  if (answer.verdict !== "verified") return answer.reason;
  if (answer.kind === "quote") {
    return "A quote alone does not tell what runs: that takes its event log, as an attestation has it.";
  }
  return weak ? "Something in it is left to your own judgement: see the marks below."
    : "Every step of its chain of trust holds.";
}

function card(title, content) {
  const box = make("div", "card");
  box.append(make("h3", "", title), content);
  return box;
}

function show(answer) {
  const result = byId("result");
  const weak = answer.steps.some((step) => step.status !== "group" && kindOf(step) === "warn");
  const kind = answer.verdict !== "verified" ? "bad" : weak || answer.insecure_dev ? "warn" : "ok";
  const banner = make("div", "card verdict " + kind);
  const text = make("div");
  const title = make("h2", "", headline(answer));
  title.id = "verdict";
  text.append(title, make("p", "", remark(answer, weak)));
  banner.append(mark(kind), text);
  result.replaceChildren(banner);
  if (answer.insecure_dev) {
    result.append(make("p", "card note",
      "Development mode: this verifier trusts roots that are not the vendor's. What it says can be forged."));
  }
  if (answer.claims.length) result.append(card("What it is", facts(answer.claims)));
  result.append(card("Chain of trust", tree(answer.steps)));
  result.append(make("p", "hint", "Judged at " + new Date(answer.time.unix * 1000).toISOString()
    .replace(".000Z", "Z") + " (" + answer.time.source + ")"));
  result.hidden = false;
  result.dataset.verdict = answer.verdict;
  result.focus({ preventScroll: true });
  result.scrollIntoView({ block: "start" });
}

function complain(text) {
  byId("result").hidden = true;
  byId("status").textContent = text;
}

async function inspect(content) {
  byId("go").disabled = true;
  complain("Verifying…");
  try {
    const response = await fetch("/inspect", {
      method: "POST", body: content, headers: { Accept: "application/json" },
    });
    const answer = await response.json();
    if (!response.ok) {
      complain(answer.error.description);
    } else {
      byId("status").textContent = "";
      show(answer);
    }
  } catch {
    complain("The verifier cannot be reached.");
  } finally {
    byId("go").disabled = false;
  }
}

// ---- input ----

let file = null;

function choose(chosen) {
  file = chosen;
  byId("chosen").textContent = chosen ? chosen.name : "";
}

function submit() {
  const text = byId("input").value.trim();
  if (file) {
    inspect(file);
  } else if (text) {
    inspect(text);
  } else {
    complain("There is nothing to verify yet.");
  }
}

const form = byId("form");
form.addEventListener("submit", (event) => { event.preventDefault(); submit(); });
byId("input").addEventListener("input", () => { choose(null); byId("file").value = ""; });
byId("input").addEventListener("keydown", (event) => {
  const text = event.target.value;
  const line = text.startsWith("https://") && !text.includes("\n");
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey || line)) {
    event.preventDefault();
    submit();
  }
});
byId("file").addEventListener("change", (event) => {
  choose(event.target.files[0] || null);
  if (file) submit();
});
for (const name of ["dragover", "drop", "dragleave"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    form.classList.toggle("over", name === "dragover");
  });
}
document.addEventListener("drop", (event) => {
  const dropped = event.dataTransfer.files[0];
  const text = event.dataTransfer.getData("text");
  if (dropped) {
    choose(dropped);
    submit();
  } else if (text) {
    choose(null);
    byId("input").value = text;
    submit();
  }
});
