// Keys that hold everywhere but in fields.

import { $ } from "/page/dom.js";
import { Painter } from "/page/painter.js";

export function keysOf({ about, drawing, painter, player, lists, setSize }) {
  return (event) => {
    const isField = event.target.matches("input:not([type=range]):not([type=checkbox]), select, textarea, pre");
    if ((event.ctrlKey || event.metaKey) && !isField) {
      const key = event.key.toLowerCase();
      if (key === "z" || key === "y") {
        (key === "y" || event.shiftKey ? drawing.redo() : drawing.undo());
        event.preventDefault();
      }
      return;
    }
    if (isField || event.altKey || event.ctrlKey || event.metaKey || $("keys").open) return;
    const tool = Painter.toolOf(event.key);
    const actions = {
      "[": () => setSize(painter.size - 1),
      "]": () => setSize(painter.size + 1),
      "+": () => painter.zoomBy(1),
      "=": () => painter.zoomBy(1),
      "-": () => painter.zoomBy(-1),
      "/": () => $("search").focus(),
      k: () => player.play(),
      ",": () => player.play(false) ?? player.go(player.number - 1),
      ".": () => player.play(false) ?? player.go(player.number + 1),
      "?": () => $("keys").showModal(),
    };
    const layer = Object.keys(about.layers)[Number(event.key) - 1];
    if (tool) painter.choose(tool);
    else if (layer) lists.chooseLayer(layer);
    else if (actions[event.key]) actions[event.key]();
    else return;
    event.preventDefault();
  };
}
