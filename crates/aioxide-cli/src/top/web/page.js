// The page of `aioxide top --web`: asks its own server, shows what it says. All texts are set as text, never as HTML.
"use strict";

const LIMIT = 100;
const EVERY_MS = 1000;
const KEEP_POINTS = 900;
const VIEWS = ["groups", "tasks", "loops", "ended", "timeline"];

const $ = (id) => document.getElementById(id);
let points = [];
let paused = false;
let timer = 0;
let asked = 0;
let held = false;

// ---- where we are: all of it stands behind the # of the address ----

function where() {
  return new URLSearchParams(location.hash.slice(1));
}

function link(changes, from = where()) {
  const to = new URLSearchParams(from);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") to.delete(name);
    else to.set(name, value);
  }
  return "#" + to.toString();
}

function view() {
  const name = where().get("view");
  return VIEWS.includes(name) ? name : "groups";
}

// ---- words ----

function micros(us) {
  if (us === null || us === undefined) return "–";
  if (us < 1e3) return `${Math.round(us)} us`;
  if (us < 1e4) return `${(us / 1e3).toFixed(1)} ms`;
  if (us < 1e6) return `${Math.floor(us / 1e3)} ms`;
  if (us < 1e8) return `${(us / 1e6).toFixed(1)} s`;
  if (us < 6e9) return `${Math.round(us / 6e7)} min`;
  if (us < 1.728e11) return `${(us / 3.6e9).toFixed(1)} h`;
  return `${Math.round(us / 8.64e10)} d`;
}
const millis = (ms) => (ms === null || ms === undefined ? "–" : micros(ms * 1e3));
const count = (number) =>
  number === null || number === undefined ? "–" : String(Math.round(number)).replace(/\B(?=(\d{3})+$)/g, "\u00a0");
const counted = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

// ---- elements ----

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") element.className = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// ---- asking ----

async function ask(path) {
  const response = await fetch(path, { cache: "no-store" });
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return response.json();
}

function stateQuery() {
  const here = where();
  const query = new URLSearchParams({ limit: LIMIT, since: points.length ? points[points.length - 1].at : 0 });
  for (const name of ["view", "filter", "sort", "reverse", "offset", "coroutine", "waits"]) {
    if (here.has(name)) query.set(name, here.get(name));
  }
  return "state?" + query;
}

async function look() {
  clearTimeout(timer);
  const number = ++asked;
  try {
    const here = where();
    const wanted = [ask(stateQuery())];
    if (here.has("node")) wanted.push(ask(`node/${encodeURIComponent(here.get("node"))}`).catch(() => null));
    else if (view() === "ended") wanted.push(ask("ended"));
    const [state, other] = await Promise.all(wanted);
    // A later question has been asked meanwhile, or the address was changed: its answer is the one to show.
    if (number !== asked) return;
    // What is being clicked must not be replaced between the button's going down and up.
    if (!held) show(state, other);
  } catch (error) {
    if (number !== asked) return;
    showAlarms([["warning", "No answer", `${error.message}. The program has ended, or the server of this page.`]]);
  }
  if (!paused && !document.hidden) timer = setTimeout(look, EVERY_MS);
}

// ---- showing ----

function show(state, other) {
  if (!state.program) {
    setText($("program"), state.trouble ? `no snapshot yet: ${state.trouble}` : "waiting for the first snapshot…");
    return;
  }
  const known = points.length ? points[points.length - 1].at : 0;
  points = points.concat(state.points.filter((point) => point.at > known)).slice(-KEEP_POINTS);
  const program = state.program;
  setText($("title"), program.name);
  document.title = `${state.deadlocks.length || state.blocked.length ? "⚠ " : ""}${program.name} – aioxide top`;
  const out = state.left_out ? ` (${count(state.left_out)} left out)` : "";
  setText(
    $("program"),
    `${program.pid} · ${program.runtime} · ${counted(state.tasks, "task")}${out} · ` +
      `seen in ${micros(state.taken.took_us)}, paused for ${micros(state.taken.longest_pause_us)}`,
  );
  showAlarms(alarms(state));
  showCharts();
  const here = where();
  const opened = here.has("node");
  for (const name of VIEWS) {
    const tab = $(`tab-${name}`);
    if (name === view() && !opened) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  const group = here.has("coroutine") && view() === "tasks" && !opened;
  $("chosen").hidden = !group;
  if (group) {
    $("chosen").replaceChildren(
      `${here.get("coroutine")}, ${here.get("waits")} `,
      make("a", { href: link({ coroutine: null, waits: null, offset: null }) }, "all tasks"),
    );
  }
  $("node").hidden = !opened;
  $("table").hidden = opened;
  $("timeline").hidden = opened || view() !== "timeline";
  $("more").hidden = opened || !["groups", "tasks"].includes(view());
  if (opened) return showNode(other);
  if (view() === "timeline") showTimeline();
  else if (view() === "loops") showLoops(state.loops);
  else if (view() === "ended") showEnded(other);
  else if (view() === "tasks") showTasks(state);
  else showGroups(state);
}

function alarms(state) {
  const task = (one) => (one.task ? nodeLink({ id: one.task, name: "the task" }) : "");
  const found = state.blocked.map((one) => ["", "Blocked", `${one.text} `, task(one), one.frames.join("\n")]);
  for (const deadlock of state.deadlocks) {
    const chain = [];
    const nodes = deadlock.cycle ? [...deadlock.nodes, deadlock.nodes[0]] : deadlock.nodes.slice(0, 5);
    nodes.forEach((node, place) => {
      if (node) chain.push(place ? (deadlock.cycle ? " → " : ", ") : "", nodeLink(node));
    });
    const title = `Deadlock of ${counted(deadlock.tasks, "task")}`;
    found.push(["", title, deadlock.cycle ? "" : "nobody is left to finish ", make("span", {}, ...chain), ""]);
  }
  if (state.was_blocked) {
    const was = state.was_blocked;
    found.push(["warning", `${Math.round(was.ago_ms / 1000)} s ago`, `${was.text} `, task(was), was.frames.join("\n")]);
  }
  if (state.trouble) found.push(["warning", "No new snapshot", state.trouble, "", ""]);
  return found;
}

let alarmsShown = "";
function showAlarms(found) {
  const lines = found.map(([kind, title, text, element, stack]) =>
    make("div", { class: kind }, make("strong", {}, title), text, element || "", ...(stack ? [make("pre", {}, stack)] : [])),
  );
  // What has not changed stays, so that a link in it can be clicked and a reader does not read it twice.
  const now = lines.map((line) => line.outerHTML).join("");
  if (now !== alarmsShown) $("alarms").replaceChildren(...lines);
  alarmsShown = now;
}

function nodeLink(node) {
  return make("a", { href: link({ node: node.id }) }, node.name);
}

// ---- charts ----

const CHARTS = [
  { name: "Lag", of: (point) => point.lag_us, say: micros, none: "not measured: no watchdog" },
  { name: "Ready", of: (point) => point.ready, say: count },
  { name: "Tasks", of: (point) => point.tasks, say: count },
  { name: "Steps per second", of: (point) => point.steps_per_s, say: count, optional: true },
];

function showCharts() {
  for (const chart of CHARTS) {
    const values = points.map(chart.of);
    const known = values.filter((value) => value !== null && value !== undefined);
    if (!chart.figure) {
      chart.value = make("b");
      chart.svg = draw("svg", { viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img" });
      chart.figure = make("figure", {}, make("figcaption", {}, make("span", {}, chart.name), chart.value), chart.svg);
      chart.svg.addEventListener("pointermove", (event) => {
        const box = chart.svg.getBoundingClientRect();
        chart.at = (event.clientX - box.left) / box.width;
        showCharts();
      });
      chart.svg.addEventListener("pointerleave", () => {
        chart.at = undefined;
        showCharts();
      });
      $("charts").append(chart.figure);
    }
    chart.figure.hidden = Boolean(chart.optional) && !known.length;
    const most = Math.max(1, ...known);
    const first = points.length ? points[0].at : 0;
    const span = points.length ? Math.max(1, points[points.length - 1].at - first) : 1;
    const x = (place) => (points.length < 2 ? 100 : ((points[place].at - first) / span) * 100);
    const y = (value) => 39 - (value / most) * 36;
    let path = "";
    let under = "";
    let begun = null;
    values.forEach((value, place) => {
      if (value === null || value === undefined) {
        if (begun !== null) under += `L${x(place - 1)} 40L${begun} 40Z`;
        begun = null;
        return;
      }
      const step = `${begun === null ? "M" : "L"}${x(place).toFixed(2)} ${y(value).toFixed(2)}`;
      if (begun === null) begun = x(place);
      path += step;
      under += step;
    });
    if (begun !== null) under += `L${x(values.length - 1)} 40L${begun} 40Z`;
    const parts = [draw("path", { class: "under", d: under }), draw("path", { class: "curve", d: path })];
    let place = values.length - 1;
    let when = "";
    if (chart.at !== undefined && points.length > 1) {
      const time = first + chart.at * span;
      place = points.findIndex((point) => point.at >= time);
      if (place < 0) place = points.length - 1;
      when = ` at ${new Date(points[place].at).toLocaleTimeString()}`;
      parts.push(draw("line", { class: "here", x1: x(place), x2: x(place), y1: 0, y2: 40 }));
    }
    chart.svg.replaceChildren(...parts);
    chart.svg.setAttribute("aria-label", `${chart.name}: ${chart.say(values[values.length - 1])}, at most ${chart.say(most)}`);
    const above = known.length && Math.max(...known) > values[place] ? `, at most ${chart.say(most)}` : "";
    const told = known.length ? `${chart.say(values[place])}${when || above}` : chart.none || "–";
    setText(chart.value, told);
  }
}

// ---- tables ----

// Rows are changed in place, so that one that is being clicked or selected stays.
function showTable(columns, rows) {
  const [head, body] = [document.querySelector("thead"), document.querySelector("tbody")];
  const here = where();
  const sorted = here.get("sort") || "waiting";
  const key = JSON.stringify([columns.map((column) => column.name), sorted, here.get("reverse"), here.toString()]);
  if (head.dataset.key !== key) {
    head.dataset.key = key;
    const cells = columns.map((column) => {
      const cell = make("th", { class: classes(column), scope: "col" });
      if (!column.sort) cell.append(column.name);
      else {
        const again = sorted === column.sort;
        const reverse = again && here.get("reverse") !== "1" ? "1" : null;
        if (again) cell.setAttribute("aria-sort", here.get("reverse") === "1" ? "ascending" : "descending");
        const mark = again ? (here.get("reverse") === "1" ? " ▲" : " ▼") : "";
        const go = () => (location.hash = link({ sort: column.sort, reverse, offset: null }));
        cell.append(make("button", { type: "button", onclick: go }, column.name + mark));
      }
      return cell;
    });
    head.replaceChildren(make("tr", {}, ...cells));
    body.replaceChildren();
  }
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((row, place) => {
    let line = body.rows[place];
    if (!line) {
      line = body.insertRow();
      for (const column of columns) line.append(make("td", { class: classes(column) }, column.href ? make("a") : ""));
    }
    columns.forEach((column, number) => {
      const cell = line.cells[number];
      const target = column.href ? cell.firstChild : cell;
      setText(target, String(column.of(row)));
      if (column.href) target.setAttribute("href", column.href(row));
      if (column.mark) cell.className = `${classes(column)} ${column.mark(row)}`;
    });
  });
}

const classes = (column) => `${column.number ? "number" : "text"}${column.later ? " later" : ""}`;

function showRange(state) {
  const offset = Number(where().get("offset") || 0);
  const last = offset + state.rows.length;
  setText($("range"), state.shown ? `${count(offset + 1)} to ${count(last)} of ${count(state.shown)}` : "nothing to show");
  $("back").disabled = offset === 0;
  $("forth").disabled = last >= state.shown;
}

function showGroups(state) {
  const open = (row) => link({ view: "tasks", coroutine: row.coroutine, waits: row.waits, offset: null, filter: null });
  showTable(
    [
      { name: "Tasks", number: true, of: (row) => `${count(row.count)} ×` },
      { name: "Coroutine", of: (row) => row.coroutine, href: open },
      { name: "Waiting on", of: (row) => row.waits },
      { name: "Longest", number: true, of: (row) => millis(row.longest_ms) },
    ],
    state.rows,
  );
  showRange(state);
}

function showTasks(state) {
  showTable(
    [
      { name: "Task", sort: "name", of: (row) => row.name, href: (row) => link({ node: row.id }) },
      { name: "Coroutine", sort: "coroutine", of: (row) => row.coroutine },
      { name: "State", sort: "state", later: true, of: (row) => row.state, mark: (row) => row.state },
      { name: "Waiting on", sort: "waits", of: (row) => row.waits },
      { name: "Waiting", sort: "waiting", number: true, of: (row) => millis(row.waiting_ms) },
      { name: "Age", sort: "age", number: true, later: true, of: (row) => millis(row.age_ms) },
      { name: "Ran", sort: "ran", number: true, later: true, of: (row) => micros(row.ran_us) },
      { name: "Steps", sort: "steps", number: true, later: true, of: (row) => count(row.steps) },
      { name: "At", later: true, of: (row) => row.at || "" },
    ],
    state.rows,
  );
  showRange(state);
}

function showLoops(loops) {
  const lag = (say) => (row) => (row.lag ? say(row.lag) : "–");
  const ran = (say) => (row) => (row.durations ? say(row.durations) : "–");
  showTable(
    [
      { name: "Loop", of: (row) => row.class },
      { name: "State", later: true, of: (row) => (row.running ? "running" : "stopped") },
      { name: "Tasks", number: true, of: (row) => count(row.tasks) },
      { name: "Ready", number: true, of: (row) => count(row.ready) },
      { name: "Timers", number: true, later: true, of: (row) => count(row.timers) },
      { name: "Descriptors", number: true, later: true, of: (row) => count(row.descriptors) },
      { name: "Thread jobs", number: true, later: true, of: (row) => count(row.jobs) },
      { name: "Lag", number: true, of: lag((one) => micros(Math.max(one.last_us, one.waiting_us))) },
      { name: "Longest", number: true, of: lag((one) => micros(one.longest_us)) },
      { name: "Blocked steps", number: true, of: lag((one) => count(one.blocked)) },
      { name: "Entries", number: true, later: true, of: ran((one) => count(one.runs)) },
      { name: "Longest entry", number: true, later: true, of: ran((one) => micros(one.longest_us)) },
    ],
    loops,
  );
}

function showEnded(answer) {
  const words = (where().get("filter") || "").toLowerCase().split(/\s+/);
  const all = (answer && answer.ended) || [];
  const texts = (row) => `${row.name} ${row.coroutine} ${row.why} ${row.exception || ""}`.toLowerCase();
  const now = answer ? answer.now : 0;
  showTable(
    [
      { name: "Ago", number: true, of: (row) => millis(Math.max(0, now - row.noticed_unix_ms)) },
      { name: "Task", of: (row) => row.name },
      { name: "Coroutine", of: (row) => row.coroutine },
      { name: "Why", of: (row) => `${row.why} ${row.exception || ""}` },
      { name: "Lived", number: true, of: (row) => millis(row.lived_ms) },
    ],
    all.filter((row) => words.every((word) => texts(row).includes(word))),
  );
  if (answer && answer.trouble) showAlarms([["warning", "No history", answer.trouble]]);
}

// ---- one node ----

let nodeShown = "";
function showNode(answer) {
  const place = $("node");
  if (!answer) {
    // What was last seen stays, with a word about it.
    if (!place.querySelector(".gone")) place.prepend(make("p", { class: "gone" }, "It is no more; this is what was last seen."));
    nodeShown = "";
    return;
  }
  const key = JSON.stringify(answer);
  // A text that is being selected stays, too.
  if (key === nodeShown || (place.children.length && nodeShown && !getSelection().isCollapsed)) return;
  nodeShown = key;
  const facts = make("dl");
  for (const [name, text] of answer.facts) facts.append(make("dt", {}, name), make("dd", {}, text));
  const tree = (title, lines) => {
    const list = make("pre");
    for (const line of lines) list.append(make("a", { href: link({ node: line.id }) }, line.text), "\n");
    if (!lines.length) list.append("nothing known");
    return [make("h2", {}, title), list];
  };
  const scroll = place.querySelector(".graph-box")?.scrollLeft;
  const graph = make("div", { class: "wide graph-box" }, picture(answer));
  const more = [answer.more_above && "who waits for it", answer.more_below && "what it waits on"].filter(Boolean);
  place.replaceChildren(
    make("h2", {}, answer.node.name),
    make("p", {}, make("a", { href: link({ node: null }) }, "back to the list")),
    facts,
    graph,
    ...(more.length ? [make("p", {}, `There is more of ${more.join(" and of ")} than the picture shows.`)] : []),
    ...tree("Waits on", answer.below),
    ...tree("Is waited for by", answer.above),
    ...(answer.stack.length ? [make("h2", {}, "Stack, the innermost last"), make("pre", {}, answer.stack.join("\n"))] : []),
  );
  const self = graph.querySelector(".self rect");
  // At first the node itself is in the middle; then what people have moved to.
  graph.scrollLeft = scroll !== undefined ? scroll : self.getAttribute("x") - (graph.clientWidth - 190) / 2;
}

function picture(answer) {
  const [WIDE, HIGH, GAP_X, GAP_Y] = [190, 40, 90, 14];
  const columns = new Map();
  for (const node of answer.nodes) columns.set(node.layer, [...(columns.get(node.layer) || []), node]);
  const layers = [...columns.keys()].sort((a, b) => a - b);
  const rows = Math.max(...layers.map((layer) => columns.get(layer).length));
  const size = { width: layers.length * (WIDE + GAP_X) - GAP_X + 56, height: rows * (HIGH + GAP_Y) - GAP_Y + 44 };
  const places = new Map();
  layers.forEach((layer, number) => {
    const column = columns.get(layer);
    const top = (size.height - 40 - column.length * (HIGH + GAP_Y) + GAP_Y) / 2;
    column.forEach((node, row) => places.set(node.id, { x: 4 + number * (WIDE + GAP_X), y: 4 + top + row * (HIGH + GAP_Y) }));
  });
  const cut = (text, length) => (text.length > length ? text.slice(0, length - 1) + "…" : text);
  const svg = draw("svg", { class: "graph", ...size, viewBox: `0 0 ${size.width} ${size.height}`, role: "img" });
  svg.setAttribute("aria-label", "Who waits for whom; the same is told as text below");
  const tip = draw("path", { d: "M0 0L8 4L0 8Z" });
  svg.append(draw("defs", {}, draw("marker", { id: "tip", markerWidth: 8, markerHeight: 8, refX: 8, refY: 4, orient: "auto" }, tip)));
  for (const edge of answer.edges) {
    const [from, to] = [places.get(edge.from), places.get(edge.to)];
    if (!from || !to) continue;
    const forward = to.x > from.x;
    const a = { x: from.x + WIDE, y: from.y + HIGH / 2 };
    const b = { x: forward ? to.x : to.x + WIDE, y: to.y + HIGH / 2 };
    // An edge back, or to itself, goes round below.
    const low = Math.max(a.y, b.y) + 34;
    const path = forward
      ? `M${a.x} ${a.y}C${a.x + 45} ${a.y} ${b.x - 45} ${b.y} ${b.x} ${b.y}`
      : `M${a.x} ${a.y}C${a.x + 60} ${low} ${b.x + 60} ${low} ${b.x} ${b.y}`;
    svg.append(draw("path", { d: path, "marker-end": "url(#tip)" }));
    if (forward) {
      const label = draw("text", { class: "soft", x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 - 4, "text-anchor": "middle" });
      label.textContent = cut(edge.how, 14);
      svg.append(label);
    }
  }
  for (const node of answer.nodes) {
    const at = places.get(node.id);
    const kind = `${node.kind === "task" ? "" : "thing"} ${node.id === answer.node.id ? "self" : ""}`;
    const name = draw("text", { x: at.x + 8, y: at.y + 17 });
    name.textContent = cut(node.name, 27);
    const rest = draw("text", { class: "soft", x: at.x + 8, y: at.y + 32 });
    rest.textContent = cut(node.text.startsWith(node.name) ? node.text.slice(node.name.length).replace(/^[\s,]+/, "") : node.text, 30);
    const title = draw("title");
    title.textContent = node.text;
    const box = draw("rect", { x: at.x, y: at.y, width: WIDE, height: HIGH });
    const entry = draw("a", { class: kind, href: link({ node: node.id }) }, title, box, name, rest);
    svg.append(entry);
  }
  return svg;
}

// ---- what people do ----

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  setText($("pause"), paused ? "Go on" : "Pause");
  if (!paused) look();
});
$("filter").addEventListener("input", () => {
  history.replaceState(null, "", link({ filter: $("filter").value, offset: null, node: null }));
  look();
});
$("back").addEventListener("click", () => {
  location.hash = link({ offset: Math.max(0, Number(where().get("offset") || 0) - LIMIT) || null });
});
$("forth").addEventListener("click", () => {
  location.hash = link({ offset: Number(where().get("offset") || 0) + LIMIT });
});
window.addEventListener("hashchange", () => {
  if ($("filter").value !== (where().get("filter") || "")) $("filter").value = where().get("filter") || "";
  nodeShown = "";
  $("node").replaceChildren();
  look();
});
window.addEventListener("pointerdown", () => (held = true), true);
for (const end of ["pointerup", "pointercancel"]) window.addEventListener(end, () => setTimeout(() => (held = false)), true);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !paused) look();
});
$("filter").value = where().get("filter") || "";
look();
