// The timeline of the page: a row for each task, what ran and when. The page's own script calls `showTimeline`.
"use strict";

const ROW = 18;
const HEAD = 22;
const LABELS = 190;
const ROWS_SHOWN = 60;

let recorded = null;
let recording = false;
let chosenLoop = 0;
// What is seen of the time, in microseconds.
let seen = { from: 0, to: 1 };

async function record() {
  recording = true;
  showTimeline();
  try {
    const answer = await ask("timeline?ms=1000");
    if (answer.trouble) throw new Error(answer.trouble);
    recorded = answer;
    chosenLoop = 0;
    seeAll();
    setText($("recorded"), answer.loops.map((one) => one.line).join("; "));
    $("trace").hidden = false;
  } catch (error) {
    setText($("recorded"), error.message);
  }
  recording = false;
  showTimeline();
}

const theLoop = () => (recorded ? recorded.loops[chosenLoop] : null);

function seeAll() {
  const one = theLoop();
  seen = { from: 0, to: one ? Math.max(1, one.length_us) : 1 };
  drawTimeline();
}

// The rows with the most work first; what does not fit shares the last one.
function rowsOf(one) {
  if (!one.rows) {
    const work = one.tracks.map((name, track) => ({ name, track, us: 0 }));
    for (const span of one.spans) work[span[0]].us += span[2];
    work.sort((a, b) => b.us - a.us);
    one.rows = work.slice(0, ROWS_SHOWN).map((row) => row.name);
    if (work.length > ROWS_SHOWN) one.rows.push(`${count(work.length - ROWS_SHOWN)} others`);
    one.rowOf = new Map(work.map((row, place) => [row.track, Math.min(place, one.rows.length - 1)]));
    one.byNumber = new Map(one.spans.map((span) => [span[4], span]));
  }
  return one.rows;
}

function showTimeline() {
  const one = theLoop();
  const button = $("record");
  button.disabled = recording;
  setText(button, recording ? "Recording…" : "Record a second");
  $("line").hidden = !one;
  showTable(
    [
      { name: "Runs", number: true, of: (row) => count(row.count) },
      { name: "In all", number: true, of: (row) => micros(row.total_us) },
      { name: "Longest", number: true, of: (row) => micros(row.longest_us) },
      { name: "Queued", number: true, later: true, of: (row) => micros(row.queued_us) },
      { name: "Kind", later: true, of: (row) => row.kind },
      { name: "What", of: (row) => row.what },
    ],
    one ? one.totals : [],
  );
  drawTimeline();
}

function drawTimeline(under) {
  const one = theLoop();
  const canvas = $("line");
  if (!one || canvas.hidden) return;
  const rows = rowsOf(one);
  const wide = Math.max(320, canvas.parentElement.clientWidth);
  const high = HEAD + rows.length * ROW;
  const sharp = window.devicePixelRatio || 1;
  canvas.width = wide * sharp;
  canvas.height = high * sharp;
  canvas.setAttribute("aria-label", `${counted(one.spans.length, "run")} in ${counted(rows.length, "row")}; the table below has their sums`);
  const paint = canvas.getContext("2d");
  paint.scale(sharp, sharp);
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  const labels = Math.min(LABELS, wide * 0.35);
  const x = (us) => labels + ((us - seen.from) / (seen.to - seen.from)) * (wide - labels);
  paint.font = "12px system-ui, sans-serif";
  paint.textBaseline = "middle";
  rows.forEach((name, row) => {
    const y = HEAD + row * ROW;
    paint.fillStyle = color("--line");
    paint.fillRect(0, y, wide, 1);
    paint.fillStyle = color("--ink");
    paint.save();
    paint.beginPath();
    paint.rect(0, y, labels - 6, ROW);
    paint.clip();
    paint.fillText(name, 0, y + ROW / 2 + 1);
    paint.restore();
  });
  paint.fillStyle = color("--soft");
  for (let part = 0; part < 5; part += 1) {
    const us = seen.from + ((seen.to - seen.from) * part) / 5;
    paint.fillText(micros(us), x(us) + 2, HEAD / 2);
  }
  paint.save();
  paint.beginPath();
  paint.rect(labels, HEAD, wide - labels, high);
  paint.clip();
  for (const span of one.spans) {
    const [track, began, took, text] = span;
    if (began + took < seen.from || began > seen.to) continue;
    const [left, right] = [x(began), x(began + took)];
    const y = HEAD + one.rowOf.get(track) * ROW + 2;
    paint.fillStyle = span === under ? color("--alarm") : color("--accent");
    paint.fillRect(left, y, Math.max(1, right - left), ROW - 3);
    if (right - left > 50) {
      paint.save();
      paint.beginPath();
      paint.rect(left, y, right - left - 3, ROW);
      paint.clip();
      paint.fillStyle = color("--paper");
      paint.fillText(one.texts[text], left + 3, y + ROW / 2 - 1);
      paint.restore();
    }
  }
  // Who has queued the one under the pointer.
  const by = under && one.byNumber.get(under[5]);
  if (by) {
    paint.strokeStyle = color("--alarm");
    paint.beginPath();
    paint.moveTo(x(by[1] + by[2]), HEAD + one.rowOf.get(by[0]) * ROW + ROW / 2);
    paint.lineTo(x(under[1]), HEAD + one.rowOf.get(under[0]) * ROW + ROW / 2);
    paint.stroke();
  }
  paint.restore();
}

function timeAt(event) {
  const box = $("line").getBoundingClientRect();
  const labels = Math.min(LABELS, box.width * 0.35);
  return seen.from + ((event.clientX - box.left - labels) / (box.width - labels)) * (seen.to - seen.from);
}

function zoom(factor, around = (seen.from + seen.to) / 2) {
  const one = theLoop();
  if (!one) return;
  const [from, to] = [around - (around - seen.from) * factor, around + (seen.to - around) * factor];
  if (to - from < 5) return;
  seen = { from: Math.max(0, from), to: Math.min(Math.max(1, one.length_us), to) };
  drawTimeline();
}

function pointed(event) {
  const one = theLoop();
  if (!one) return;
  const row = Math.floor((event.clientY - $("line").getBoundingClientRect().top - HEAD) / ROW);
  const us = timeAt(event);
  // A run of a microsecond is a pixel wide, or less: the nearest is meant.
  const near = ((seen.to - seen.from) / 600) * 3;
  let [best, away] = [null, near];
  for (const span of one.spans) {
    if (one.rowOf.get(span[0]) !== row) continue;
    const distance = Math.max(span[1] - us, us - span[1] - span[2], 0);
    if (distance < away || (distance === 0 && away > 0)) [best, away] = [span, distance];
  }
  drawTimeline(best);
  const by = best && one.byNumber.get(best[5]);
  setText(
    $("run"),
    best
      ? `${one.texts[best[3]]} of ${one.tracks[best[0]]}: ran for ${micros(best[2])} at ${micros(best[1])}, ` +
          `after ${micros(best[6])} in the queue${by ? `, queued by ${one.texts[by[3]]} of ${one.tracks[by[0]]}` : ""}`
      : "",
  );
}

$("record").addEventListener("click", record);
$("closer").addEventListener("click", () => zoom(0.5));
$("further").addEventListener("click", () => zoom(2));
$("whole").addEventListener("click", seeAll);
$("line").addEventListener("pointermove", pointed);
$("line").addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(event.deltaY > 0 ? 1.25 : 0.8, timeAt(event));
}, { passive: false });
window.addEventListener("resize", () => drawTimeline());
