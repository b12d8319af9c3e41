// Draws one picture: the verdict, figures, connections, queues, private data, markers, errors.

import {
  $, NONE, bytes, clock, count, drawSpark, duration, make, micros, plural, rate, say, set, shape,
  show, since, sparkline, state, sync,
} from "./parts.js";

const KEPT = 60;

// ── verdict ──

const VERDICTS = {
  ok: ["ok", "OK", "Data flow."],
  degraded: ["warn", "Degraded", ""],
  down: ["bad", "Down", "No event reaches a consumer."],
};

export function drawVerdict(picture) {
  const [kind, word, line] = VERDICTS[picture.status] ?? ["unknown", picture.status, ""];
  const missing = picture.reasons.some((one) => one.is_blocking);
  const reasons = picture.reason_total;
  let words = line;
  if (reasons) {
    const blocks = missing ? "data are missing" : "no data are missing";
    words = `${line} ${plural(reasons, "reason")}, ${blocks}.`.trim();
  }
  const refused = picture.topics.rejected ?? 0;
  if (refused) words += ` Bybit refused ${plural(refused, "topic")}, told below.`;
  const quiet = picture.quiet_topics;
  if (quiet) {
    const more = quiet > picture.quiet_names.length ? ", …" : "";
    words += ` ${plural(quiet, "topic")} fell silent just now: ${picture.quiet_names.join(", ")}${more || "."}`;
  }
  const isWatch = kind === "ok" && quiet > 0;
  verdict(isWatch ? "warn" : kind, isWatch ? "Watch" : word, words);
  sync($("reasons"), picture.reasons, (one) => `${one.code} ${one.subject}`, makeReason, drawReason);
  const hidden = reasons - picture.reasons.length;
  show($("reasons-more"), hidden > 0);
  say($("reasons-more"), `${plural(hidden, "further reason")} not shown; those for which data are missing come first.`);
  const mark = isWatch ? "▲" : { ok: "✓", warn: "▲", bad: "✕" }[kind] ?? "?";
  document.title = `${mark} ${isWatch ? "Watch" : word}${reasons ? ` (${reasons})` : ""} · ws-gateway`;
}

/** Say what is known when no picture is: green is never left standing. */
export function drawUnknown(word, words) {
  verdict("unknown", word, words);
  document.title = `? ${word} · ws-gateway`;
}

function verdict(kind, word, words) {
  set($("verdict"), "data-status", kind);
  set($("verdict-shape"), "href", `#shape-${kind}`);
  say($("verdict-word"), word);
  say($("verdict-line"), words);
}

function makeReason() {
  const head = make("p", { class: "reason-head" });
  head.append(make("span", { class: "state" }), make("strong"), make("code"));
  return make("li", {}, head, make("p", { class: "detail" }), make("p", { class: "remedy" }));
}

function drawReason(row, one) {
  const [head, detail, remedy] = row.children;
  const kind = one.is_blocking ? "bad" : "warn";
  set(row, "data-kind", kind);
  const announced = one.is_announced ? ", announced" : "";
  const isShut = one.code === "database_lost";
  const word = one.is_blocking ? "data missing" : isShut ? "nothing can be changed" : "warning";
  state(head.children[0], kind, word + announced);
  say(head.children[1], one.subject);
  say(head.children[2], one.code);
  say(detail, one.detail);
  say(remedy, one.remedy);
}

// ── figures ──

const flows = { received: [], confirmed: [] };

export function drawVitals(picture) {
  const { flow, broker, database } = picture;
  keep(flows.received, flow.received_per_second);
  keep(flows.confirmed, flow.confirmed_per_second);
  const isConfirmed = flow.confirmed_per_second > 0; // else the latency is of what was confirmed long ago
  const vitals = [
    { name: "Received", value: perSecond(flow.received_per_second), spark: flows.received },
    { name: "Confirmed", value: perSecond(flow.confirmed_per_second), spark: flows.confirmed },
    { name: "In flight", value: count(flow.in_flight), note: "not confirmed yet" },
    {
      name: "Latency, p99",
      value: micros(isConfirmed ? flow.latency_p99_us : null),
      note: isConfirmed ? `p50 ${micros(flow.latency_p50_us)}` : "nothing is confirmed",
    },
    { name: "Not delivered", value: count(flow.lost), note: "since the start" },
    {
      name: "RabbitMQ",
      kind: broker.status !== "ready" ? "bad" : broker.is_silent ? "warn" : "ok",
      value: broker.is_silent ? `silent ${duration(broker.silent_seconds)}` : broker.status.replace("_", " "),
    },
    { name: "Private data", ...privateState(picture) },
    { name: "PostgreSQL", kind: database.status === "ok" ? "ok" : "bad", value: database.status },
  ];
  sync($("vitals"), vitals, (one) => one.name, makeVital, drawVital);
  say($("foot"), [
    `version ${picture.version}`,
    `epoch ${picture.epoch}`,
    `up for ${duration(picture.uptime_seconds)}`,
    `loop at most ${picture.flow.loop_lag_ms} ms late in a minute`,
    `${plural(picture.viewers, "viewer")}`,
    "times are UTC",
  ].join(" · "));
}

function perSecond(value) {
  return value === null ? NONE : `${rate(value)}/s`;
}

function makeVital(one) {
  const value = make("dd", { class: "value" });
  const box = make("div", { class: "vital" }, make("dt", {}, one.name), value);
  if (one.kind) value.append(make("span", { class: "state" }));
  else box.append(one.spark ? make("dd", {}, sparkline()) : make("dd", { class: "note" }));
  return box;
}

function drawVital(box, one) {
  const [, value, more] = box.children;
  if (one.kind) return state(value.firstChild, one.kind, one.value);
  say(value, one.value);
  if (one.spark) drawSpark(more.firstChild, one.spark, `${one.name} per second`);
  else say(more, one.note);
}

function keep(values, value) {
  if (value === null) return; // two looks make a rate
  values.push(value);
  if (values.length > KEPT) values.shift();
}

// ── tables ──

/** A row of cells; each names its column for screens too narrow for a table. */
function makeRow(columns) {
  const row = make("tr");
  for (const [label, kind] of columns) {
    const cell = kind === "head" ? make("th", { scope: "row" }) : make("td", { class: kind });
    cell.dataset.label = label;
    row.append(cell);
  }
  return row;
}

function drawHead(cell, name, note, alarm) {
  if (!cell.firstChild) {
    cell.append(make("span", { class: "name" }), make("span", { class: "note" }),
      make("span", { class: "alarm" }));
  }
  say(cell.children[0], name);
  say(cell.children[1], note);
  say(cell.children[2], alarm);
}

// ── connections ──

const CONNECTION_KINDS = {
  streaming: "ok", backing_off: "bad", connecting: "wait", authenticating: "wait",
  subscribing: "wait", idle: "unknown", closed: "unknown",
};

export function drawConnections(picture) {
  const { connections, at } = picture;
  const streaming = picture.streaming_total;
  const total = picture.connection_total;
  say($("connections-count"), total ? `${count(streaming)} of ${count(total)} stream` : "");
  const shown = connections.filter((one) => one.connection_status === "streaming").length;
  const hidden = total - connections.length;
  const idle = hidden - (streaming - shown);
  show($("connections-more"), hidden > 0);
  say($("connections-more"), `${plural(hidden, "further connection")} not shown: ${idle
    ? `${count(idle)} of them ${idle === 1 ? "does" : "do"} not stream` : "all of them stream"}.`);
  show($("connections-empty"), total === 0);
  const columns = [
    ["Connection", "head"], ["State", "state"], ["Topics", "number"], ["Last data", "number"],
    ["Heartbeat", "number"], ["Up for", "number"], ["Reconnects", "number"], ["Uptime", "number"],
  ];
  sync($("connections"), connections, (one) => one.name, () => makeRow(columns), (row, one) => {
    const cells = row.children;
    const retry = one.retry_at ? Math.max(0, (Date.parse(one.retry_at) - Date.parse(at)) / 1000) : null;
    const alarm = [
      one.last_error,
      one.breaker === "closed" ? null : `breaker is ${one.breaker.replace("_", " ")}`,
      retry === null ? null : `next attempt in ${duration(retry)}`,
    ].filter(Boolean).join(" · ");
    drawHead(cells[0], one.name, one.name === one.category ? "" : one.category, alarm);
    const kind = CONNECTION_KINDS[one.connection_status] ?? "unknown";
    const word = one.is_login_refused ? "login refused" : one.connection_status.replace("_", " ");
    set(row, "data-kind", kind);
    state(cells[1], kind, word);
    say(cells[2], `${count(one.active_subscriptions)} of ${count(one.wanted_subscriptions)}`);
    say(cells[3], duration(since(one.last_event_at, at)));
    say(cells[4], duration(since(one.last_heartbeat_at, at)));
    say(cells[5], duration(one.connection_duration_seconds));
    say(cells[6], count(one.reconnection_count));
    const uptime = Math.floor(10000 * one.uptime_ratio) / 100;  // 99.97 is not 100
    say(cells[7], `${uptime === 100 ? 100 : uptime.toFixed(2)} %`);
  });
  sync($("maintenance"), picture.maintenance, (one) => one.id, () => make("p", { class: "banner" }),
    (row, one) => {
      const until = one.ends_at ? `until ${clock(one.ends_at)} UTC` : "until further notice";
      const of = one.endpoints.join(", ") || "none";
      say(row, `Bybit announced maintenance, ${one.state}: “${one.title || "without a title"}”. `
        + `It takes data from: ${of}, ${until}.`);
    });
  const environment = connections[0]?.environment ?? "";
  say($("environment"), environment.replace(/^wss?:\/\//, ""));
  show($("environment"), environment !== "");
}

// ── queues ──

const BEGINNING_SECONDS = 15; // until then queues may not have been declared

const ALERTS = {
  capacity_near: "nearly full", no_consumer: "no consumer", slow_consumer: "slow consumer",
  refusing: "refuses",
};

export function drawQueues(picture) {
  const { queues, at } = picture;
  const troubled = picture.alerting_total;
  const total = picture.queue_total;
  const away = queues.find((one) => !one.is_current && isSeen(one));
  const words = [count(total), troubled ? `${troubled} with an alert` : null,
    away ? `as they were at ${clock(away.looked_at)}: RabbitMQ is away` : null];
  say($("queues-count"), total ? words.filter(Boolean).join(", ") : "");
  show($("queues-empty"), total === 0);
  const columns = [
    ["Queue", "head"], ["State", "state"], ["Backlog", "number"], ["Filled", "bar-cell"],
    ["Growth", "number"], ["Oldest", "number"], ["Consumers", "number"], ["Unread, gone", "number"],
  ];
  const still = queues.filter(isStill);
  const unseen = queues.filter((one) => !isSeen(one));
  const busy = queues.filter((one) => isSeen(one) && !isStill(one));
  show($("queues-unseen"), unseen.length > 0);
  const why = picture.uptime_seconds > BEGINNING_SECONDS && unseen[0]?.problem ? `: ${unseen[0].problem}` : " yet";
  say($("queues-unseen"), `${plural(unseen.length, "queue")} could not be looked at${why}`);
  const hidden = total - queues.length;
  show($("queues-more"), hidden > 0);
  say($("queues-more"), `${plural(hidden, "further queue")} not shown; those with an alert come first.`);
  show($("queues-still"), still.length > 0);
  say($("queues-still"), `${plural(still.length, "further queue")}, empty and without a consumer${away ? " when last looked at" : ""}: ${still.map((one) => one.name).join(", ")}`);
  sync($("queues"), busy, (one) => one.name, () => makeRow(columns), (row, one) => {
    const cells = row.children;
    const problem = one.is_current ? one.problem : null;
    const alarm = [...one.alerts.map((alert) => alert.detail), problem].filter(Boolean).join(" · ");
    const looked = since(one.looked_at, at);
    const whose = one.services.length ? `for ${one.services.join(", ")}` : one.kind;
    const late = looked !== null && looked > 12 ? ` · of ${duration(looked)} ago` : "";
    drawHead(cells[0], one.name, whose + late, alarm);
    let [kind, word] = one.consumers ? ["ok", "read"] : ["unknown", "nobody reads"];
    if (!one.is_current) [kind, word] = ["unknown", "not known"];
    else if (one.alerts.length) [kind, word] = ["warn", one.alerts.map((a) => ALERTS[a.code] ?? a.code).join(", ")];
    else if (one.problem) [kind, word] = ["warn", "problem"];
    set(row, "data-kind", kind);
    state(cells[1], kind, word);
    say(cells[2], count(one.depth));
    drawBar(cells[3], one.depth, one.max_length);
    const growth = one.growth_per_second;
    say(cells[4], growth === null ? NONE : `${growth > 0 ? "+" : ""}${rate(growth)}/s`.replace("+0/s", "0/s"));
    say(cells[5], (one.is_oldest_age_minimum ? "> " : "") + duration(one.oldest_age_seconds));
    say(cells[6], count(one.consumers));
    const [least, most] = [one.dropped_at_least, one.dropped_at_most];
    say(cells[7], least === null ? NONE : least === most ? count(least) : `${count(least)}–${count(most)}`);
  });
}

function isSeen(one) {
  return one.looked_at !== null && one.depth !== null;
}

function isStill(one) {
  return one.depth === 0 && one.consumers === 0 && !one.alerts.length && !one.dropped_at_most
    && !(one.is_current && one.problem);
}

function drawBar(cell, depth, length) {
  if (!cell.firstChild) cell.append(make("meter", { min: "0", max: "1", low: "0.6", high: "0.8", optimum: "0" }), make("span"));
  const share = depth === null || !length ? null : depth / length;
  show(cell.firstChild, share !== null);
  if (share !== null) {
    set(cell.firstChild, "value", share.toFixed(4));
    set(cell.firstChild, "aria-label", `${(100 * share).toFixed(1)} % of ${count(length)}`);
  }
  say(cell.lastChild, share === null ? NONE : `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`);
}

// ── private data ──

function privateState(picture) {
  const { status, has_key: hasKey } = picture.private;
  if (picture.reasons.some((one) => one.code === "login_refused")) return { kind: "bad", value: "login refused" };
  if (status === "none") return { kind: "unknown", value: hasKey ? "not asked for" : "no Bybit key" };
  const word = status === "authenticating" ? "logging in" : status.replace("_", " "); // one that fits a tile
  return { kind: CONNECTION_KINDS[status] ?? "unknown", value: word };
}

export function drawPrivate(picture) {
  const { private: mine, at } = picture;
  const { kind, value } = privateState(picture);
  set($("private-state"), "class", "state");
  state($("private-state"), kind, value);
  show($("private-empty"), mine.classes.length === 0);
  say($("private-empty"), mine.has_key ? "No private topic is subscribed." : "Without WSG_BYBIT_API_KEY there are public data only.");
  const columns = [["Class", "head"], ["Active", "number"], ["Events", "number"], ["Newest", "number"]];
  sync($("private"), mine.classes, (one) => one.event_class, () => makeRow(columns), (row, one) => {
    const cells = row.children;
    drawHead(cells[0], one.event_class, "", "");
    say(cells[1], `${one.active} of ${one.topics}`);
    say(cells[2], count(one.events));
    const age = since(one.last_event_at, at);
    say(cells[3], age === null ? "none yet" : `${duration(age)} ago`);
  });
  const { spool } = mine;
  const facts = [
    ["On disk", plural(spool.events, "event"), spool.events > 0],
    ["Disk taken", `${bytes(spool.size_bytes)} of ${bytes(spool.max_bytes)}`, false],
    ["Held in memory", `${plural(spool.held, "event")} that a queue refuses`, spool.held > 0],
    ["Disk", spool.error ?? "takes private events of an outage", spool.error !== null],
    ...spool.left_behind.map((one, at_) => [`Left behind ${at_ + 1}`, one, true]),
  ];
  drawFacts($("spool"), facts.filter(([name]) => name !== "Held in memory" || spool.held));
}

export function drawFacts(list, facts) {
  sync(list, facts, ([name]) => name,
    ([name]) => make("div", {}, make("dt", {}, name), make("dd")),
    (box, [, value, isAlarm]) => {
      say(box.lastChild, value);
      set(box.lastChild, "class", isAlarm ? "alarm" : "");
    });
}

// ── markers and errors ──

export function drawMarkers(markers) {
  show($("markers-empty"), markers.items.length === 0);
  const nameOf = (one) => `${one.kind} ${one.reason} ${one.endpoint} ${one.began_at}`;
  sync($("markers"), markers.items, nameOf, makeLine, (row, one) => {
    const isGap = one.kind === "gap";
    const more = one.count > one.topics.length ? ` and ${one.count - one.topics.length} more` : "";
    drawLine(row, isGap ? "warn" : "ok", clock(one.ended_at), isGap ? "gap" : "resumed", one.reason,
      `${one.endpoint} · ${plural(one.count, "stream")}`,
      isGap ? `${one.topics.join(", ")}${more}: ${one.detail}` : `${one.topics.join(", ")}${more}`);
  });
}

export function drawErrors(errors) {
  show($("errors-empty"), errors.items.length === 0);
  if (!errors.is_allowed) say($("errors-empty"), "They are shown to keys that are not bound to services.");
  const nameOf = (one) => `${one.event} ${one.first_at} ${one.level}`;
  sync($("errors"), errors.items, nameOf, makeLine, (row, one) => {
    const fields = Object.entries(one.fields).map(([name, value]) => `${name} = ${value}`).join(" · ");
    const times = one.count > 1 ? `${count(one.count)} times since ${one.first_at.slice(11, 19)}` : "";
    const isError = one.level !== "warning";
    drawLine(row, isError ? "bad" : "warn", one.at.slice(11, 19), isError ? "error" : "warning", one.event, times, fields);
  });
}

function makeLine() {
  const head = make("p", { class: "line-head" });
  head.append(make("time"), make("span", { class: "state" }), make("code"), make("span", { class: "note" }));
  return make("li", {}, head, make("p", { class: "detail" }));
}

function drawLine(row, kind, at, word, code, note, detail) {
  const [head, more] = row.children;
  set(row, "data-kind", kind);
  say(head.children[0], at);
  state(head.children[1], kind, word);
  say(head.children[2], code);
  say(head.children[3], note);
  say(more, detail);
}

export { makeRow, shape };
