// Requests to the server, and what is said when it is gone.

const PATIENCE = 1500; // ms between looks whether the server is back

class Refusal extends Error {
  constructor(text, status) {
    super(text);
    this.status = status;
  }
}

export class Server extends EventTarget {
  isGone = false;

  async ask(path, options = {}) {
    let answer;
    try {
      answer = await fetch(path, options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      this.lose();
      throw new Refusal("The studio's server does not answer.", 0);
    }
    if (answer.ok) return answer;
    let text = `The server answered ${answer.status}.`;
    try {
      text = (await answer.json()).error;
    } catch {
      // It was no answer of ours.
    }
    throw new Refusal(text, answer.status);
  }

  async json(path, options) {
    return (await this.ask(path, options)).json();
  }

  lose() {
    if (this.isGone) return;
    this.isGone = true;
    this.dispatchEvent(new Event("gone"));
    const look = async () => {
      try {
        const answer = await fetch("/api/about", { cache: "no-store" });
        if (answer.status === 401) return this.dispatchEvent(new Event("other"));
        this.isGone = false;
        this.dispatchEvent(new Event("back"));
      } catch {
        setTimeout(look, PATIENCE);
      }
    };
    setTimeout(look, PATIENCE);
  }
}

// One video on the server, from the request until nobody wants it.
export class Video extends EventTarget {
  constructor(server) {
    super();
    this.server = server;
    this.stopper = new AbortController();
    this.told = { state: "sending", place: 0, ready: 0, total: 1 };
    this.strips = new Map(); // by layer: [{ begin, end, bitmap }]
    this.asked = new Map(); // by layer: frames asked for
  }

  async start(form) {
    const { signal } = this.stopper;
    try {
      const told = await this.server.json("/api/videos", { method: "POST", body: form, signal });
      this.id = told.id;
      if (signal.aborted) return this.drop();
      this.hear(told);
      this.events = new EventSource(`/api/videos/${this.id}/events`);
      this.events.onmessage = (event) => this.hear(JSON.parse(event.data));
      this.events.onerror = () => this.miss();
    } catch (error) {
      if (error.name !== "AbortError") this.fail(error);
    }
  }

  fail(error) {
    this.told = { ...this.told, state: "failed", error: error.message, status: error.status };
    this.dispatchEvent(new Event("told"));
  }

  hear(told) {
    if (this.stopper.signal.aborted) return;
    this.told = told;
    if (told.state === "done" || told.state === "failed" || told.state === "cancelled") this.events?.close();
    this.dispatchEvent(new Event("told"));
  }

  // The stream broke off: the server is gone, or has forgotten the video.
  async miss() {
    this.events.close();
    if (this.told.state === "done" || this.stopper.signal.aborted) return;
    try {
      this.hear(await this.server.json(`/api/videos/${this.id}`));
    } catch (error) {
      this.fail(error);
    }
  }

  get isOver() {
    return ["done", "failed", "cancelled"].includes(this.told.state);
  }

  // Fetch what is ready of a layer and not here yet.
  async fetch(layer) {
    const begin = this.asked.get(layer) || 0;
    const end = this.told.ready;
    if (begin >= end || !this.id || this.stopper.signal.aborted) return;
    this.asked.set(layer, end);
    try {
      const path = `/api/videos/${this.id}/layers/${layer}?begin=${begin}&end=${end}`;
      const answer = await this.server.ask(path, { signal: this.stopper.signal });
      const bitmap = await createImageBitmap(await answer.blob());
      if (!this.strips.has(layer)) this.strips.set(layer, []);
      this.strips.get(layer).push({ begin, end, bitmap });
      this.dispatchEvent(new CustomEvent("frames", { detail: layer }));
    } catch (error) {
      if (error.name === "AbortError") return;
      this.asked.set(layer, begin);
      if (error.status === 404) this.fail(error);
    }
  }

  // Draw a frame of a layer; say whether it is here.
  draw(pen, layer, number, width, height) {
    const strip = this.strips.get(layer)?.find((one) => one.begin <= number && number < one.end);
    if (!strip) return false;
    const tall = strip.bitmap.height / (strip.end - strip.begin);
    const top = (number - strip.begin) * tall;
    pen.drawImage(strip.bitmap, 0, top, strip.bitmap.width, tall, 0, 0, width, height);
    return true;
  }

  here(layer) {
    return Math.max(0, ...(this.strips.get(layer) || []).map((one) => one.end));
  }

  // Nobody looks at it any more.
  drop() {
    this.stopper.abort();
    this.events?.close();
    for (const strips of this.strips.values()) for (const one of strips) one.bitmap.close();
    this.strips.clear();
    if (this.id && !this.server.isGone)
      fetch(`/api/videos/${this.id}`, { method: "DELETE", keepalive: true }).catch(() => {});
  }
}
