// Small parts that everything is drawn with. No text ever becomes markup.

const SVG = "http://www.w3.org/2000/svg";
const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

export const $ = (id) => document.getElementById(id);

/** Make an element: make("td", {class: "number"}, "12"). */
export function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** Write a text only where it changed, so that screen readers and selections are left alone. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function set(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

/** A shape that says the same as its colour and its word. */
export function shape(kind) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "shape");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#shape-${kind}`);
  svg.append(use);
  return svg;
}

/** Shape and word of a state; `kind` is ok, warn, bad, wait or unknown. */
export function state(node, kind, word) {
  if (node.dataset.kind !== kind || !node.firstChild) {
    node.dataset.kind = kind;
    node.replaceChildren(shape(kind), make("span", { class: "word" }));
  }
  say(node.lastChild, word);
}

/** Bring rows in step with items; a row that stays keeps its place in the focus order. */
export function sync(body, items, key, create, update) {
  const rows = new Map([...body.children].map((row) => [row.dataset.key, row]));
  let place = body.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let row = rows.get(name);
    if (row === undefined) {
      row = create(item);
      row.dataset.key = name;
    }
    rows.delete(name);
    if (row === place) place = place.nextElementSibling;
    else body.insertBefore(row, place);
    update(row, item);
  }
  for (const row of rows.values()) row.remove();
}

export function sparkline() {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", "0 0 120 24");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const line = document.createElementNS(SVG, "polyline");
  const unwatched = document.createElementNS(SVG, "path");
  unwatched.setAttribute("class", "unwatched");
  const base = document.createElementNS(SVG, "path");
  base.setAttribute("class", "base");
  svg.append(document.createElementNS(SVG, "title"), unwatched, base, line);
  return svg;
}

/** Draw the newest 60 values, one a second, the newest at the right edge; what was before the page watched is dotted. */
export function drawSpark(svg, values, name) {
  const most = Math.max(1, ...values);
  const first = 60 - values.length;
  const points = values.map((value, at) => {
    const x = ((first + at) * 120) / 59;
    return `${x.toFixed(1)},${(22.5 - (20.5 * value) / most).toFixed(1)}`;
  });
  const [title, unwatched, base, line] = svg.children;
  const start = values.length ? ((first * 120) / 59).toFixed(1) : "120";
  set(unwatched, "d", first > 0 ? `M0 23.5H${start}` : "");
  set(base, "d", `M${start} 23.5H120`);
  set(line, "points", points.join(" "));
  const label = first > 0 ? `${name} in the last ${values.length} s; not watched before` : `${name} in the last minute`;
  say(title, label);
  set(svg, "aria-label", label);
}

// ── words for numbers ──

export const NONE = "–";

export function count(value) {
  return value === null || value === undefined ? NONE : whole.format(value);
}

export function rate(value) {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0";
  return value < 100 ? value.toFixed(value < 10 ? 2 : 1) : whole.format(Math.round(value));
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  const s = Math.max(0, seconds);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${Math.floor(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} m`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export function bytes(value) {
  if (value < 1024) return `${value} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let size = value / 1024;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${short.format(size)} ${units[unit]}`;
}

export function micros(value) {
  if (value === null || value === undefined) return NONE;
  return value < 1000 ? `${value} µs` : `${short.format(value / 1000)} ms`;
}

/** Time of day in UTC, as the log has it. */
export function clock(moment) {
  return new Date(moment).toISOString().slice(11, 19);
}

/** Seconds from a moment to the picture's own time: the browser's clock may be off. */
export function since(moment, now) {
  return moment ? Math.max(0, (Date.parse(now) - Date.parse(moment)) / 1000) : null;
}

export function plural(number, one, many = `${one}s`) {
  return `${whole.format(number)} ${number === 1 ? one : many}`;
}
