// Four futures: this seed's and its next three.

import { $, make, walk } from "/page/dom.js";
import { Video } from "/page/server.js";

const PREVIEW_FRAMES = 9;

export class Futures {
  // ``choose`` is called with the seed of the one that was chosen.
  constructor(about, player, server, state, choose) {
    Object.assign(this, { about, player, server, state, videos: [] });
    this.buttons = Array.from({ length: 4 }, (_, n) => {
      const button = make("button", { type: "button" }, make("canvas", { width: 192, height: 96 }), make("span"));
      button.setAttribute("role", "radio");
      button.onclick = () => choose(state.first + n);
      return button;
    });
    $("futures").replaceChildren(...this.buttons);
    $("futures").addEventListener("keydown", walk);
    const turn = (now) => {
      this.turn(now);
      requestAnimationFrame(turn);
    };
    requestAnimationFrame(turn);
  }

  draw() {
    this.buttons.forEach((button, n) => {
      const seed = this.state.first + n;
      const isChosen = seed === this.state.seed;
      button.setAttribute("aria-checked", String(isChosen));
      button.tabIndex = isChosen ? 0 : -1;
      button.querySelector("span").textContent = `seed ${seed}`;
      button.setAttribute("aria-label", `Future of seed ${seed}`);
    });
  }

  // What is shown is of a picture or wishes that were changed since.
  age() {
    for (const button of this.buttons) button.classList.toggle("old", Boolean(button.video));
  }

  drop() {
    for (const one of this.videos) one.drop();
    this.videos = [];
  }

  // Ask for the others one by one, as long as it ``isWanted``; ``formOf`` makes a form of wishes.
  async show(formOf, isWanted) {
    const { player, state } = this;
    const { first } = state;
    for (const [n, button] of this.buttons.entries()) {
      if (first + n === state.seed) {
        button.video = player.video;
        button.classList.remove("old");
        continue;
      }
      const wishes = { ...player.video.wishes, seed: first + n, frames: PREVIEW_FRAMES, background: true };
      delete wishes.loop;
      const video = new Video(this.server);
      this.videos.push(video);
      video.addEventListener("told", () => video.fetch("frames"));
      video.addEventListener("frames", () => {
        button.video = video;
        button.classList.remove("old");
      });
      const form = await formOf(wishes);
      if (!isWanted()) return video.drop();
      await video.start(form);
    }
  }

  turn(now) {
    const number = Math.floor(now / (1000 / this.about.frames_per_second));
    for (const button of this.buttons) {
      const ready = button.video ? Math.min(PREVIEW_FRAMES, button.video.here("frames")) : 0;
      if (!ready) continue;
      const canvas = button.querySelector("canvas");
      const shown = this.player.isPlaying ? number % ready : 0;
      button.video.draw(canvas.getContext("2d"), "frames", shown, canvas.width, canvas.height);
    }
  }
}
