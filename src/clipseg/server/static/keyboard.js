// Single keys, and what they do; they are told in the dialog that ? opens, and can be turned off there.

import { $, h, kept } from './dom.js';

const OFF = 'clipseg-no-keys';
const local = kept('local');

/** Rows of [keys as events name them, keys as people read them, what they do, function]. */
export class Keyboard {
  constructor(rows) {
    this.rows = rows;
    $('keys-rows').replaceChildren(...rows.map(([, keys, what]) => h('tr', {},
      h('td', {}, ...keys.split(' ').map((key) => h('kbd', {}, key))), h('td', {}, what))));
    $('keys-on').checked = local.get(OFF) === null;
    $('keys-on').addEventListener('change', ({ target }) => local.put(OFF, target.checked ? null : '1'));
    document.addEventListener('keydown', (event) => this.press(event));
  }

  press(event) {
    if (event.defaultPrevented || document.querySelector('dialog[open]')) return;
    const control = event.ctrlKey || event.metaKey;
    const name = `${control ? 'ctrl+' : ''}${control && event.shiftKey ? 'shift+' : ''}${event.key.length === 1 ? event.key.toLowerCase() : event.key}`;
    if (event.altKey || (!control && (isTyping(event.target) || !$('keys-on').checked))) return;
    if (control && isTyping(event.target)) return; // undo of what is typed
    const row = this.rows.find(([keys]) => keys.includes(name));
    if (!row) return;
    event.preventDefault();
    row[3](event);
  }
}

/** Whether what is typed there is text. */
export function isTyping(element) {
  return element.matches?.('textarea, select, input:not([type="checkbox"], [type="radio"], [type="color"], [type="range"])');
}
