// The timeline and the shares, for the page and for the report.

const SVG = "http://www.w3.org/2000/svg";
const COLOURS = 9;
export const UNCERTAIN = "uncertain";

// The model's classes in its order, then the other expressions, then "uncertain".
export function order(labels, seen = []) {
  return [...labels, ...seen.filter((name) => !labels.includes(name) && name !== UNCERTAIN).sort(), UNCERTAIN];
}

export function colour(name, labels) {
  const at = labels.indexOf(name);
  return name === UNCERTAIN || at < 0 ? "var(--uncertain)" : `var(--e${at % COLOURS})`;
}

export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

export function percent(share) {
  return share > 0 && share < 0.005 ? "<1 %" : `${Math.round(100 * share)} %`;
}

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) name === "class" ? (element.className = value) : element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function tint(element, name, labels) {
  element.style.setProperty("--c", colour(name, labels));
  return element;
}

const clock = (time, how) => new Intl.DateTimeFormat("en-GB", how).format(new Date(1000 * time));
const HM = { hour: "2-digit", minute: "2-digit" };
const DAY = { weekday: "short", day: "numeric", month: "short" };

export function span(bucket, length) {
  const end = bucket + length;
  if (length >= 86400) return clock(bucket, DAY);
  return `${clock(bucket, { ...DAY, ...HM })}–${clock(end, HM)}`;
}

// Times on the axis: the shortest usual step that leaves room, counted from local midnight.
function ticks(from, to, room) {
  const steps = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000];
  const step = steps.find((step) => (to - from) / step <= room) ?? 31536000;
  const midnight = new Date(1000 * from).setHours(0, 0, 0, 0) / 1000;
  const found = [];
  for (let at = midnight; at < to; at += step) if (at >= from) found.push(at);
  return found.map((at) => [at, step >= 86400 || new Date(1000 * at).getHours() + new Date(1000 * at).getMinutes() === 0 ? clock(at, DAY) : clock(at, HM)]);
}

// A round number at the top of the axis.
function ceiling(highest) {
  if (!(highest > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(highest));
  // Rounding can make two faces slightly more than two.
  return [1, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= 0.98 * highest);
}

const sum = (values) => Object.values(values).reduce((all, value) => all + value, 0);

// A stacked bar for each bucket; its height is the average number of faces in view. Arrow keys move through the bars.
export class Timeline {
  constructor(parent) {
    this.svg = draw("svg", { class: "chart", tabindex: 0, role: "img" });
    this.readout = make("output", { class: "readout", "aria-live": "polite" });
    this.legend = make("ul", { class: "legend" });
    this.table = make("details", {}, make("summary", {}, "As a table"), make("div", { class: "scroll", tabindex: 0 }));
    this.table.addEventListener("toggle", () => this.fill());
    parent.replaceChildren(this.svg, this.readout, this.legend, this.table);
    this.at = null;
    this.data = null;
    this.svg.addEventListener("pointermove", (event) => this.point(this.nearest(event)));
    this.svg.addEventListener("pointerdown", (event) => this.point(this.nearest(event)));
    this.svg.addEventListener("pointerleave", () => this.point(null));
    this.svg.addEventListener("blur", () => this.point(null));
    this.svg.addEventListener("keydown", (event) => this.move(event));
    new ResizeObserver(() => this.data && this.svg.clientWidth !== this.width && this.render()).observe(this.svg);
  }

  show(data, labels) {
    this.data = data;
    this.labels = labels;
    const seen = new Set(data.buckets.flatMap((bucket) => Object.keys(bucket.expressions_s)));
    this.names = order(labels, [...seen]);
    this.legend.replaceChildren(
      ...this.names.filter((name) => labels.includes(name) || seen.has(name)).map((name) => make("li", {}, tint(make("span", { class: "key" }), name, labels), name)),
    );
    this.render();
    this.fill();
  }

  render() {
    const { data, svg, names, labels } = this;
    const width = (this.width = svg.clientWidth || 900), height = width < 500 ? 150 : 200, left = 34, bottom = 22, top = 28;
    const { from, to, bucket_s: length, buckets } = data;
    this.x = (time) => left + ((time - from) / Math.max(1, to - from)) * (width - left);
    const highest = ceiling(Math.max(0, ...buckets.map((bucket) => sum(bucket.expressions_s) / length)));
    const y = (faces) => height - bottom - (faces / highest) * (height - bottom - top);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("height", height);
    const parts = [draw("text", { x: 0, y: 10 }, "faces in view, on average")];
    for (const share of [0, 0.5, 1]) {
      const at = Math.round(y(share * highest)) + 0.5;
      parts.push(draw("line", { class: "rule", x1: left, x2: width, y1: at, y2: at }));
      parts.push(draw("text", { x: left - 7, y: at + 4, "text-anchor": "end" }, String(+(share * highest).toPrecision(2))));
    }
    let free = -Infinity;
    for (const [at, text] of ticks(from, to, Math.max(2, width / 95))) {
      const x = this.x(at), anchor = x > width - 45 ? "end" : x < left + 20 ? "start" : "middle", wide = 7 * text.length;
      const begin = { start: x, middle: x - wide / 2, end: x - wide }[anchor];
      if (begin < free) continue; // it would touch the one before
      free = begin + wide + 8;
      parts.push(draw("text", { x, y: height - 5, "text-anchor": anchor }, text));
    }
    this.columns = buckets.map((bucket) => {
      const x0 = Math.max(left, this.x(bucket.time_s)), x1 = Math.min(width, this.x(bucket.time_s + length));
      const wide = Math.max(1, x1 - x0 - (x1 - x0 > 4 ? 1 : 0));
      const column = draw("g", { class: "column" });
      if (bucket.watched_s > 0) column.append(draw("line", { class: "watched", x1: x0, x2: x0 + wide, y1: y(0) + 1.5, y2: y(0) + 1.5 }));
      let base = 0;
      for (const name of names) {
        const faces = (bucket.expressions_s[name] ?? 0) / length;
        if (faces <= 0) continue;
        column.append(tint(draw("rect", { x: x0, width: wide, y: y(base + faces), height: Math.max(0.5, y(base) - y(base + faces) - 0.5) }), name, labels));
        base += faces;
      }
      return column;
    });
    parts.push(...this.columns, draw("rect", { class: "catch", x: left, y: 0, width: Math.max(0, width - left), height }));
    svg.replaceChildren(...parts);
    const all = this.totals();
    const best = names.filter((name) => all[name]).sort((a, b) => all[b] - all[a]).slice(0, 3);
    const list = best.map((name) => `${name} ${percent(all[name] / sum(all))}`).join(", ");
    svg.setAttribute("aria-label", `Timeline from ${clock(from, { ...DAY, ...HM })} to ${clock(to, { ...DAY, ...HM })}. ${list || "No face was seen"}. Arrow keys move through the bars.`);
    this.point(this.at);
  }

  totals() {
    const all = {};
    for (const bucket of this.data.buckets) for (const [name, seconds] of Object.entries(bucket.expressions_s)) all[name] = (all[name] ?? 0) + seconds;
    return all;
  }

  nearest(event) {
    const box = this.svg.getBoundingClientRect(), x = ((event.clientX - box.left) / box.width) * this.width;
    const { buckets, bucket_s: length } = this.data ?? { buckets: [] };
    return buckets.find((bucket) => this.x(bucket.time_s) <= x && x < this.x(bucket.time_s + length))?.time_s ?? null;
  }

  move(event) {
    const buckets = this.data?.buckets ?? [], at = buckets.findIndex((bucket) => bucket.time_s === this.at);
    const last = buckets.length - 1;
    const to = { ArrowLeft: at < 0 ? last : Math.max(0, at - 1), ArrowRight: at < 0 ? 0 : Math.min(last, at + 1), Home: 0, End: last, Escape: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.point(buckets[to]?.time_s ?? null);
  }

  point(time) {
    if (!this.data) return;
    const index = this.data.buckets.findIndex((bucket) => bucket.time_s === time);
    this.at = index < 0 ? null : time;
    this.columns.forEach((column, at) => column.classList.toggle("dim", index >= 0 && at !== index));
    const bucket = this.data.buckets[index];
    const text = !bucket
      ? this.data.buckets.length ? "" : "Nothing was seen in this time."
      : `${span(bucket.time_s, this.data.bucket_s)}: ${this.names.filter((name) => bucket.expressions_s[name] > 0).map((name) => `${name} ${duration(bucket.expressions_s[name])}`).join(", ") || "no face"}`;
    if (this.readout.textContent !== text) this.readout.textContent = text;
  }

  fill() {
    if (!this.table.open || !this.data) return;
    const names = this.names.filter((name) => this.labels.includes(name) || this.data.buckets.some((bucket) => bucket.expressions_s[name]));
    const head = make("tr", {}, ...["Time", "Watched", ...names].map((text) => make("th", { scope: "col" }, text)));
    const rows = this.data.buckets.map((bucket) =>
      make("tr", {}, make("th", { scope: "row" }, span(bucket.time_s, this.data.bucket_s)),
        ...[bucket.watched_s, ...names.map((name) => bucket.expressions_s[name] ?? 0)].map((seconds) => make("td", {}, seconds ? duration(seconds) : "–"))));
    this.table.lastChild.replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
  }
}

// A bar of all shares, and each share in figures, the largest first.
export function shares(parent, seconds, labels) {
  const all = sum(seconds), names = order(labels, Object.keys(seconds)).filter((name) => seconds[name] > 0);
  if (!(all > 0)) return parent.replaceChildren(make("p", { class: "note" }, "No face was seen."));
  const whole = make("div", { class: "whole", "aria-hidden": "true" }, ...names.map((name) => {
    const part = tint(make("div"), name, labels);
    part.style.flex = `${seconds[name] / all} 0 0`;
    return part;
  }));
  const list = make("div", { class: "share" });
  for (const name of [...names].sort((a, b) => seconds[b] - seconds[a])) {
    list.append(make("span", {}, tint(make("span", { class: "key" }), name, labels), name), make("span"), make("span", {}, duration(seconds[name])), make("span", {}, percent(seconds[name] / all)));
  }
  parent.replaceChildren(whole, list);
}
