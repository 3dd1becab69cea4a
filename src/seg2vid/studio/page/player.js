// Plays a video while it is still being made.

import { $ } from "/page/dom.js";

export class Player extends EventTarget {
  constructor(canvas, width, height, rate) {
    super();
    Object.assign(this, { canvas, width, height, rate, layer: "frames", compares: false, split: 0.5 });
    this.isPlaying = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.number = 0;
    this.video = null;
    this.since = 0;
    canvas.width = 2 * width;
    canvas.height = 2 * height;
    this.pen = canvas.getContext("2d");
    this.pen.fillStyle = "#777";
    this.pen.fillRect(0, 0, canvas.width, canvas.height);
    const turn = (now) => {
      this.turn(now);
      requestAnimationFrame(turn);
    };
    requestAnimationFrame(turn);
  }

  get layers() {
    return new Set(["frames", this.layer, ...(this.compares ? ["labels"] : [])]);
  }

  get ready() {
    return this.video ? this.video.here("frames") : 0;
  }

  // Take another video once its first frames are here; the last one plays until then.
  take(video) {
    const show = () => {
      if (this.next !== video) return;
      this.next = null;
      this.video?.drop();
      this.video = video;
      this.number = 0;
      this.dispatchEvent(new Event("video"));
    };
    this.next?.drop();
    this.next = video;
    video.addEventListener("told", () => this.follow(video));
    video.addEventListener("frames", (event) => {
      if (event.detail === "frames" && this.next === video) show();
      if (this.video === video) this.draw();
      this.dispatchEvent(new Event("frame"));
    });
  }

  follow(video) {
    if (video === this.video || video === this.next) for (const layer of this.layers) video.fetch(layer);
  }

  see(layer) {
    this.layer = layer;
    if (this.video) this.follow(this.video);
    this.draw();
  }

  compare(isSo, split) {
    this.compares = isSo;
    this.split = split;
    if (this.video) this.follow(this.video);
    this.draw();
  }

  play(isPlaying = !this.isPlaying) {
    this.isPlaying = isPlaying;
    this.dispatchEvent(new Event("frame"));
  }

  go(number) {
    if (!this.ready) return;
    this.number = Math.max(0, Math.min(this.ready - 1, number));
    this.draw();
    this.dispatchEvent(new Event("frame"));
  }

  turn(now) {
    if (!this.isPlaying || this.ready < 2 || now - this.since < 1000 / this.rate) return;
    this.since = now;
    const isWaiting = this.number >= this.ready - 1 && !this.video.isOver;
    if (isWaiting && this.ready < this.video.told.total) return;
    this.number = (this.number + 1) % this.ready;
    this.draw();
    this.dispatchEvent(new Event("frame"));
  }

  draw() {
    const { pen, canvas, video } = this;
    if (!video) return;
    const { width, height } = canvas;
    const isThere = video.draw(pen, this.layer, this.number, width, height) || video.draw(pen, "frames", this.number, width, height);
    if (!isThere || !this.compares) return;
    pen.save();
    pen.beginPath();
    pen.rect(0, 0, width * this.split, height);
    pen.clip();
    pen.imageSmoothingEnabled = false;
    video.draw(pen, "labels", this.number, width, height);
    pen.restore();
  }
}

// The bar below: play, time, and how much of the labels lies over the frame.
export function playBar(player) {
  $("play").onclick = () => player.play();
  $("scrub").oninput = () => {
    const number = Number($("scrub").value); // pausing shows the frame that plays
    player.play(false);
    player.go(number);
  };
  $("compare").onchange = $("split").oninput = () => {
    const isSo = $("compare").checked;
    $("split").disabled = !isSo;
    $("divider").hidden = !isSo;
    $("divider").style.left = `${$("split").value}%`;
    player.compare(isSo, Number($("split").value) / 100);
  };
  player.addEventListener("frame", () => {
    const { ready, number, rate } = player;
    $("scrub").max = Math.max(0, ready - 1);
    $("scrub").value = number;
    $("time").textContent = ready ? `${(number / rate).toFixed(2)} s, frame ${number}` : "0.00 s";
    $("play").textContent = player.isPlaying ? "❚❚" : "▶";
  });
}
