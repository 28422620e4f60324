// Small helpers for the document.

export const $ = (id) => document.getElementById(id);

const SVG = 'http://www.w3.org/2000/svg';

/** A tag, properties and children -> an element; `on…` are listeners, `data`, `style` and `aria` objects, others properties or attributes. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'aria') Object.entries(value).forEach(([key, one]) => element.setAttribute(`aria-${key}`, one));
    else if (name === 'data') Object.assign(element.dataset, value);
    else if (name === 'style') Object.entries(value).forEach(([key, one]) => element.style.setProperty(key, one));
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `#i-${name}`);
  svg.append(use);
  return svg;
}

export function toIcon(button, name) {
  told(button.querySelector('use'), 'href', `#i-${name}`);
}

/** Give a property a value; what has it already is left alone, for the browser would lay out and paint it anew. */
export function set(element, name, value) {
  if (element[name] !== value) element[name] = value;
}

/** The same for an attribute. */
export function told(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** Give a blob to the person as a file. */
export function saveFile(blob, name) {
  const url = URL.createObjectURL(blob);
  h('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Calls that come soon after each other -> the last of them, after a pause. */
export function settled(call, milliseconds) {
  let timer;
  const later = (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...values), milliseconds);
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}

/** A store of the browser, 'local' or 'session' -> its get and put. Where nothing may be kept, touching a store raises: then all is forgotten. */
export function kept(store) {
  const attempt = (use) => {
    try { return use(window[`${store}Storage`]); } catch { return null; }
  };
  return {
    get: (name) => attempt((storage) => storage.getItem(name)),
    put: (name, value) => attempt((storage) => (value === null ? storage.removeItem(name) : storage.setItem(name, value))),
  };
}

/** Radio buttons of one name: what is told when one is chosen, and a way to set it. */
export function radios(name, chosen) {
  const all = [...document.querySelectorAll(`input[name="${name}"]`)];
  all.forEach((input) => input.addEventListener('change', () => input.checked && chosen(input.value)));
  return (value) => all.forEach((input) => { input.checked = input.value === value; });
}

/** A text -> the same as part of a sentence that it does not turn round, where it is written from right to left. */
export const isolated = (text) => `\u2068${text}\u2069`;

export const percent = (share) => (share > 0 && share < 0.01 ? '<1 %' : `${Math.round(100 * share)} %`);
