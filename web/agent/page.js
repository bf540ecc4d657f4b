// The dashboard comes whole from the guest; this keeps its changing part new and searches the log.
"use strict";

const REFRESH_MS = 5000;
const live = document.getElementById("live");
const search = document.getElementById("find-event");

// Parsed apart from the page, where no script runs; the guest has escaped what is not its own.
async function refresh() {
  if (document.visibilityState !== "visible") return;
  try {
    const answer = await fetch("/page/live", { cache: "no-store" });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    live.replaceChildren(...fresh.body.children);
    live.dataset.refreshed = String(Number(live.dataset.refreshed ?? 0) + 1);
  } catch (error) {
    const state = live.querySelector(".state");
    state.className = "card state bad";
    state.querySelector("h2").textContent = "The guest does not answer";
  }
}

function searchEvents() {
  const wanted = search.value.trim().toLowerCase();
  let shown = 0;
  for (const item of document.querySelectorAll("#events > li")) {
    item.hidden = !item.textContent.toLowerCase().includes(wanted);
    shown += item.hidden ? 0 : 1;
  }
  document.getElementById("events-none").hidden = shown > 0;
}

if (search) {
  search.hidden = false;
  search.addEventListener("input", searchEvents);
}
setInterval(refresh, REFRESH_MS);
document.addEventListener("visibilitychange", refresh);
