// The stream of pictures: read with fetch, because EventSource can send no key.

import { Ages } from "./age.js";

/** What is older is not shown as the present; with the second between two pictures that is 5 s. */
export const STALE_MS = 4000;
const SILENT_MS = 5000; // the stream is cut if nothing comes for so long; a picture is due each second
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 5000;
const LAGGING_MS = 2000; // so much later than the first picture of a stream: a new one would be faster
const LONGEST_EVENT = 4 * 1024 * 1024;
const KEY = "ws-gateway-key";

export const key = {
  read: () => sessionStorage.getItem(KEY),
  keep: (word) => sessionStorage.setItem(KEY, word),
  forget: () => sessionStorage.removeItem(KEY),
};

/** Ask the API; answers {status, body}, and throws a TypeError if it cannot be reached. */
export async function ask(method, path, body) {
  const headers = { "X-API-Key": asBytes(key.read() ?? "") };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, {
    method,
    headers,
    cache: "no-store",
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  return { status: answer.status, body: text ? JSON.parse(text) : null };
}

// A header holds bytes; a key may hold any letter.
function asBytes(word) {
  return String.fromCharCode(...new TextEncoder().encode(word));
}

/**
 * Keeps a stream open, and says what comes and what became of it.
 *
 * on.event(name, data), on.refused(problem) when the key is not taken (it stops then),
 * on.lost(why, retryInMs) when there is no stream.
 */
export class Stream {
  /** How old what came is. */
  ages = new Ages();

  #on;
  #search = "";
  #run = null;
  #failures = 0;

  constructor(on) {
    this.#on = on;
  }

  start(search = this.#search) {
    this.stop();
    this.#search = search;
    this.#run = new AbortController();
    this.#failures = 0;
    this.#keepOpen(this.#run.signal);
  }

  stop() {
    this.#run?.abort();
    this.#run = null;
  }

  async #keepOpen(signal) {
    while (!signal.aborted) {
      let why = "the stream ended";
      let wait = null;
      try {
        const refusal = await this.#watch(signal);
        if (refusal === null) continue; // it ended as announced: go on at once
        if (refusal.status === 401 || refusal.status === 403) {
          this.#on.refused(refusal.problem);
          return;
        }
        why = refusal.problem.detail;
        wait = refusal.wait;
      } catch (error) {
        if (signal.aborted) return;
        why = error instanceof Cut ? error.message : "the gateway cannot be reached";
      }
      this.#failures += 1;
      const backoff = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** (this.#failures - 1));
      wait ??= backoff;
      this.#on.lost(why, wait);
      await new Promise((done) => {
        setTimeout(done, wait);
        signal.addEventListener("abort", done, { once: true });
      });
    }
  }

  /** Read one stream to its end; answers null if that was announced, else why there was none. */
  async #watch(signal) {
    const cut = new AbortController();
    const stop = () => cut.abort();
    signal.addEventListener("abort", stop);
    let watchdog = setTimeout(stop, SILENT_MS);
    try {
      const query = new URLSearchParams({ search: this.#search });
      const asked = this.ages.read();
      let first = null; // how late the first picture was: so long the way takes
      const answer = await fetch(`/api/v1/live?${query}`, {
        headers: { "X-API-Key": asBytes(key.read() ?? ""), Accept: "text/event-stream" },
        cache: "no-store",
        signal: cut.signal,
      });
      if (!answer.ok) return await refusalOf(answer);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) throw new Cut("the stream was cut");
        clearTimeout(watchdog);
        watchdog = setTimeout(stop, SILENT_MS);
        const parts = (rest + value).split("\n\n");
        rest = parts.pop();
        if (rest.length > LONGEST_EVENT) throw new Cut("the stream makes no sense");
        for (const part of parts) {
          const [name, data] = parse(part);
          if (name === "end") return null;
          if (name === "begin") this.ages.hear(asked, data.at);
          else if (!signal.aborted) this.#on.event(name, data);
          if (name !== "picture") continue;
          const age = this.ages.of(data.at);
          first ??= age;
          if (age > Math.max(STALE_MS, first + LAGGING_MS)) throw new Cut("what came was of long ago");
          this.#failures = 0;
        }
      }
    } catch (error) {
      if (cut.signal.aborted && !signal.aborted) throw new Cut("nothing comes any more");
      throw error;
    } finally {
      clearTimeout(watchdog);
      signal.removeEventListener("abort", stop);
      cut.abort();
    }
  }
}

class Cut extends Error {}

function parse(part) {
  let name = "message";
  let data = "";
  for (const line of part.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    else if (line.startsWith("data: ")) data += line.slice(6);
  }
  return [name, JSON.parse(data)];
}

async function refusalOf(answer) {
  let problem = { detail: `the gateway answered ${answer.status}`, code: "unknown" };
  try {
    problem = await answer.json();
  } catch {
    // something between us and the gateway answered; its status says all there is
  }
  const seconds = Number(answer.headers.get("Retry-After"));
  return { status: answer.status, problem, wait: seconds > 0 ? seconds * 1000 : null };
}
