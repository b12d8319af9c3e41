// The topics: the worst first, with the rate of the last minute, which the browser keeps.

import { $, count, drawSpark, duration, make, plural, rate, say, set, show, sparkline, state, sync } from "./parts.js";
import { makeRow } from "./draw.js";

const KEPT = 60;
const MOST_KEPT = 1000;
const LONG_SECONDS = 12; // as long as the gateway itself waits before it is a reason

const KINDS = { active: "ok", stalled: "bad", requested: "wait", pending: "wait", rejected: "warn" };
const COLUMNS = [
  ["Topic", "head"], ["State", "state"], ["Per second", "number"], ["Newest", "number"],
  ["Last minute", "spark-cell"], ["Events", "number"], ["Services", "number"],
];

const minutes = new Map(); // topic → {events, values}

export const nameOf = (one) => `${one.endpoint}@${one.account ?? ""}:${one.topic}`;

export function forget() {
  minutes.clear();
}

/** Draw them; `open` is called with a topic that somebody wants to see closely. */
export function drawTopics(topics, states, search, open) {
  for (const one of topics.items) remember(one);
  while (minutes.size > MOST_KEPT) minutes.delete(minutes.keys().next().value);
  const words = Object.entries(states).map(([word, number]) => `${count(number)} ${word}`);
  say($("topics-count"), words.join(", "));
  show($("topics-empty"), topics.items.length === 0);
  say($("topics-empty"), search ? `No topic fits “${search}”.` : "Nothing is subscribed.");
  const hidden = topics.fitting - topics.items.length;
  show($("topics-more"), hidden > 0);
  say($("topics-more"), `${plural(hidden, "further topic")} not shown; the worst come first, and Find looks at all.`);
  sync($("topics"), topics.items, nameOf, () => makeTopic(open), drawTopic);
}

function remember(one) {
  const name = nameOf(one);
  const known = minutes.get(name);
  const minute = known ?? { events: one.events, values: [] };
  minutes.delete(name); // so that the longest unseen stands first
  if (known) minute.values.push(Math.max(0, one.events - minute.events)); // the first look has none before it
  if (minute.values.length > KEPT) minute.values.shift();
  minute.events = one.events;
  minutes.set(name, minute);
}

function makeTopic(open) {
  const row = makeRow(COLUMNS);
  const button = make("button", { type: "button", class: "name" });
  button.addEventListener("click", () => open(row.topic));
  row.children[0].append(button, make("span", { class: "note" }), make("span", { class: "alarm" }));
  row.children[4].append(sparkline());
  return row;
}

function drawTopic(row, one) {
  row.topic = one;
  const cells = row.children;
  say(cells[0].children[0], one.topic);
  say(cells[0].children[1], one.account === null ? one.endpoint : `${one.endpoint} · ${one.account}`);
  say(cells[0].children[2], one.error ?? "");
  const kind = kindOf(one);
  set(row, "data-kind", kind);
  state(cells[1], kind, wordOf(one));
  say(cells[2], rate(one.per_second));
  say(cells[3], one.age_seconds === null ? "none yet" : duration(one.age_seconds));
  drawSpark(cells[4].firstChild, minutes.get(nameOf(one)).values, `events of ${one.topic}`);
  say(cells[5], count(one.events));
  say(cells[6], count(one.services));
}

function kindOf(one) {
  const kind = one.is_quiet ? "warn" : KINDS[one.state] ?? "unknown";
  // One that flowed before is missed at once, one that is new only when it takes too long.
  const isMissed = one.error !== null || one.events > 0 || one.state_seconds >= LONG_SECONDS;
  return kind === "wait" && isMissed ? "warn" : kind;
}

export function wordOf(one) {
  if (one.is_quiet) return `silent ${duration(one.age_seconds)}`;
  if (one.state === "active") return "active";
  return `${one.state} ${duration(one.state_seconds)}`;
}
