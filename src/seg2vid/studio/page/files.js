// Files and text that come in and go out.

import { make, say } from "/page/dom.js";

const LARGEST_PHOTO = 2048; // pixels on its longer side; larger ones are scaled here

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

// Labels and objects of a canvas that the server read.
export function planesOf(canvas) {
  return [bytesOf(canvas.labels), new Uint16Array(bytesOf(canvas.instances).buffer)];
}

export function dataBlob(address) {
  return new Blob([bytesOf(address.split(",")[1])], { type: "image/png" });
}

// A photo as it is, or scaled where it is large.
export async function shrunk(file) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap || Math.max(bitmap.width, bitmap.height) <= LARGEST_PHOTO) return file;
  const share = LARGEST_PHOTO / Math.max(bitmap.width, bitmap.height);
  const canvas = new OffscreenCanvas(Math.round(bitmap.width * share), Math.round(bitmap.height * share));
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/png" });
}

export function download(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

export async function copy(text, what) {
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else {
    const field = make("textarea", { value: text });
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  say(`copied: ${what}`);
}
