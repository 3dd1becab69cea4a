// The lists that are made once: classes to paint with, and layers to look at.

import { $, make, mark, say, walk } from "/page/dom.js";

export class Lists {
  constructor(about, drawing, painter, player) {
    Object.assign(this, { about, painter, player });
    $("palette").replaceChildren(...about.classes.map((one) => {
      const swatch = make("canvas", { width: 1, height: 1 });
      const pen = swatch.getContext("2d");
      pen.fillStyle = `rgb(${one.colour.join(" ")})`;
      pen.fillRect(0, 0, 1, 1);
      return this.entry(() => this.chooseClass(one.id), {}, swatch, one.name);
    }));
    $("layers").replaceChildren(...Object.entries(about.layers).map(([name, title], n) =>
      this.entry(() => this.chooseLayer(name), { textContent: name, title: `${title} (${n + 1})` })));
    const kinds = about.classes.filter((one) => one.id !== drawing.voidId);
    $("anew").replaceChildren(...kinds.map((one) => make("option", { value: one.name, textContent: one.name })));
    const first = about.classes.find((one) => one.name === "road") || about.classes[0];
    this.chooseClass(first.id);
    this.chooseLayer("frames");
    for (const group of [$("palette"), $("layers")]) group.addEventListener("keydown", walk);
    $("search").oninput = () => this.search($("search").value);
    $("search").onkeydown = (event) => {
      if (event.key === "Enter") this.take();
    };
  }

  entry(choose, properties, ...children) {
    const button = make("button", { type: "button", ...properties }, ...children);
    button.setAttribute("role", "radio");
    button.onclick = choose;
    return button;
  }

  chooseClass(id) {
    const { painter } = this;
    painter.id = id;
    mark($("palette"), id);
    if (painter.tool === "eraser" || painter.tool === "pick") painter.choose("brush");
    say(this.about.classes[id].name);
  }

  chooseLayer(name) {
    this.player.see(name);
    mark($("layers"), Object.keys(this.about.layers).indexOf(name));
  }

  // Show the classes whose names hold a text; return the first.
  search(text) {
    const shown = [...$("palette").children];
    const part = text.trim().toLowerCase();
    shown.forEach((button, n) => (button.hidden = !this.about.classes[n].name.includes(part)));
    return shown.findIndex((button) => !button.hidden);
  }

  // Choose the class that was searched for.
  take() {
    const first = this.search($("search").value);
    if (first < 0) return say("no class of that name");
    this.chooseClass(first);
    $("search").value = "";
    this.search("");
    $("stage").focus();
  }
}
