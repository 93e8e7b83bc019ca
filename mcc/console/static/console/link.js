// The token against forged requests; a log-in in another tab gives a new one.
export function csrf() {
  const cookie = document.cookie.split("; ").find((one) => one.startsWith("csrftoken="));
  return cookie?.slice("csrftoken=".length) ?? document.querySelector("[name=csrfmiddlewaretoken]").value;
}

// The answer; its `isSignedOut`: nothing was done, for whoever asks is not signed in any more. The
// redirection to the log-in page is not followed: what is there would look like a success.
export async function post(path, body, headers = {}) {
  const answer = await fetch(path, { method: "POST", redirect: "manual", headers: { "X-CSRFToken": csrf(), ...headers }, body });
  answer.isSignedOut = answer.type === "opaqueredirect" || answer.status === 401;
  return answer;
}

export const postJson = (path, value) => post(path, JSON.stringify(value), { "Content-Type": "application/json" });

// One stream for each person in a browser: the tab that holds the lock reads it and tells the others.
// A browser opens six connections to a host; with a stream in every tab the seventh would hang.
const PICTURE_AGAIN_MS = 1500;
// Three pulses missed: this screen is not live.
const STALE_MS = 7000;

export class Link {
  constructor(userId, { onPicture, onStep, onPulse, onRefused }) {
    this.on = { onPicture, onStep, onPulse, onRefused };
    this.sequence = 0;
    this.heardAt = null; // performance.now() of the last word from the site
    this.heardWall = Date.now();
    this.waiting = []; // steps that came before the picture
    this.loaded = false;
    this.first = new Promise((done) => (this.onFirst = done));
    this.name = `kentongan-${userId}`;
    this.channel = new BroadcastChannel(this.name);
    this.channel.onmessage = (event) => this.take(event.data);
  }

  start() {
    this.load();
    navigator.locks.request(this.name, async () => {
      await this.first;
      this.read();
      return new Promise(() => {});
    });
  }

  get isStale() {
    return this.heardAt === null || performance.now() - this.heardAt > STALE_MS;
  }

  get ageS() {
    return this.heardAt === null ? null : (performance.now() - this.heardAt) / 1000;
  }

  // The present state, whole. Whatever of the feed it already holds is skipped.
  async load() {
    if (this.loading) return;
    this.loading = true;
    this.loaded = false;
    while (true) {
      try {
        const answer = await fetch("/picture", { headers: { Accept: "application/json" }, redirect: "manual", cache: "no-store" });
        if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) {
          this.on.onRefused();
        } else if (answer.ok) {
          const picture = await answer.json();
          this.sequence = picture.sequence;
          this.on.onPicture(picture);
          break;
        }
      } catch {
        // The site does not answer; the screen says so by the age of its last word.
      }
      await new Promise((done) => setTimeout(done, PICTURE_AGAIN_MS));
    }
    this.loaded = true;
    this.loading = false;
    this.onFirst();
    const waiting = this.waiting;
    this.waiting = [];
    for (const one of waiting) this.take(one);
  }

  read() {
    const source = new EventSource(`/stream?after=${this.sequence}`);
    const pass = (type) => (event) => {
      const said = { type, id: Number(event.lastEventId), data: event.data ? JSON.parse(event.data) : null };
      this.channel.postMessage(said);
      this.take(said);
    };
    for (const type of ["step", "pulse", "reset"]) source.addEventListener(type, pass(type));
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) return; // it comes back by itself
      source.close();
      setTimeout(() => this.read(), PICTURE_AGAIN_MS);
      this.load();
    };
  }

  take(said) {
    if (said.type === "silence") return this.onSilence?.(said.data);
    this.heardAt = performance.now();
    this.heardWall = Date.now();
    if (said.type === "pulse") {
      this.on.onPulse(said.data);
      // A tab that woke up late, or missed what another tab passed on.
      if (this.loaded && said.data.sequence > this.sequence) this.behind = (this.behind ?? 0) + 1;
      else this.behind = 0;
      if (this.behind >= 2) {
        this.behind = 0;
        this.load();
      }
      return;
    }
    if (said.type === "reset") return void this.load();
    if (!this.loaded) {
      this.waiting.push(said);
      return;
    }
    if (said.id <= this.sequence) return;
    this.sequence = said.id;
    this.on.onStep(said.data);
  }

  tell(type, data) {
    this.channel.postMessage({ type, data });
  }
}
