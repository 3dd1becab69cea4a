// Elements of the page, and words for the user.

export const $ = (id) => document.getElementById(id);
export const make = (tag, words = {}, ...inner) => {
  const element = Object.assign(document.createElement(tag), words);
  element.append(...inner);
  return element;
};

export function trouble(text) {
  $("trouble").hidden = !text;
  $("trouble").querySelector("span").textContent = text;
}
export const say = (text) => ($("status").textContent = text);

export function veil(text) {
  $("veil").hidden = !text;
  $("veil").textContent = text;
}

export function progress(text) {
  $("progress-text").textContent = text;
}

// Do what may fail, and say so.
export async function attempt(action, words) {
  trouble("");
  if (words) say(words);
  try {
    await action();
  } catch (error) {
    if (error.name === "AbortError") return;
    say("");
    if (error.status !== 0) trouble(error.message);
  }
}

// Arrow keys in a group of choices.
export function walk(event) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step) return;
  const shown = [...event.currentTarget.children].filter((one) => !one.hidden);
  const next = shown[(shown.indexOf(event.target) + step + shown.length) % shown.length];
  next.focus();
  next.click();
  event.preventDefault();
}

export function mark(group, chosen) {
  [...group.children].forEach((button, n) => {
    button.setAttribute("aria-checked", String(n === chosen));
    button.tabIndex = n === chosen ? 0 : -1;
  });
}
