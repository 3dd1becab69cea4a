// What may be opened to paint on: templates, label maps, photos; and the photo whose look is taken.

import { attempt, say } from "/page/dom.js";
import { emptyRoad } from "/page/drawing.js";
import { dataBlob, planesOf, shrunk } from "/page/files.js";

export class Openings {
  constructor(server, about, drawing, painter, state, photos, told) {
    Object.assign(this, { server, about, drawing, painter, state, photos, told });
  }

  begin(photo, labels, objects) {
    this.painter.paths.clear();
    this.photos.first = photo;
    this.state.begins = Boolean(photo);
    this.drawing.replace(labels, objects);
  }

  canvas(canvas) {
    this.begin(canvas.photo ? dataBlob(canvas.photo) : null, ...planesOf(canvas));
    say(canvas.notes.join("; "));
    this.told();
  }

  async template(name) {
    const { about, drawing } = this;
    if (name === "empty") {
      const id = (word) => {
        const found = about.classes.findIndex((one) => one.name === word);
        return found < 0 ? drawing.voidId : found;
      };
      const ids = { sky: id("sky"), building: id("building"), road: id("road"), sidewalk: id("sidewalk") };
      this.begin(null, emptyRoad(drawing, ids), new Uint16Array(drawing.labels.length));
      return this.told();
    }
    const seed = name === "toycity" ? `?seed=${Math.floor(Math.random() * 1e6)}` : "";
    const place = `/api/templates/${encodeURIComponent(name)}${seed}`;
    await attempt(async () => this.canvas(await this.server.json(place)), "Opening…");
  }

  async file(file) {
    await attempt(async () => {
      const form = new FormData();
      // A photo may be scaled, a label map never: its ids would mix.
      const isPhoto = /jpe?g|heic|avif/.test(file.type);
      form.append("picture", isPhoto ? await shrunk(file) : file, "picture");
      this.canvas(await this.server.json("/api/canvas", { method: "POST", body: form }));
    }, "Reading…");
  }

  async look(file) {
    await attempt(async () => {
      this.photos.look = await shrunk(file);
      this.state.begins = false;
      this.told();
    });
  }
}
