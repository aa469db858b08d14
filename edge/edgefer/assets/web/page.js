// The live page: shows the events of /api/events, draws pictures and boxes on a canvas, and requests the history every 15 seconds.

import { Timeline, colour, duration, make, percent, shares, tint } from "./chart.js";

const HISTORY_MS = 15000, SILENT_MS = 6000, RETRY_MS = 1500;
const TEXTS = {
  pictures: "Clear pictures. They are made only while a page is open, and none is stored.",
  pixelated: "Pixelated pictures, with larger blocks on faces. They are made only while a page is open, and none is stored.",
  faces: "The box and the scores of each face, and no picture.",
  totals: "Only sums over time: no picture, and no data of a single face.",
};

const $ = (id) => document.getElementById(id);
const view = $("view"), paint = view.getContext("2d");
const timeline = new Timeline($("chart"));
let state = null, latest = null, picture = null, loading = false;
let events = null, lastEventMs = 0, retry = 0;
const recent = new Map();
let ignored = { regions: [], editable: false, why_not_kept: "" }, drawing = false, corner = null, drawn = null;

// ---- the connection

function connect() {
  clearTimeout(retry);
  events?.close();
  if (document.hidden) return;
  lastEventMs = performance.now();
  events = new EventSource("api/events");
  events.addEventListener("state", (event) => { onEvent(); onState(JSON.parse(event.data)); });
  events.addEventListener("faces", (event) => { onEvent(); onFaces(JSON.parse(event.data)); });
  events.onerror = reconnect;
}

function onEvent() {
  lastEventMs = performance.now();
}

function reconnect() {
  camera("lost", "connection lost, reconnecting …");
  events?.close();
  clearTimeout(retry);
  retry = setTimeout(connect, RETRY_MS);
}

setInterval(() => { if (events && !document.hidden && performance.now() - lastEventMs > SILENT_MS) reconnect(); }, 2000);
document.addEventListener("visibilitychange", () => { document.hidden ? events?.close() : (connect(), history()); });

// ---- state

function onState(next) {
  // After an update the page must fit the daemon; after a restart its history has changed.
  if (state && state.version !== next.version) return location.reload();
  const restarted = !state || next.vitals.uptime_s < state.vitals.uptime_s;
  state = next;
  if (restarted) { recent.clear(); latest = null; history(); }
  if (restarted || ignored.editable !== (next.show === "pictures" || next.show === "pixelated")) regions();
  $("source").textContent = next.source;
  $("version").textContent = `edgefer ${next.version}`;
  const { camera: status, silent_s: silent, frames_per_s: rate } = next.vitals;
  camera(status, {
    live: `live, ${rate.toFixed(1)} frames/s`, silent: `no frame for ${duration(silent)}`, frozen: "the picture does not change",
    blocked: "nothing to see: covered, or in the dark", waiting: "waiting for a camera",
  }[status]);
  privacy(next);
  vitals(next);
  shares($("shares"), next.today, next.labels);
  if (status !== "live" || !latest) redraw();
}

function camera(status, text) {
  $("camera").dataset.state = status;
  // Screen readers read the state, not every change of the frame rate.
  if ($("camera-text").textContent !== text) $("camera-text").textContent = text;
  $("camera").setAttribute("aria-live", status === "live" ? "off" : "polite");
}

function privacy({ show, allowed }) {
  for (const input of document.getElementsByName("show")) {
    input.checked = input.value === show;
    input.disabled = !allowed.includes(input.value);
    input.parentElement.title = input.disabled ? "Not allowed by the configuration of this device" : "";
  }
  $("privacy-text").textContent = TEXTS[show];
  if (show !== "pictures" && show !== "pixelated") picture = null;
  if (show === "totals") { latest = null; faces([]); }
}

$("privacy").addEventListener("change", async (event) => {
  const show = event.target.value;
  picture = null;
  const answer = await fetch("api/privacy", { method: "PUT", headers: { "content-type": "application/json" }, body: JSON.stringify({ show }) }).catch(() => null);
  if (answer?.ok) state = { ...state, ...(await answer.json()) };
  if (state) privacy(state);
  redraw();
});

function vitals({ vitals: now, model, source }) {
  const losses = Object.entries(now.sinks).map(([name, { dropped, failed }]) => [name, dropped + failed]).filter(([, count]) => count);
  const rows = [
    ["Frame rate", `${now.frames_per_s.toFixed(1)}`, "/s"],
    ["CPU", `${now.cpu_percent.toFixed(0)} %`, " of a core"],
    ["Memory", `${now.memory_mb.toFixed(0)} MB`],
    ["Temperature", now.temperature_c === null ? "–" : `${now.temperature_c.toFixed(0)} °C`, now.temperature_c === null ? " no sensor" : ""],
    ["Power and heat", now.throttled.join(", ") || "no problem", "", now.throttled.length > 0],
    ["Camera", now.camera, "", !["live", "waiting"].includes(now.camera)],
    ["Frames skipped", now.dropped.toLocaleString("en"), " to stay live"],
    ["Lost by sinks", losses.length ? losses.map(([name, count]) => `${name} ${count}`).join(", ") : "0", "", losses.length > 0],
    ["Running for", duration(now.uptime_s)],
    ["Model", model || "–"],
  ];
  $("vitals").replaceChildren(...rows.map(([term, text, unit = "", bad = false]) => {
    const value = make("dd", { class: bad ? "bad" : "" }, text);
    if (unit) value.append(make("small", {}, unit));
    return make("div", {}, make("dt", {}, term), value);
  }));
}

// ---- faces

function onFaces(observation) {
  if (!state || state.show === "totals") return;
  latest = observation;
  recent.set(observation.frame, observation);
  for (const frame of recent.keys()) if (recent.size > 8) recent.delete(frame);
  faces(observation.faces);
  if (state.show === "pictures" || state.show === "pixelated") load();
  else redraw();
}

const cards = new Map();

// The label changes a little later than the most likely class: its own probability is shown.
function probability(face) {
  return face.scores[face.expression] ?? face.score;
}

function faces(found) {
  for (const [track, card] of cards) if (!found.some((face) => face.track === track)) { card.element.remove(); cards.delete(track); }
  for (const face of found) {
    let card = cards.get(face.track);
    // A new model may have other labels.
    if (card && Object.keys(card.rows).join() !== Object.keys(face.scores).join()) { card.element.remove(); card = undefined; }
    card ??= newCard(face);
    card.name.textContent = face.expression;
    card.score.textContent = percent(probability(face));
    for (const [label, score] of Object.entries(face.scores)) {
      const row = card.rows[label];
      row.bar.style.transform = `scaleX(${score})`;
      row.text.textContent = percent(score);
      const top = label === face.expression;
      row.label.classList.toggle("top", top);
      row.text.classList.toggle("top", top);
    }
  }
  $("nobody").hidden = found.length > 0;
  $("nobody").textContent = state?.show === "totals" ? "Single faces are not shown." : "Nobody in view.";
}

function newCard(face) {
  const card = { name: make("b"), score: make("span"), rows: {} };
  const scores = make("div", { class: "scores" });
  for (const label of Object.keys(face.scores)) {
    const row = { label: make("span", {}, label), bar: make("div"), text: make("span") };
    tint(row.bar, label, state.labels);
    row.bar.style.transform = "scaleX(0)";
    scores.append(row.label, make("div", { class: "track", "aria-hidden": "true" }, row.bar), row.text);
    card.rows[label] = row;
  }
  card.element = make("li", {}, make("div", { class: "who" }, card.name, card.score, make("i", {}, `face ${face.track}`)), scores);
  cards.set(face.track, card);
  $("faces").append(card.element);
  return card;
}

// ---- the view

async function load() {
  if (loading) return;
  loading = true;
  try {
    const answer = await fetch("api/picture");
    if (answer.status === 200) {
      const made = await createImageBitmap(await answer.blob());
      picture?.image.close();
      picture = { image: made, frame: Number(answer.headers.get("edgefer-frame")) };
    } else picture = null;
  } catch { /* the connection is lost; the events notice it */ }
  loading = false;
  redraw();
}

function redraw() {
  const seen = picture ? (recent.get(picture.frame) ?? latest) : latest;
  const veil = !state ? "connecting …" : state.show === "totals" ? "Only totals are shown." : seen ? "" : "waiting for the first frame …";
  if ($("veil").textContent !== veil) $("veil").textContent = veil;
  const [width, height] = seen?.size ?? [640, 480];
  const scale = Math.min(2, devicePixelRatio || 1), wide = Math.round(view.clientWidth * scale), high = Math.round((wide * height) / width);
  if (view.width !== wide || view.height !== high) { view.width = wide; view.height = high; }
  paint.clearRect(0, 0, wide, high);
  if (picture && seen) paint.drawImage(picture.image, 0, 0, wide, high);
  else if (seen) grid(wide, high, scale);
  if (picture && seen) for (const region of [...ignored.regions, ...(drawn ? [drawn] : [])]) hatch(region, wide, high, scale);
  for (const face of seen?.faces ?? []) box(face, wide / width, scale);
  const list = (seen?.faces ?? []).map((face) => `${face.expression} ${percent(probability(face))}`).join(", ");
  const label = seen ? `${picture ? "Camera picture" : "Boxes of the faces, without a picture"}: ${list || "no face"}` : veil;
  if (view.getAttribute("aria-label") !== label) view.setAttribute("aria-label", label);
}

function grid(wide, high, scale) {
  paint.fillStyle = "#2b2e33";
  for (let x = 16; x * scale < wide; x += 24) for (let y = 16; y * scale < high; y += 24) paint.fillRect(x * scale, y * scale, scale, scale);
}

function box(face, ratio, scale) {
  const { expression } = face;
  const found = getComputedStyle(document.documentElement).getPropertyValue(colour(expression, state.labels).slice(4, -1)).trim();
  const [x, y, w, h] = face.box.map((side) => side * ratio);
  paint.lineWidth = 4.5 * scale;
  paint.strokeStyle = "rgb(0 0 0 / .55)";
  paint.strokeRect(x, y, w, h);
  paint.lineWidth = 2.5 * scale;
  paint.strokeStyle = found;
  paint.strokeRect(x, y, w, h);
  paint.font = `600 ${14 * scale}px system-ui, sans-serif`;
  const text = `${expression} ${percent(probability(face))}`, pad = 7 * scale, high = 24 * scale, long = paint.measureText(text).width + 2 * pad;
  const left = Math.max(0, Math.min(x - 1.25 * scale, view.width - long)), top = Math.max(0, y - high);
  paint.fillStyle = found;
  paint.fillRect(left, top, long, high);
  paint.fillStyle = light(found) ? "#111" : "#fff";
  paint.textBaseline = "middle";
  paint.fillText(text, left + pad, top + high / 2 + scale);
}

function light(hex) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  return 0.299 * r + 0.587 * g + 0.114 * b > 120;
}

// ---- ignored regions

async function regions(change) {
  const options = change && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ regions: change }) };
  const answer = await fetch("api/ignore", options).catch(() => null);
  if (answer?.ok) ignored = await answer.json();
  $("ignore").hidden = !ignored.editable;
  if (!ignored.editable) draw(false);
  $("regions").replaceChildren(...ignored.regions.map((region, at) => {
    const [x, y] = region.map((share) => percent(share));
    const button = make("button", { type: "button", "aria-label": `Remove region ${at + 1}, ${x} from the left, ${y} from the top` }, `Region ${at + 1} ✕`);
    button.addEventListener("click", () => regions(ignored.regions.filter((_, other) => other !== at)));
    return make("li", {}, button);
  }));
  const failed = change && !answer?.ok ? "This was not changed: the device refused it or does not answer. " : "";
  const kept = ignored.why_not_kept ? `A change holds until this run ends: ${ignored.why_not_kept}.` : "Changes are kept in the configuration file.";
  $("ignore-text").textContent = `${failed}Faces whose centre lies in a region are not reported. ${kept}`;
  redraw();
}

function draw(on) {
  drawing = on;
  corner = drawn = null;
  $("draw").setAttribute("aria-pressed", on);
  $("draw").textContent = on ? "Drag over the picture …" : "Draw a region";
  view.classList.toggle("drawing", on);
}

function at(event) {
  const { left, top, width, height } = view.getBoundingClientRect();
  return [(event.clientX - left) / width, (event.clientY - top) / height].map((share) => Math.min(1, Math.max(0, share)));
}

$("draw").addEventListener("click", () => draw(!drawing));
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && drawing) { draw(false); redraw(); } });
view.addEventListener("pointerdown", (event) => {
  if (!drawing || event.button !== 0) return;
  corner = at(event);
  view.setPointerCapture(event.pointerId);
});
view.addEventListener("pointermove", (event) => {
  if (!corner) return;
  const [x, y] = at(event);
  drawn = [Math.min(x, corner[0]), Math.min(y, corner[1]), Math.abs(x - corner[0]), Math.abs(y - corner[1])];
  redraw();
});
view.addEventListener("pointerup", () => {
  const region = drawn;
  // A click is no region.
  if (corner && region && region[2] > 0.01 && region[3] > 0.01) { draw(false); regions([...ignored.regions, region]); }
  corner = drawn = null;
});
view.addEventListener("pointercancel", () => { corner = drawn = null; });

function hatch([x, y, w, h], wide, high, scale) {
  const [left, top, width, height] = [x * wide, y * high, w * wide, h * high];
  paint.save();
  paint.beginPath();
  paint.rect(left, top, width, height);
  paint.clip();
  paint.fillStyle = "rgb(0 0 0 / .45)";
  paint.fill();
  paint.strokeStyle = "rgb(255 255 255 / .55)";
  paint.lineWidth = 1.5 * scale;
  for (let step = -height; step < width; step += 12 * scale) {
    paint.beginPath();
    paint.moveTo(left + step, top + height);
    paint.lineTo(left + step + height, top);
    paint.stroke();
  }
  paint.restore();
  paint.strokeStyle = "#fff";
  paint.lineWidth = 1.5 * scale;
  paint.strokeRect(left, top, width, height);
}

// ---- the history

async function history() {
  const range = Number(document.querySelector("[name=range]:checked").value);
  const to = Math.ceil(Date.now() / 60000) * 60;
  const ask = (from) => fetch(`api/history?from=${from}&to=${to}`).then((answer) => (answer.ok ? answer.json() : null)).catch(() => null);
  let data = await ask(to - range);
  // A short run fills the chart: from its first bar on, and ten minutes at least.
  const from = Math.min(data?.buckets[0]?.time_s ?? 0, to - 600);
  if (from > to - range / 2) data = (await ask(from)) ?? data;
  if (data && state) timeline.show(data, state.labels);
}

$("range").addEventListener("change", history);
setInterval(() => { if (!document.hidden && state) { history(); if (!drawing) regions(); } }, HISTORY_MS);
new ResizeObserver(redraw).observe(view);
connect();
