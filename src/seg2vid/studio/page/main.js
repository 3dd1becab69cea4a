// The page: what is painted is sent as soon as painting pauses, and plays as it is made.

import { $, attempt, progress, say, trouble, veil } from "/page/dom.js";
import { Drawing } from "/page/drawing.js";
import { copy, download } from "/page/files.js";
import { Futures } from "/page/futures.js";
import { Keeper, fromLink, toLink } from "/page/keep.js";
import { keysOf } from "/page/keys.js";
import { Lists } from "/page/lists.js";
import { Openings } from "/page/openings.js";
import { Painter } from "/page/painter.js";
import { Panels } from "/page/panels.js";
import { Player, playBar } from "/page/player.js";
import { greyPng, palettePng } from "/page/png.js";
import { Server, Video } from "/page/server.js";
import { START, tidied, tidiedPaths, toWishes, usualGround } from "/page/wishes.js";

const PAUSE = 120; // ms without a change after which a video is asked for
const REST = 500; // ms after a video until its three siblings are asked for
const LONGEST_LINK = 300000;

const server = new Server();
let about, drawing, painter, player, panels, futures, ground, keeper, lists, openings;
const state = structuredClone(START);
const photos = { first: null, look: null };
let timer = 0;
let siblingTimer = 0;
let changes = 0;

// Asking for videos.
function labelsPng() {
  const values = about.classes.map((one) => [one.value, one.colour]);
  return palettePng(drawing.width, drawing.height, drawing.values(), values);
}

async function formOf(wishes) {
  const { width, height } = drawing;
  const form = new FormData();
  form.append("labels", await labelsPng(), "labels.png");
  if (drawing.objects.some(Boolean))
    form.append("instances", await greyPng(width, height, drawing.objects), "instances.png");
  if (photos.first && state.begins) form.append("first_frame", photos.first, "photo.png");
  else if (photos.look) form.append("look", photos.look, "look");
  form.append("wishes", JSON.stringify(wishes));
  return form;
}

// Something changed that the video shows: ask once it rests.
function changed() {
  changes++;
  $("hint").hidden = drawing.labels.some((id) => id !== drawing.voidId);
  futures.age();
  clearTimeout(timer);
  clearTimeout(siblingTimer);
  timer = setTimeout(run, PAUSE);
}

async function run() {
  clearTimeout(timer);
  futures.drop();
  if (!painter.begun) drawing.settle();
  if (drawing.labels.every((id) => id === drawing.voidId)) {
    player.next?.drop();
    player.next = null;
    return veil("Paint something: it will move here.");
  }
  const video = new Video(server);
  video.wishes = toWishes(state, drawing, painter.paths, about, ground);
  video.change = changes;
  video.addEventListener("told", () => follow(video));
  player.take(video);
  follow(video);
  const form = await formOf(video.wishes);
  if (player.next === video) video.start(form);
}

function follow(video) {
  if (video !== player.next && video !== player.video) return;
  const { told } = video;
  const share = told.state === "done" ? 1 : told.ready / told.total;
  $("progress").value = share;
  $("cancel").hidden = video.isOver;
  if (told.state === "failed") {
    if (told.status === 404) return changed(); // forgotten: ask again
    if (told.status === 503 || !told.status) setTimeout(() => video.change === changes && !server.isGone && changed(), 3000);
    if (told.status !== 0) trouble(told.error);
    return progress("not made");
  }
  if (told.state === "sending") return progress("sending…");
  if (told.state === "waiting") return progress(`number ${told.place} in the queue`);
  if (told.state === "cancelled") return progress("stopped");
  trouble("");
  if (told.state === "working") return progress(told.ready ? `${told.ready} of ${told.total} frames` : "painting…");
  progress(`${told.total} frames in ${told.seconds.toFixed(1)} s`);
  learnGround(video);
  if (!$("take").hidden && $("take").open) showRecipe();
  clearTimeout(siblingTimer);
  siblingTimer = setTimeout(() => {
    const mine = changes;
    futures.show(formOf, () => mine === changes);
  }, REST);
}

async function learnGround(video) {
  if (painter.tool !== "path" && !painter.guided && !painter.paths.size) return;
  try {
    const found = await server.json(`/api/videos/${video.id}/ground`, { signal: video.stopper.signal });
    ground = found;
    painter.horizon = found.horizon / drawing.height;
    painter.drawOver();
  } catch {
    // It stays as it was: the usual ground serves too.
  }
}

function chooseSeed(seed, isNew) {
  state.seed = seed;
  if (isNew) state.first = seed;
  $("seed").value = seed;
  futures.draw();
  changed();
  keep();
}

function drawPanels() {
  panels.draw();
  futures.draw();
}

// A wish changed.
function told() {
  drawPanels();
  changed();
  keep();
}

// What outlives the page.
let keepTimer = 0;
function keep() {
  clearTimeout(keepTimer);
  keepTimer = setTimeout(keepNow, 300);
}
async function keepNow() {
  clearTimeout(keepTimer);
  try {
    await keeper?.write({ state, paths: [...painter.paths], photos, size: [drawing.width, drawing.height] }, drawing);
  } catch (error) {
    say(`the browser keeps nothing: ${error.message}`);
  }
}

function takeState(kept) {
  Object.assign(state, tidied(kept.state || {}, about.classes));
  painter.paths = tidiedPaths(kept.paths);
}

// Beginnings.
async function begin() {
  about = await server.json("/api/about");
  for (const name of about.templates.filter((one) => one !== "street")) $("template").append(new Option(name, name));
  drawing = new Drawing(about.width, about.height, about.classes);
  painter = new Painter(drawing, $("stage"));
  player = new Player($("screen"), about.width, about.height, about.frames_per_second);
  panels = new Panels(about, drawing, painter, state, photos, told);
  futures = new Futures(about, player, server, state, chooseSeed);
  ground = usualGround(drawing);
  const licence = about.licence ? `, ${about.licence}` : "";
  $("about").textContent = `seg2vid ${about.version}, model ${about.model} (${about.label_space}${licence})`;
  lists = new Lists(about, drawing, painter, player);
  openings = new Openings(server, about, drawing, painter, state, photos, told);
  listen();
  playBar(player);
  const link = location.hash.startsWith("#s=") ? location.hash.slice(3) : "";
  const hasLink = link && (await openLink(link));
  try {
    keeper = new Keeper();
    const kept = await keeper.begin();
    if (!hasLink && kept && String(kept.size) === String([drawing.width, drawing.height])) openKept(kept);
  } catch {
    keeper = null; // a browser that keeps nothing
  }
  drawPanels();
  document.body.dataset.state = "ready";
  if (drawing.labels.some((id) => id !== drawing.voidId)) changed();
}

function openKept(kept) {
  takeState(kept);
  Object.assign(photos, kept.photos);
  drawing.done = kept.done;
  drawing.undone = kept.undone;
  drawing.restore(kept);
}

async function openLink(link) {
  try {
    if (link.length > LONGEST_LINK) throw new Error("too long");
    const found = await fromLink(link, drawing.width, drawing.height);
    if (found.labels.some((id) => id > drawing.voidId)) throw new Error("other classes");
    takeState(found.state);
    drawing.replace(found.labels, found.objects);
    return true;
  } catch (error) {
    trouble(`The link does not open here (${error.message}): it was made for another model, or is cut off. Ask for it again.`);
    return false;
  } finally {
    history.replaceState(null, "", location.pathname);
  }
}

async function showRecipe() {
  const { video } = player;
  if (!video?.id || server.isGone) return;
  await attempt(async () => {
    const recipe = await server.json(`/api/videos/${video.id}/recipe`, { signal: video.stopper.signal });
    $("command").textContent = recipe.command;
    $("python").textContent = recipe.python;
  });
}

async function save(ending) {
  await attempt(async () => {
    if (!player.video?.id) throw new Error("Nothing is painted yet: paint something, then save it.");
    const answer = await server.ask(`/api/videos/${player.video.id}/scene.${ending}`);
    download(await answer.blob(), `scene.${ending}`);
    say(`saved scene.${ending}`);
  }, `Making scene.${ending}…`);
}

function setSize(size) {
  painter.size = Math.min(48, Math.max(1, size));
  $("size").value = painter.size;
  painter.drawOver();
}

function listen() {
  drawing.addEventListener("change", () => changed());
  drawing.addEventListener("step", () => {
    drawPanels();
    keep();
  });
  painter.addEventListener("pick", (event) => lists.chooseClass(event.detail));
  painter.addEventListener("say", (event) => say(event.detail));
  painter.addEventListener("paths", told);
  painter.addEventListener("tool", () => {
    for (const button of $("tools").querySelectorAll("[data-tool]"))
      button.setAttribute("aria-pressed", String(button.dataset.tool === painter.tool));
    if (painter.tool === "path" && player.video?.told.state === "done") learnGround(player.video);
  });
  player.addEventListener("video", () => {
    veil("");
    document.body.dataset.videos = Number(document.body.dataset.videos || 0) + 1;
  });
  for (const button of $("tools").querySelectorAll("[data-tool]")) button.onclick = () => painter.choose(button.dataset.tool);
  $("undo").onclick = () => drawing.undo();
  $("redo").onclick = () => drawing.redo();
  $("zoom-in").onclick = () => painter.zoomBy(1);
  $("zoom-out").onclick = () => painter.zoomBy(-1);
  $("size").oninput = () => setSize(Number($("size").value));
  $("guide").onchange = () => {
    painter.guided = $("guide").checked;
    painter.drawOver();
    if (painter.guided && player.video?.told.state === "done") learnGround(player.video);
  };
  $("mirror").onchange = () => (painter.mirrored = $("mirror").checked);
  $("template").onchange = async () => {
    const name = $("template").value;
    $("template").value = "";
    if (name) await openings.template(name);
  };
  for (const [button, input, take] of [["import", "import-file", "file"], ["look-photo", "look-file", "look"]]) {
    $(button).onclick = () => $(input).click();
    $(input).onchange = async () => {
      const [file] = $(input).files;
      $(input).value = "";
      if (file) await openings[take](file);
    };
  }
  for (const name of ["dragover", "drop"])
    addEventListener(name, (event) => {
      event.preventDefault();
      const [file] = name === "drop" ? event.dataTransfer.files : [];
      if (file) openings.file(file);
    });
  $("export").onclick = async () => download(await labelsPng(), "labels.png");
  $("copy-link").onclick = () => attempt(async () => {
    const link = await toLink({ state, paths: [...painter.paths] }, drawing);
    await copy(`${location.origin}/#s=${link}`, photos.look || photos.first ? "a link, without the photo" : "a link to this state");
  });
  $("theme").onclick = () => {
    const isDark = document.documentElement.dataset.theme
      ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = isDark ? "light" : "dark";
    localStorage.setItem("theme", document.documentElement.dataset.theme);
  };
  $("help").onclick = () => $("keys").showModal();
  $("trouble").querySelector("button").onclick = () => trouble("");
  $("cancel").onclick = () => {
    clearTimeout(timer);
    const video = player.next || player.video;
    video?.stopper.abort();
    if (video?.id) fetch(`/api/videos/${video.id}`, { method: "DELETE" }).catch(() => server.lose());
    video?.events?.close();
    if (video) video.told = { ...video.told, state: "cancelled" };
    if (video === player.next) player.next = null;
    $("cancel").hidden = true;
    progress("stopped");
  };
  $("others").onclick = () => chooseSeed(state.first + 4, true);
  $("seed").onchange = () => chooseSeed(Math.min(999999999, Math.max(0, Math.floor(Number($("seed").value) || 0))), true);
  $("take").ontoggle = () => $("take").open && showRecipe();
  for (const button of $("saves").children) button.onclick = () => save(button.dataset.ending);
  for (const button of document.querySelectorAll("[data-copy]"))
    button.onclick = () => copy($(button.dataset.copy).textContent, button.dataset.copy);
  server.addEventListener("gone", () => {
    $("gone").hidden = false;
    $("gone").textContent = "The studio's server is gone. Start it again with: seg2vid studio. Your picture is safe here, and you may go on painting.";
  });
  server.addEventListener("back", () => {
    $("gone").hidden = true;
    changed();
  });
  server.addEventListener("other", () => {
    $("gone").hidden = false;
    $("gone").textContent = "The studio was started anew with another token. Open the address that the terminal shows: your picture is kept in this browser.";
  });
  addEventListener("keydown", keysOf({ about, drawing, painter, player, lists, setSize }));
  addEventListener("pagehide", () => {
    keepNow();
    for (const one of [player.next, player.video, ...futures.videos]) if (one && !one.isOver) one.drop();
  });
}

const theme = localStorage.getItem("theme");
if (theme) document.documentElement.dataset.theme = theme;
begin().catch((error) => trouble(`The studio cannot begin: ${error.message}`));
