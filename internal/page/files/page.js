// Keeps the page as it is on the host: asks for it again, and replaces the parts that have
// changed. Without this script the browser loads the page anew instead.
"use strict";

const every = 3000; // milliseconds
const patience = 15000; // more than mybr takes to gather what it shows
const live = document.getElementById("live");
let tag = "";
let shown = new Map(); // by id: a part as the server sent it last
let filter = "";
let asking = false;

for (const part of document.querySelectorAll("[data-live]")) shown.set(part.id, part.outerHTML);

function say(text, wrong) {
  const note = live.querySelector(".note");
  note.textContent = text;
  note.classList.toggle("bad", wrong);
}

// replace puts a part of the new page where the old one was, and leaves what the reader has
// opened, focused and scrolled as it was.
function replace(old, fresh) {
  const open = new Map();
  for (const d of old.querySelectorAll("details[id]")) open.set(d.id, d.open);
  const focused = old.contains(document.activeElement) ? path(old, document.activeElement) : null;
  for (const d of fresh.querySelectorAll("details[id]")) if (open.has(d.id)) d.open = open.get(d.id);
  old.replaceWith(fresh);
  if (focused) {
    const now = find(fresh, focused);
    if (now) now.focus({ preventScroll: true });
  }
}

// path is where an element is within another, as child numbers.
function path(from, to) {
  const numbers = [];
  for (let e = to; e !== from; e = e.parentElement) numbers.unshift([...e.parentElement.children].indexOf(e));
  return numbers;
}

function find(from, numbers) {
  return numbers.reduce((e, n) => e && e.children[n], from);
}

function marked() {
  const s = getSelection();
  return s && !s.isCollapsed;
}

function update(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  document.title = fresh.title;
  for (const part of fresh.querySelectorAll("[data-live]")) {
    const old = document.getElementById(part.id);
    if (!old) {
      location.reload(); // another version, with other parts
      return;
    }
    if (shown.get(part.id) === part.outerHTML) continue;
    shown.set(part.id, part.outerHTML);
    replace(old, document.adoptNode(part));
  }
  sift();
}

async function look() {
  if (document.hidden || marked() || asking) return;
  asking = true;
  try {
    const signal = AbortSignal.timeout(patience); // a host that is gone answers nothing at all
    const answer = await fetch("./", { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store", signal });
    if (answer.status !== 304) {
      if (!answer.ok) throw new Error("it answers " + answer.status);
      update(await answer.text());
      tag = answer.headers.get("ETag") || "";
    }
    say("Live, as of " + new Date().toLocaleTimeString(), false);
  } catch (err) {
    say("mybr does not answer: this is how it was", true);
  } finally {
    asking = false;
  }
}

// sift hides the rows of tables that don't have the filter's words.
function sift() {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  for (const table of document.querySelectorAll("table")) {
    let left = 0;
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase() + " " + [...row.querySelectorAll("[title]")].map((e) => e.title).join(" ");
      row.hidden = !words.every((w) => text.includes(w));
      if (!row.hidden) left++;
    }
    table.classList.toggle("sifted", left === 0);
  }
}

const note = document.createElement("span");
note.className = "note";
note.textContent = "Live";
const field = document.createElement("input");
field.type = "search";
field.placeholder = "Filter";
field.setAttribute("aria-label", "Filter the tables: an address, a port, an ID");
field.addEventListener("input", () => {
  filter = field.value;
  sift();
});
live.replaceChildren(note, field);
addEventListener("keydown", (e) => {
  if (e.key === "/" && !/^(input|textarea)$/i.test(e.target.tagName) && !e.ctrlKey && !e.metaKey && !e.altKey) {
    e.preventDefault();
    field.focus();
  }
});
document.addEventListener("visibilitychange", look);
setInterval(look, every);
look();
