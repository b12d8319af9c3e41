// The page: asks for the key, keeps the stream, and never lets old data look like new.

import { $, clock, duration, say, set, show } from "./parts.js";
import {
  drawConnections, drawErrors, drawMarkers, drawPrivate, drawQueues, drawUnknown, drawVerdict, drawVitals,
} from "./draw.js";
import { STALE_MS, Stream, key } from "./stream.js";
import { drawTopics, forget as forgetTopics } from "./topics.js";
import { openTopic, prepare, refreshTopic } from "./wishes.js";

const LATE_MS = 2000;

let picture = null;
let search = "";
let judged = null; // the picture whose verdict stands on the page
let lost = null; // {since, why, retryAt} while there is no stream

const stream = new Stream({ event, refused, lost: streamLost });

// ── what comes ──

function event(name, data) {
  if (name === "picture") {
    picture = data;
    lost = null;
    set(document.body, "data-at", data.at);
    show($("live"), true);
    show($("key"), false);
    drawVitals(data);
    drawConnections(data);
    drawQueues(data);
    drawPrivate(data);
    drawLink();
  } else if (name === "topics") {
    drawTopics(data, picture.topics, search, openTopic);
    refreshTopic(data);
  } else if (name === "markers") {
    drawMarkers(data);
  } else if (name === "errors") {
    drawErrors(data);
  }
}

// ── the link ──

function streamLost(why, retryMs) {
  lost = { since: lost?.since ?? picture?.at ?? Date.now(), why, retryAt: Date.now() + retryMs };
  show($("live"), true);
  show($("key"), false);
  drawLink();
}

function drawLink() {
  // By the picture's own time: one that came just now may have been long under way.
  const age = picture === null ? Infinity : stream.ages.of(picture.at);
  const old = age === Infinity ? "of an age that cannot be told" : `${duration(age / 1000)} old`;
  if (lost !== null) {
    const retry = Math.max(0, Math.ceil((lost.retryAt - Date.now()) / 1000));
    say($("link"), `Not connected since ${clock(lost.since)} UTC · ${retry ? `next attempt in ${retry} s` : "trying"}`);
    drawOld("Not connected", `${sentence(lost.why)} ${picture === null ? "Nothing was seen yet." : `What is below is ${old}.`}`);
  } else if (picture === null) {
    say($("link"), "Connecting…");
  } else if (age > STALE_MS) {
    say($("link"), age === Infinity ? "A clock was set" : `No news for ${duration(age / 1000)}`);
    drawOld("Not known", `The newest picture is ${old}, of ${clock(picture.at)} UTC.`);
  } else {
    say($("link"), `Live · ${clock(picture.at)} UTC${age > LATE_MS ? `, ${old}` : ""}`);
    set(document.body, "data-link", "live");
    if (judged !== picture) drawVerdict(picture);
    judged = picture;
  }
}

function drawOld(word, words) {
  set(document.body, "data-link", "lost");
  drawUnknown(word, words);
  judged = null;
}

function sentence(words) {
  return words.charAt(0).toUpperCase() + words.slice(1) + (/[.!?]$/.test(words) ? "" : ".");
}

// Every quarter of a second, and at once when the tab is looked at again after a sleep.
setInterval(() => { if (key.read()) drawLink(); }, 250);
document.addEventListener("visibilitychange", () => { if (key.read()) drawLink(); });

// ── the key ──

function refused(problem) {
  key.forget();
  askForKey(problem);
}

function askForKey(problem = null) {
  stream.stop();
  [picture, judged, lost] = [null, null, null];
  forgetTopics();
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  for (const form of document.forms) form.reset(); // nothing of one person's is left for the next
  search = "";
  set(document.body, "data-link", "nokey");
  show($("live"), false);
  show($("key"), true);
  show($("forget"), false);
  show($("subscribe-open"), false);
  show($("environment"), false);
  say($("link"), "");
  say($("foot"), "");
  document.title = "ws-gateway console";
  show($("key-problem"), problem !== null);
  say($("key-problem"), problem === null ? "" : sentence(problem.detail));
  $("key-input").value = "";
  $("key-input").focus();
}

function begin() {
  show($("forget"), true);
  show($("subscribe-open"), true);
  set(document.body, "data-link", "lost");
  say($("link"), "Connecting…");
  stream.start(search);
}

$("key-form").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  const word = $("key-input").value.trim();
  if (!word) return;
  key.keep(word);
  $("key-input").value = "";
  begin();
});
$("forget").addEventListener("click", () => {
  key.forget();
  askForKey();
});

// ── the search ──

let typing = null;
function find() {
  clearTimeout(typing);
  const words = $("search").value.trim();
  if (words === search) return;
  search = words;
  stream.start(search);
}
$("search-form").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  find();
});
$("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(find, 300);
});

prepare();
if (key.read()) begin();
else askForKey();
