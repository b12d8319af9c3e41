// How old a picture is, although the browser's clock and the gateway's differ.

const TOLERANCE_MS = 250;
const KEPT = 5;

// One of them may be set by hand, the other may sleep with the machine; the older word counts.
const CLOCKS = [() => Date.now(), () => performance.now()];

/**
 * By how much the clocks here are ahead of the gateway's, at least.
 *
 * The gateway reads its clock after it was asked: so ours is ahead by no less than the moment of
 * asking less what was read. An age by that is the true one or more, never less.
 */
export class Ages {
  #heard = []; // of the newest streams, by clock: {least, most} ms ahead

  /** What the clocks here say, to be handed to `hear` with the answer. */
  read() {
    return CLOCKS.map((clock) => clock());
  }

  /** Note that the gateway's clock stood at `at` at some moment since `asked`. */
  hear(asked, at) {
    const told = Date.parse(at);
    const now = this.read();
    const found = CLOCKS.map((_, n) => ({ least: asked[n] - told, most: now[n] - told }));
    // What contradicts this is from before a clock was set.
    const kept = this.#heard.filter((old) => old.every((one, n) => one.least <= found[n].most + TOLERANCE_MS));
    this.#heard = [found, ...kept].slice(0, KEPT);
  }

  /** How old what was taken at `at` is at most, in ms; Infinity where that cannot be told. */
  of(at) {
    const told = Date.parse(at);
    const ages = this.read().map((now, n) => now - told - Math.max(...this.#heard.map((one) => one[n].least)));
    const age = Math.max(...ages);
    return this.#heard.length === 0 || Number.isNaN(age) || age < -TOLERANCE_MS ? Infinity : Math.max(0, age);
  }
}
