// Keys, copying, times, selection, and following what happens. Everything else works without this file.
const root = document.documentElement;
// Path below which the pages are: what stands before the script's own.
const base = new URL(import.meta.url).pathname.split("/ui/assets/")[0];
root.classList.add("js");
// Address of this page for others: a path that only those know who have signed in is not handed on.
const isPlace = (path) => /^\/[0-9a-f]{32}$/.test(path);
const address = () => (isPlace(base) ? location.href.replace(base, "") : location.href);

const $ = (selector, from = document) => from.querySelector(selector);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const cookie = (name) => document.cookie.split("; ").find((part) => part.startsWith(name + "="))?.split("=")[1];
const remember = (name, value) => { document.cookie = `${name}=${value}; Path=${base}/ui/; Max-Age=31536000; SameSite=Lax`; };
const say = (text) => { const box = $("#said"); if (box) box.textContent = text; };

// Times: UTC as the server wrote them, or local.
const two = (n) => String(n).padStart(2, "0");
const zoneName = (date) => new Intl.DateTimeFormat("en", { timeZoneName: "short" }).formatToParts(date).find((part) => part.type === "timeZoneName").value;
let zone = cookie("millwork_zone") === "local" ? "local" : "utc";
function showTimes() {
  const button = $("#zone");
  if (button) button.textContent = zone === "local" ? zoneName(new Date()) : "UTC";
  for (const time of all("time[datetime]")) {
    const form = time.dataset.show;
    if (form === "none") continue;
    time.dataset.utc ??= time.textContent;
    if (zone === "utc") { if (time.textContent !== time.dataset.utc) time.textContent = time.dataset.utc; continue; }
    const at = new Date(time.getAttribute("datetime"));
    const clock = `${two(at.getHours())}:${two(at.getMinutes())}${form === "minute" ? "" : ":" + two(at.getSeconds())} ${zoneName(at)}`;
    time.textContent = form === "short" || form === "minute" ? clock : `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock}`;
  }
}
function switchZone() {
  zone = zone === "utc" ? "local" : "utc";
  remember("millwork_zone", zone);
  showTimes();
  say(zone === "utc" ? "times in UTC" : "times in local time");
}

// Colours.
const themes = ["system", "light", "dark"];
function switchTheme() {
  const theme = themes[(themes.indexOf(root.dataset.theme) + 1) % themes.length];
  root.dataset.theme = theme;
  remember("millwork_theme", theme);
  say(`colours: ${theme}`);
}

// Copying, also where the browser has no clipboard for pages without TLS.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.setAttribute("readonly", "");
    area.className = "visually-hidden";
    const had = document.activeElement;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    had?.focus?.();
  }
  say("copied");
}

// Rows: the one under the keys, and those that are chosen, which are kept over pages of a list.
const rows = () => all("tr[data-id]");
let cursor = null;
const cursorKey = "millwork_cursor " + location.pathname;
function moveTo(row) {
  if (!row) return;
  $("tr.cursor")?.classList.remove("cursor");
  row.classList.add("cursor");
  cursor = row.id || row.dataset.id;
  sessionStorage.setItem(cursorKey, cursor);
  row.scrollIntoView({ block: "nearest" });
  ($("td.main a", row) ?? $("a", row))?.focus({ preventScroll: true });
}
const current = () => $("tr.cursor") ?? document.activeElement?.closest?.("tr[data-id]");
function step(by) {
  const list = rows();
  const index = list.indexOf(current());
  moveTo(list[index < 0 ? (by > 0 ? 0 : list.length - 1) : Math.min(Math.max(index + by, 0), list.length - 1)]);
}
const chosenKey = "millwork_chosen " + location.pathname;
const chosen = new Set(JSON.parse(sessionStorage.getItem(chosenKey) ?? "[]"));
function showChosen() {
  const list = $("form.list");
  if (!list) return;
  const here = new Set();
  all("input[data-kept]", list).forEach((box) => box.remove());
  for (const box of all("input[data-pick]", list)) { here.add(box.value); box.checked = chosen.has(box.value); }
  for (const id of chosen) {
    if (here.has(id)) continue;
    const kept = Object.assign(document.createElement("input"), { type: "hidden", name: $("input[data-pick]", list).name, value: id });
    kept.dataset.kept = "yes";
    list.append(kept);
  }
  const bulk = $(".bulk", list);
  bulk.toggleAttribute("data-none", chosen.size === 0);
  $("[data-chosen]", bulk).textContent = chosen.size === 1 ? "1 chosen" : `${chosen.size} chosen`;
  sessionStorage.setItem(chosenKey, JSON.stringify([...chosen].slice(0, 1000)));
}
let picked = null;
// Chooses the rows from the one that was chosen last to this one.
function chooseTo(row) {
  const list = rows();
  const [from, to] = [list.findIndex((each) => $("input[data-pick]", each)?.value === picked), list.indexOf(row)];
  if (to < 0) return;
  for (const each of list.slice(Math.min(from < 0 ? to : from, to), Math.max(from, to) + 1)) {
    const box = $("input[data-pick]", each);
    if (box) chosen.add(box.value);
  }
  showChosen();
}
document.addEventListener("change", (event) => {
  const box = event.target;
  if (box.matches("input[data-pick]")) { chosen[box.checked ? "add" : "delete"](box.value); picked = box.value; }
  else if (box.matches("[data-act=all]")) all("input[data-pick]").forEach((each) => chosen[box.checked ? "add" : "delete"](each.value));
  else return;
  showChosen();
});
document.addEventListener("submit", (event) => {
  if (event.target.matches("form.list")) sessionStorage.removeItem(chosenKey);
  // A second click does nothing more.
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
  setTimeout(() => delete form.dataset.sent, 4000);
});

// Following: the stream says that something has changed; the page is asked for again and changed in place.
const away = $("#away");
let live = true, out = false, asking = false, again = false, showNew = false, last = 0;
const PAUSE = 1000;
// The state of the run or file that the page is of.
const standing = () => $(".kicker .state")?.textContent;
async function refresh() {
  const page = $("#page[data-live]");
  if (!page || !live || document.hidden) return;
  if (asking) { again = true; return; }
  asking = true;
  await new Promise((done) => setTimeout(done, Math.max(0, last + PAUSE - Date.now())));
  last = Date.now();
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (answer.redirected && new URL(answer.url).pathname.endsWith("/ui/sign-in")) { live = false; tell("signed out: reload the page to sign in again"); out = true; return; }
    if (!answer.ok && answer.status !== 404) throw new Error(`the scheduler answers ${answer.status}`);
    const made = new DOMParser().parseFromString(await answer.text(), "text/html");
    keepRows(made);
    // The scheduler tells them once: they stay until the reader goes on.
    const told = all("#page > .banner.once").map((notice) => notice.cloneNode(true));
    $("#page", made)?.prepend(...told);
    const was = standing();
    for (const selector of ["#status", "#page"]) {
      const [there, fresh] = [$(selector), $(selector, made)];
      if (there && fresh) await htmx.swap({ text: fresh.outerHTML, target: there, sourceElement: there, swap: "outerMorph" });
    }
    if (was && standing() && standing() !== was) say(`now ${standing()}`);
    document.title = made.title;
    const icon = $("link[rel=icon]", made)?.getAttribute("href");
    if (icon && $("link[rel=icon]").getAttribute("href") !== icon) $("link[rel=icon]").setAttribute("href", icon);
    hush();
    dress();
  } catch (error) {
    tell(`${error.message}; trying again`);
  } finally {
    asking = false;
    if (again) { again = false; refresh(); }
  }
}
// Rows that are new stay away until they are asked for, so that nothing moves under the pointer.
function keepRows(made) {
  const [there, fresh] = [$("tbody[data-rows]"), $("tbody[data-rows]", made)];
  if (!there || !fresh || showNew) { showNew = false; return; }
  const known = new Map(all("tr[id]", there).map((row) => [row.id, row]));
  const found = new Map(all("tr[id]", fresh).map((row) => [row.id, row]));
  const count = [...found.keys()].filter((id) => !known.has(id)).length;
  fresh.replaceChildren(...[...known].map(([id, row]) => found.get(id) ?? row.cloneNode(true)));
  const bar = $(".new-rows", made);
  if (!bar || !count) return;
  if ($(".new-rows")?.hidden) say(count === 1 ? "1 new row, shown with the key ." : `${count} new rows, shown with the key .`);
  bar.hidden = false;
  $("[data-new-count]", bar).textContent = count;
  // The next page goes on after the rows that are shown.
  const pager = $("nav.pager");
  if (pager) $("nav.pager", made)?.replaceWith(pager.cloneNode(true));
}
let since = null;
function tell(text) {
  since ??= new Date();
  if (!away || out) return;
  away.hidden = false;
  away.textContent = `Not live since ${two(since.getUTCHours())}:${two(since.getUTCMinutes())}:${two(since.getUTCSeconds())} UTC: ${text}.`;
}
function hush() { since = null; if (away) away.hidden = true; }
// One tab of a browser listens, and tells the others: a browser keeps only six connections to one place.
const tabs = new BroadcastChannel("millwork" + base);
const heard = (what) => { tabs.postMessage(what); hear(what); };
tabs.onmessage = (event) => hear(event.data);
function hear(what) {
  if (what === "error") { tell("trying again"); return; }
  if (out) return;
  if (what === "open") { if (since) refresh(); hush(); return; }
  refresh();
}
function listen() {
  const stream = new EventSource(base + "/api/v1/events");
  for (const name of ["run", "role", "lagged"]) stream.addEventListener(name, () => heard("changed"));
  stream.onopen = () => heard("open");
  stream.onerror = () => {
    heard("error");
    // The browser goes on by itself, unless the answer was no stream: of a session that is over, the page finds out.
    if (stream.readyState === EventSource.CLOSED) refresh().then(() => { if (live) setTimeout(listen, 5000); });
  };
}
if ($("#page[data-live]")) {
  // The lock is this tab's until it is closed or left. Without TLS, browsers have no locks but on their own machine: then each listens.
  if (navigator.locks) navigator.locks.request("millwork" + base, () => { listen(); return new Promise(() => {}); });
  else listen();
}
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
// Ages and progress move without events; only while something is shown that is not over.
setInterval(() => { if ($("#page[data-live] .s-work, #page[data-live] .s-retry")) refresh(); }, 2000);
setInterval(refresh, 15000);
function switchLive() {
  live = !live && !out;
  dress();
  say(live ? "live" : "paused");
  if (live) refresh();
}

// What the server does not know: times, choice, cursor, pause.
function dress() {
  showTimes();
  showChosen();
  const pulse = $("#pulse");
  if (pulse) { pulse.setAttribute("aria-pressed", live); pulse.textContent = live ? "live" : "paused"; }
  const row = cursor && (document.getElementById(cursor) ?? $(`tr[data-id="${CSS.escape(cursor)}"]`));
  row?.classList.add("cursor");
  const keys = $("#keys-switch");
  if (keys) { keys.hidden = false; keys.setAttribute("aria-pressed", hasKeys); keys.textContent = hasKeys ? "on: switch off" : "off: switch on"; }
}

// On a narrow screen, where one is in a row that scrolls.
for (const row of all("nav.main, nav.tabs")) {
  const here = $("[aria-current]", row);
  if (here) row.scrollLeft = here.offsetLeft - row.offsetLeft - (row.clientWidth - here.offsetWidth) / 2;
}

// Keys.
let hasKeys = cookie("millwork_keys") !== "off";
let before = "";
const press = (key) => { const found = $(`[data-key="${key}"]`); found?.focus(); found?.click(); return !!found; };
// An action on what is chosen; on the row under the cursor, if nothing is.
function actOn(key) {
  const box = $("input[data-pick]", current() ?? document.createElement("p"));
  if (box && chosen.size === 0) box.click();
  if ($("form.list") && chosen.size === 0) { say("nothing is chosen: go to a row with j and k, or choose some with x"); return; }
  press(key);
}
const tab = (by) => { const tabs = all("[data-tab]"); tabs[tabs.findIndex((each) => each.ariaCurrent) + by]?.click(); };
const acts = {
  "/": () => $("#find")?.focus(), "?": () => { location.href = base + "/ui/help"; },
  j: () => step(1), k: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1),
  x: () => { const box = $("input[data-pick]", current() ?? document.createElement("p")); box?.click(); },
  X: () => chooseTo(current()),
  y: () => { const row = current(); copy(row?.dataset.id ?? $(".titled [data-copy]")?.dataset.copy ?? address()); },
  Y: () => copy($("#command")?.textContent ?? address()),
  ".": () => $(".new-rows:not([hidden]) button")?.click(),
  l: switchLive, z: switchZone, t: switchTheme, "[": () => tab(-1), "]": () => tab(1),
  n: () => press("n"), p: () => press("p"), R: () => actOn("R"), C: () => actOn("C"), P: () => actOn("P"),
};
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "k") { event.preventDefault(); $("#find")?.focus(); return; }
  if (event.ctrlKey || event.metaKey || event.altKey || !hasKeys) return;
  if (event.target.closest("input:not([type=checkbox]), select, textarea, pre")) { if (event.key === "Escape") event.target.blur(); return; }
  const key = event.key;
  if (key.startsWith("Arrow") && (event.target.closest(".calendar") || !rows().length)) return;
  if (before === "g") { before = ""; if (press(`g ${key}`)) event.preventDefault(); return; }
  if (key === "g") { before = "g"; setTimeout(() => { before = ""; }, 1200); return; }
  if (acts[key]) { event.preventDefault(); acts[key](); }
});
// The calendar is walked with arrows: a column is a week.
document.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -7, ArrowRight: 7, ArrowUp: -1, ArrowDown: 1 }[event.key];
  const day = event.target.closest?.("[data-day]");
  if (!by || !day) return;
  event.preventDefault();
  const days = all("[data-day]", day.closest("svg"));
  days[Math.min(Math.max(days.indexOf(day) + by, 0), days.length - 1)].focus();
});
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-copy], [data-act]");
  if (!button) return;
  if (button.dataset.copy !== undefined) { copy(button.dataset.copy); button.classList.add("done"); setTimeout(() => button.classList.remove("done"), 1200); return; }
  const act = {
    live: switchLive, zone: switchZone, theme: () => { event.preventDefault(); switchTheme(); },
    "show-new": () => { showNew = true; refresh(); }, "copy-ids": () => copy([...chosen].join("\n")),
    keys: () => { hasKeys = !hasKeys; remember("millwork_keys", hasKeys ? "on" : "off"); dress(); },
  }[button.dataset.act];
  act?.();
});
// Where the path is one that only those know who have signed in, the browser keeps it, for this port alone: who comes without it is led there.
async function findPlace() {
  if (base && $("#find")) localStorage.setItem("millwork_place", base);
  const place = localStorage.getItem("millwork_place");
  if (base || !$(".sign-in") || !isPlace(place)) return;
  const answer = await fetch(place + "/ui/help", { method: "HEAD", redirect: "manual" });
  if (answer.ok) location.replace(place + $("input[name=back]").value);
}
// A browser may keep nothing: then there is the sign-in.
findPlace().catch(() => {});
window.addEventListener("pageshow", (event) => { if (event.persisted) refresh(); });
dress();
// Whoever comes back from a page, or from a plan, goes on where they were; what was done is said.
const cameBack = performance.getEntriesByType("navigation")[0]?.type === "back_forward";
const fromPlan = document.referrer.startsWith(location.origin + base + "/ui/plans/");
if (cameBack || fromPlan) {
  const left = sessionStorage.getItem(cursorKey);
  const row = left && document.getElementById(left);
  if (row) moveTo(row); else if (fromPlan) $("#page").focus();
}
const told = fromPlan && $("#page > .banner.once");
if (told) setTimeout(() => say(told.textContent), 200);
