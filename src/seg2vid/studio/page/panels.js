// The panels of wishes: how camera and objects move, what is painted anew, whose look is taken.

import { $, make } from "/page/dom.js";

const SWITCHES = { steer: "steers", loop: "loop", begin: "begins" };
const NUMBERS = ["forward", "turn", "speed", "seconds"];

export class Panels {
  // ``told`` is called when a wish changed.
  constructor(about, drawing, painter, state, photos, told) {
    Object.assign(this, { about, drawing, painter, state, photos, told });
    this.listen();
  }

  draw() {
    const { drawing, photos, state } = this;
    this.drawClasses();
    this.drawPaths();
    for (const [id, name] of Object.entries(SWITCHES)) $(id).checked = state[name];
    for (const name of [...NUMBERS, "seed"]) $(name).value = state[name];
    $("forward-text").textContent = `${state.forward} m/s`;
    $("turn-text").textContent = `${state.turn} °/s`;
    $("speed-text").textContent = `${state.speed}×`;
    $("camera").classList.toggle("off", !state.steers);
    $("knob").style.left = `${((state.turn + 30) / 60) * 100}%`;
    $("knob").style.top = `${100 - ((state.forward + 5) / 25) * 100}%`;
    $("begin-row").hidden = !photos.first;
    $("look-clear").hidden = !photos.look;
    $("look-name").textContent = photos.look ? "a photo's light, weather and materials" : "";
    $("anew-list").textContent = state.anew.length ? `anew: ${state.anew.join(", ")}` : "";
    $("anew-clear").hidden = !state.anew.length;
    $("undo").disabled = !drawing.done.length;
    $("redo").disabled = !drawing.undone.length;
  }

  // Speeds and freezing of the classes that are painted.
  drawClasses() {
    const { about, drawing, state } = this;
    const present = drawing.present();
    const there = about.classes.filter((one) => present.has(one.id) && one.id !== drawing.voidId);
    const signature = there.map((one) => one.id).join();
    if (this.signature !== signature) {
      this.signature = signature;
      const moving = there.filter((one) => one.moves);
      $("speeds").replaceChildren(...moving.map((one) => this.speedOf(one)));
      $("freeze").replaceChildren(...there.map((one) => this.freezeOf(one)));
      if (!there.length) $("freeze").append(make("span", { className: "hint", textContent: "Nothing is painted yet." }));
    }
    for (const label of $("speeds").children) label.show();
    for (const label of $("freeze").querySelectorAll("input")) label.checked = state.freeze.includes(label.name);
  }

  drawPaths() {
    const { drawing, painter } = this;
    const items = [...painter.paths].map(([number]) => [number, drawing.objectOf(number)]).filter(([, one]) => one);
    $("paths").replaceChildren(...items.map(([number, object]) => {
      const button = make("button", { type: "button", textContent: "Remove" });
      button.setAttribute("aria-label", `Remove the path of ${object.name}`);
      button.onclick = () => {
        painter.paths.delete(number);
        painter.drawOver();
        this.told();
      };
      return make("li", {}, make("span", { textContent: object.name }), button);
    }));
    $("no-paths").hidden = items.length > 0;
  }

  speedOf(one) {
    const { state } = this;
    const input = make("input", { type: "range", min: "0", max: "3", step: "0.1" });
    const output = make("output");
    const label = make("label", {}, `Of each ${one.name} `, input, output);
    label.show = () => {
      const share = state.shares[one.name] ?? 1;
      input.value = share;
      output.textContent = share ? `${share}×` : "still";
    };
    input.oninput = () => this.wish({ shares: { ...state.shares, [one.name]: Number(input.value) } });
    return label;
  }

  freezeOf(one) {
    const input = make("input", { type: "checkbox", name: one.name });
    input.onchange = () => {
      const others = this.state.freeze.filter((name) => name !== one.name);
      this.wish({ freeze: others.concat(input.checked ? one.name : []) });
    };
    return make("label", { className: "inline" }, input, one.name);
  }

  wish(changed) {
    Object.assign(this.state, changed);
    this.told();
  }

  listen() {
    const { photos, state } = this;
    for (const [id, name] of Object.entries(SWITCHES)) $(id).onchange = () => this.wish({ [name]: $(id).checked });
    for (const id of NUMBERS)
      $(id).oninput = () => {
        const steers = state.steers || id === "forward" || id === "turn";
        this.wish({ [id]: Number($(id).value), steers });
      };
    const steer = (event) => {
      if (!(event.buttons & 1)) return;
      $("pad").setPointerCapture(event.pointerId);
      const box = $("pad").getBoundingClientRect();
      const across = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      const up = 1 - Math.min(1, Math.max(0, (event.clientY - box.top) / box.height));
      this.wish({ turn: Math.round(across * 60 - 30), forward: Math.round(up * 50 - 10) / 2, steers: true });
    };
    $("pad").onpointerdown = $("pad").onpointermove = steer;
    $("look-clear").onclick = () => {
      photos.look = null;
      this.told();
    };
    $("roll").onclick = () => {
      const name = $("anew").value;
      const anew = state.anew.includes(name) ? state.anew : [...state.anew, name];
      this.wish({ anew, anewSeed: state.anewSeed + 1 });
    };
    $("anew-clear").onclick = () => this.wish({ anew: [], anewSeed: 0 });
  }
}
