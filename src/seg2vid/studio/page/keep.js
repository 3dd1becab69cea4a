// What outlives the page: the drawing and its steps in IndexedDB, a state in a link.

import { squeeze } from "/page/png.js";

const KEPT_STEPS = 30;
const VERSION = 1;

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("seg2vid-studio", VERSION);
    request.onupgradeneeded = () => request.result.createObjectStore("tabs");
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function result(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

// Each tab keeps a drawing of its own; a new one begins with that kept last.
export class Keeper {
  async begin() {
    this.base = await open();
    this.key = sessionStorage.getItem("tab");
    // A tab that was duplicated has the name of the other, who still holds it.
    const isFree = this.key && (await this.hold(this.key));
    if (!isFree) {
      const key = this.key;
      this.key = crypto.getRandomValues(new Uint32Array(2)).join("-");
      sessionStorage.setItem("tab", this.key);
      await this.hold(this.key);
      return key ? this.read(key) : this.last();
    }
    return this.read(this.key);
  }

  hold(key) {
    if (!navigator.locks) return true; // only where a page is not served from this machine
    return new Promise((resolve) => {
      navigator.locks.request(`tab ${key}`, { ifAvailable: true }, (lock) => {
        resolve(Boolean(lock));
        return lock && new Promise(() => {}); // until the tab is closed
      });
    });
  }

  store(mode) {
    return this.base.transaction("tabs", mode).objectStore("tabs");
  }

  read(key) {
    return result(this.store("readonly").get(key));
  }

  async last() {
    const all = await result(this.store("readonly").getAll());
    return all.sort((a, b) => b.time - a.time)[0];
  }

  async write(state, drawing) {
    const { done, undone } = drawing;
    const kept = { ...state, ...drawing.copy(), done: done.slice(-KEPT_STEPS), undone: undone.slice(-KEPT_STEPS) };
    const store = this.store("readwrite");
    await result(store.put({ ...kept, time: Date.now() }, this.key));
    const keys = await result(this.store("readonly").getAllKeys());
    if (keys.length > 20) await this.tidy();
  }

  async tidy() {
    const store = this.store("readwrite");
    const [keys, values] = await Promise.all([result(store.getAllKeys()), result(store.getAll())]);
    const order = keys.map((key, n) => [values[n].time, key]).sort((a, b) => b[0] - a[0]);
    for (const [, key] of order.slice(10)) if (key !== this.key) store.delete(key);
  }
}

// A link: text and planes, squeezed, as base64 that addresses allow.
export async function toLink(state, drawing) {
  const text = new TextEncoder().encode(JSON.stringify(state));
  const { labels, objects } = drawing;
  const bytes = new Uint8Array(4 + text.length + labels.length + 2 * objects.length);
  new DataView(bytes.buffer).setUint32(0, text.length);
  bytes.set(text, 4);
  bytes.set(labels, 4 + text.length);
  const low = 4 + text.length + labels.length;
  objects.forEach((number, n) => {
    bytes[low + n] = number & 255;
    bytes[low + objects.length + n] = number >> 8;
  });
  const squeezed = await squeeze(bytes, "deflate-raw");
  let letters = "";
  for (const byte of squeezed) letters += String.fromCharCode(byte);
  return btoa(letters).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

export async function fromLink(link, width, height) {
  const letters = atob(link.replaceAll("-", "+").replaceAll("_", "/"));
  const squeezed = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
  const bytes = await squeeze(squeezed, "deflate-raw", DecompressionStream);
  const length = new DataView(bytes.buffer).getUint32(0);
  const count = width * height;
  if (bytes.length !== 4 + length + 3 * count) throw new Error("another size");
  const state = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  const low = 4 + length + count;
  const labels = bytes.slice(4 + length, low);
  const objects = Uint16Array.from({ length: count }, (_, n) => bytes[low + n] | (bytes[low + count + n] << 8));
  return { state, labels, objects };
}
