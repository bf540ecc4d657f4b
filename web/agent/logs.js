// Shows /logs/<container> as it grows. Everything that comes is put in as text, never as markup.
"use strict";

const byId = (id) => document.getElementById(id);
const KEPT = 5000; // lines; the oldest go
const LINE_MAX = 20000; // characters of one line
const RETRY_MS = 3000;
const container = decodeURIComponent(location.pathname.split("/")[2] ?? "");
const box = byId("lines");
const unfinished = new Map(); // by channel: a line whose end has not come yet
let lines = []; // {channel, time, text, element}
let held = []; // those that came while paused
let paused = false;
let follow = true;
let newest = ""; // timestamp of the newest line, to go on from after a break
let connection = null;
let trouble = ""; // what the guest said last instead of a log
let current = -1; // which match is the one looked at

// ---- one line ---------------------------------------------------------------------------------------

// ECMA-48: colour sequences become classes, all others go.
const SEQUENCE = /\x1b(?:\[([0-9;:<=>?]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])/g;

function pieces(text) {
  const found = [];
  let style = { bold: false, colour: "" };
  let from = 0;
  const put = (end) => {
    if (end > from) found.push({ text: text.slice(from, end), ...style });
  };
  for (const match of text.matchAll(SEQUENCE)) {
    put(match.index);
    from = match.index + match[0].length;
    if (match[2] === "m") style = styled(style, match[1]);
  }
  put(text.length);
  return found;
}

function styled(style, codes) {
  const next = { ...style };
  const list = codes.split(";").map(Number);
  for (let i = 0; i < list.length; i++) {
    const code = list[i];
    if (code === 38 || code === 48) i += list[i + 1] === 5 ? 2 : 4; // palette and RGB colours
    else if (code === 0) Object.assign(next, { bold: false, colour: "" });
    else if (code === 1) next.bold = true;
    else if (code === 22) next.bold = false;
    else if (code === 39) next.colour = "";
    else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) next.colour = `fg${code % 10}`;
  }
  return next;
}

function plain(text) {
  return text.replace(SEQUENCE, "").replace(/[\x00-\x08\x0b-\x1f\x7f]/g, "\ufffd");
}

function draw(line) {
  const element = document.createElement("div");
  element.className = `line ${line.channel}`;
  if (line.time) {
    const time = document.createElement("time");
    time.dateTime = line.time;
    const date = document.createElement("span");
    date.className = "date";
    date.textContent = line.time.slice(0, 10) + " ";
    time.append(date, line.time.slice(11, 23));
    element.append(time);
  }
  const wanted = byId("search").value.toLowerCase();
  const whole = plain(line.text);
  if (wanted && whole.toLowerCase().includes(wanted)) {
    element.append(...marked(whole, wanted));
  } else {
    for (const piece of pieces(line.text)) {
      const span = document.createElement("span");
      span.className = `${piece.colour}${piece.bold ? " bold" : ""}`;
      span.textContent = plain(piece.text);
      element.append(span);
    }
    if (!line.text) element.append("\u00a0");
  }
  line.element = element;
  element.hidden = !shown(line);
  return element;
}

function marked(text, wanted) {
  const parts = [];
  const lower = text.toLowerCase();
  let from = 0;
  for (let at; (at = lower.indexOf(wanted, from)) >= 0; from = at + wanted.length) {
    const mark = document.createElement("mark");
    mark.textContent = text.slice(at, at + wanted.length);
    parts.push(text.slice(from, at), mark);
  }
  parts.push(text.slice(from));
  return parts;
}

function shown(line) {
  const wanted = byId("search").value.toLowerCase();
  const channel = byId("channel").value;
  return (!channel || line.channel === channel || line.channel === "trouble") &&
    (!byId("only").checked || !wanted || plain(line.text).toLowerCase().includes(wanted));
}

// ---- the list ---------------------------------------------------------------------------------------

function add(fresh) {
  if (paused) {
    held = held.concat(fresh).slice(-KEPT);
    return tell();
  }
  lines = lines.concat(fresh);
  const surplus = Math.max(0, lines.length - KEPT);
  for (const line of lines.splice(0, surplus)) line.element?.remove();
  box.append(...fresh.slice(-KEPT).map(draw));
  if (follow) box.scrollTop = box.scrollHeight;
  count();
}

function redraw() {
  current = -1;
  box.replaceChildren(...lines.map(draw));
  if (follow) box.scrollTop = box.scrollHeight;
  count();
}

function matches() {
  return [...box.querySelectorAll(".line:not([hidden]) mark")];
}

function count() {
  const found = matches().length;
  byId("found").textContent = !byId("search").value ? ""
    : found === 0 ? "no match" : current < 0 ? `${found} found` : `${current + 1} of ${found}`;
  byId("previous").disabled = byId("next").disabled = found === 0;
}

function go(step) {
  const found = matches();
  if (found.length === 0) return;
  setFollow(false);
  for (const mark of found) mark.classList.remove("current");
  current = current < 0 && step < 0 ? found.length - 1 : (current + step + found.length) % found.length;
  found[current].classList.add("current");
  found[current].scrollIntoView({ block: "center" });
  count();
}

function setFollow(wanted) {
  follow = wanted;
  byId("follow").setAttribute("aria-pressed", String(follow));
  if (follow) box.scrollTop = box.scrollHeight;
}

function setPaused(wanted) {
  paused = wanted;
  byId("pause").setAttribute("aria-pressed", String(paused));
  byId("pause").textContent = paused ? "Resume" : "Pause";
  if (!paused) {
    const fresh = held;
    held = [];
    add(fresh);
  }
  tell();
}

function tell(state) {
  if (state) byId("state").dataset.state = state;
  const now = byId("state").dataset.state ?? "";
  const texts = { live: "Live", waiting: "Connecting…", broken: "Interrupted; trying again…" };
  byId("state").textContent = paused ? `Paused, ${held.length} new` : texts[now] ?? now;
}

// ---- the stream -------------------------------------------------------------------------------------

// A record is a piece of output: mostly a line, sometimes part of one or many.
function take(record) {
  if (record.error !== undefined) {
    const again = record.error === trouble;
    trouble = record.error;
    return again ? [] : [{ channel: "trouble", time: "", text: record.error }];
  }
  trouble = "";
  const { channel } = record;
  const parts = ((unfinished.get(channel) ?? "") + record.message).split("\n");
  unfinished.set(channel, parts.pop().slice(-LINE_MAX));
  return parts.map((part) => {
    const stamp = /^(\d{4}-\d\d-\d\dT[\d:.]+Z) ?/.exec(part);
    const text = (stamp ? part.slice(stamp[0].length) : part).replace(/\r$/, "");
    return { channel, time: stamp ? stamp[1] : "", text: text.slice(0, LINE_MAX) };
  });
}

// What was seen before a break comes again: the engine counts in whole seconds.
function unseen(line) {
  if (!line.time) return true;
  if (line.time <= take.seen) return false;
  newest = line.time;
  return true;
}

async function read(signal) {
  const tail = newest ? "all" : byId("tail").value;
  const since = newest ? `&since=${Math.floor(Date.parse(newest) / 1000)}` : "";
  take.seen = newest;
  unfinished.clear();
  const answer = await fetch(`/logs/${encodeURIComponent(container)}` +
    `?text&timestamps&follow&tail=${tail}${since}`, { cache: "no-store", signal });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  tell("live");
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    const parts = (rest + (value ?? "")).split("\n");
    rest = parts.pop();
    if (done && rest) parts.push(rest); // an error has no line end
    const fresh = parts.filter(Boolean).flatMap((part) => take(JSON.parse(part))).filter(unseen);
    if (fresh.length > 0) add(fresh);
    if (done) return;
  }
}

async function run() {
  connection?.abort();
  const mine = connection = new AbortController();
  while (!mine.signal.aborted) {
    try {
      await read(mine.signal);
      tell(trouble ? "broken" : "The container has ended");
    } catch (error) {
      if (mine.signal.aborted) return;
      tell("broken");
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

function restart() {
  lines = [];
  held = [];
  newest = trouble = "";
  redraw();
  tell("waiting");
  run();
}

byId("name").textContent = container;
document.title = `${container} · dstack`;
byId("search").addEventListener("input", redraw);
byId("search").addEventListener("keydown", (event) => {
  if (event.key === "Enter") go(event.shiftKey ? -1 : 1);
});
byId("next").addEventListener("click", () => go(1));
byId("previous").addEventListener("click", () => go(-1));
byId("only").addEventListener("change", redraw);
byId("channel").addEventListener("change", redraw);
byId("times").addEventListener("change", () => box.classList.toggle("notimes", !byId("times").checked));
byId("wrap").addEventListener("change", () => box.classList.toggle("nowrap", !byId("wrap").checked));
byId("follow").addEventListener("click", () => setFollow(!follow));
byId("pause").addEventListener("click", () => setPaused(!paused));
byId("tail").addEventListener("change", restart);
// Who scrolls up wants to read; who comes back to the end wants to follow.
box.addEventListener("scroll", () => {
  const end = box.scrollHeight - box.scrollTop - box.clientHeight < 24;
  if (end !== follow && box.scrollHeight > box.clientHeight) setFollow(end);
});
restart();
