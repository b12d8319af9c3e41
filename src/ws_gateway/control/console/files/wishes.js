// Subscribing and unsubscribing by hand, with the key's own rights.

import { $, count, duration, make, say, set, show, sync } from "./parts.js";
import { ask } from "./stream.js";
import { drawFacts } from "./draw.js";
import { nameOf, wordOf } from "./topics.js";

// What each channel takes; the gateway judges it, and says what would have been right.
const CHANNELS = {
  orderbook: ["symbol", "category", "depth"],
  orderbook_rpi: ["symbol", "category"],
  trades: ["symbol", "category"],
  ticker: ["symbol", "category"],
  kline: ["symbol", "category", "interval"],
  liquidation: ["symbol", "category"],
  price_limit: ["symbol", "category"],
  insurance: ["symbol"],
  adl_alert: ["symbol"],
  system_status: [],
  order: ["category"],
  execution: ["category"],
  execution_fast: ["category"],
  position: ["category"],
  balance: [],
  greeks: [],
  strategy: [],
  spread_order: [],
  spread_execution: [],
  dcp: ["category"],
};
const ALWAYS = ["channel", "requesting_service", "ttl_seconds"];
const NUMBERS = ["depth", "ttl_seconds"];
const UNREACHABLE = { detail: "The gateway cannot be reached; nothing was changed as far as is known here." };

export function prepare() {
  for (const button of document.querySelectorAll("[data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
  $("f-channel").append(...Object.keys(CHANNELS).map((one) => make("option", {}, one)));
  $("f-channel").addEventListener("change", chooseFields);
  $("subscribe-open").addEventListener("click", () => {
    tell("subscribe", null);
    chooseFields();
    $("subscribe").showModal();
    $("f-channel").focus();
  });
  $("subscribe-form").addEventListener("submit", subscribe);
  $("topic").addEventListener("close", () => { shown = null; });
}

// ── subscribe ──

function fields() {
  return [...$("subscribe-form").elements].filter((one) => one.name);
}

function chooseFields() {
  const takes = [...ALWAYS, ...CHANNELS[$("f-channel").value]];
  for (const one of fields()) show(one.closest("p"), takes.includes(one.name));
}

async function subscribe(event) {
  event.preventDefault();
  tell("subscribe", null);
  const wish = {};
  for (const one of fields()) {
    const text = one.value.trim();
    if (one.closest("p").hidden || text === "") continue;
    wish[one.name] = NUMBERS.includes(one.name) && /^-?\d+$/.test(text) ? Number(text) : text;
  }
  const button = $("subscribe-form").querySelector("[type=submit]");
  button.disabled = true;
  say(button, "Asking Bybit…");
  const { status, body } = await answerTo("POST", "/api/v1/subscriptions?wait=4", wish);
  button.disabled = false;
  say(button, "Subscribe");
  if (status !== 200 && status !== 201) {
    tell("subscribe", body);
    button.focus();
    return;
  }
  const before = status === 200 ? "It stood already: " : "";
  const category = body.category ? `, ${body.category}` : "";
  const why = body.last_error ? `: ${body.last_error}` : "";
  const done = `${before}${body.topic}${category} for ${body.requesting_service} is ${body.state}${why}.`;
  tell("subscribe", null, `${done} ${body.category && !wish.category ? body.chosen_by ?? "" : ""}`.trim());
}

// ── one topic, and who wants it ──

let shown = null;

/** Show a topic closely. */
export async function openTopic(topic) {
  shown = topic;
  say($("topic-title"), topic.topic);
  drawTopicFacts(topic);
  tell("topic", null);
  $("topic-services").replaceChildren(make("li", {}, "…"));
  $("topic").showModal();
  await listServices();
}

/** Draw an open topic anew with what came. */
export function refreshTopic(topics) {
  if (shown === null) return;
  const now = topics.items.find((one) => nameOf(one) === nameOf(shown));
  if (now) drawTopicFacts(now);
}

function drawTopicFacts(topic) {
  drawFacts($("topic-facts"), [
    ["State", wordOf(topic), topic.is_quiet || topic.state === "stalled"],
    ["Bybit says", topic.error ?? "–", topic.error !== null],
    ["Endpoint", topic.endpoint, false],
    ["Account", topic.account ?? "none, public", false],
    ["Connections", topic.connections.join(", ") || "none", topic.connections.length === 0],
    ["Newest event", topic.age_seconds === null ? "none yet" : `${duration(topic.age_seconds)} ago`, false],
    ["Events", count(topic.events), false],
  ]);
}

async function listServices() {
  const topic = shown;
  const query = new URLSearchParams({ channel: topic.channel, limit: "500" });
  if (topic.category) query.set("category", topic.category);
  if (topic.symbol) query.set("symbol", topic.symbol);
  if (topic.account) query.set("account", topic.account);
  const { status, body } = await answerTo("GET", `/api/v1/subscriptions?${query}`);
  if (shown !== topic) return;
  if (status !== 200) {
    $("topic-services").replaceChildren();
    tell("topic", body);
    return;
  }
  const rows = body.items.filter((one) => one.topic === topic.topic);
  const list = $("topic-services");
  if (list.firstChild && !list.firstChild.dataset.key) list.replaceChildren();
  sync(list, rows, (one) => one.id, makeService, () => {});
  if (rows.length === 0) list.replaceChildren(make("li", {}, "No service that this key may see."));
}

function makeService(row) {
  const about = [
    row.delivery === "dedicated" ? "queue of its own" : "shared queue",
    row.expires_at ? `ends ${row.expires_at.slice(0, 19).replace("T", " ")}` : null,
  ].filter(Boolean).join(" · ");
  const button = make("button", { type: "button" }, "Unsubscribe");
  const item = make("li", {}, make("span", {}, make("strong", {}, row.requesting_service), " ",
    make("span", { class: "note" }, about)), button);
  let isSure = false;
  button.addEventListener("click", async () => {
    if (!isSure) { // a second press: at 3 a.m. the first may be a slip
      isSure = true;
      say(button, `Yes, unsubscribe ${row.requesting_service}`);
      set(button, "class", "danger");
      return;
    }
    button.disabled = true;
    const { status, body } = await answerTo("DELETE", `/api/v1/subscriptions/${row.id}`);
    button.disabled = false;
    if (status === 204) {
      tell("topic", null, `${row.requesting_service} does not want ${row.topic} any more.`);
      $("topic").querySelector("[data-close]").focus();
      await listServices();
    } else {
      tell("topic", body);
    }
  });
  button.addEventListener("blur", () => {
    if (button.disabled) return;
    isSure = false;
    say(button, "Unsubscribe");
    set(button, "class", "");
  });
  return item;
}

// ── what became of it ──

async function answerTo(method, path, body) {
  try {
    return await ask(method, path, body);
  } catch {
    return { status: 0, body: UNREACHABLE };
  }
}

/** Show a problem with the field at fault and what would be taken, or what was done, or nothing. */
function tell(where, problem, done = "") {
  const box = $(`${where}-problem`);
  show(box, problem !== null);
  box.replaceChildren();
  show($(`${where}-done`), done !== "");
  say($(`${where}-done`), done);
  const named = where === "subscribe" ? fields() : [];
  for (const one of named) one.removeAttribute("aria-invalid");
  if (problem === null) return;
  box.append(make("strong", {}, problem.detail ?? "It was refused."));
  const at = named.find((one) => one.name === problem.field?.split(".").pop());
  const facts = [
    problem.field ? `Field: ${problem.field}.` : "",
    problem.found !== null && problem.found !== undefined ? `Found: ${problem.found}.` : "",
    problem.trace_id ? `Trace: ${problem.trace_id}` : "",
  ].filter(Boolean).join(" ");
  if (facts) box.append(make("span", { class: "note" }, facts));
  if (problem.allowed?.length) {
    const allowed = make("span", { class: "allowed" }, "Allowed: ");
    for (const value of problem.allowed.slice(0, 12)) allowed.append(choice(at, value));
    box.append(allowed);
  }
  if (at) {
    set(at, "aria-invalid", "true");
    set(at, "aria-describedby", `${where}-problem`);
  }
}

function choice(field, value) {
  if (!field || /\s/.test(value)) return make("code", {}, value);
  const button = make("button", { type: "button", class: "choice" }, value);
  button.addEventListener("click", () => {
    field.value = value;
    field.removeAttribute("aria-invalid");
    field.focus();
  });
  return button;
}
