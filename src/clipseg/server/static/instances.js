// Connected parts: found by a worker while sliders move, numbered by pins, lit when pointed at, kept by a click.

import { partAt } from './canvas/components.js';
import { cutOf } from './canvas/maps.js';
import { h, percent, told } from './dom.js';
import { shown, thresholdOf, withKept } from './state.js';

const MOST_PINS = 99; // of a prompt
const PAUSE = 120; // milliseconds between two looks for parts: the pictures under a moving slider come first
const [DROPPED, NORMAL, LIT] = [0, 128, 255];

export class Instances {
  /** `changed()` is told when parts are found or pointed at. */
  constructor(box, store, changed) {
    Object.assign(this, { box, store, changed, found: new Map(), lit: null, pins: new Map(), number: 0, busy: false, next: null, picks: new Map() });
    this.worker = new Worker('/static/instances.worker.js', { type: 'module' });
    this.worker.onmessage = ({ data }) => this.took(data);
  }

  /** See that the parts of what is shown are known; while the worker works only the latest question waits. */
  ensure(state, answer) {
    if (!state.picture || state.settings.show === 'heat') return;
    const maps = shown(state).map((prompt) => ({ key: prompt.key, map: answer(prompt)?.map, cut: cutOf(thresholdOf(state, prompt)) })).filter(({ map }) => map);
    const { width, height } = state.picture;
    const { smooth, grow } = state.settings;
    const question = { maps, picture: { width, height }, smooth, grow };
    if (this.same(question)) return;
    this.asked = question;
    this.next = question;
    this.send();
  }

  same({ maps, smooth, grow }) {
    return this.asked?.smooth === smooth && this.asked.grow === grow && this.asked.maps.length === maps.length
      && maps.every((one, index) => ['key', 'map', 'cut'].every((name) => one[name] === this.asked.maps[index][name]));
  }

  send() {
    if (this.busy || !this.next) return;
    this.busy = true;
    this.worker.postMessage({ id: this.number += 1, ...this.next });
    this.next = null;
  }

  took({ found }) {
    this.found = new Map(found.map((one) => [one.key, one]));
    this.picks.clear();
    this.changed();
    setTimeout(() => { this.busy = false; this.send(); }, PAUSE);
  }

  parts(key) { return this.found.get(key)?.parts ?? []; }

  /** The numbers of a prompt's parts that stay: all, or those with a point that was picked. */
  keptNumbers(state, key) {
    const found = this.found.get(key);
    const points = state.kept[key];
    return points && found ? new Set(points.map((point) => partAt(point, found, state.picture))) : null;
  }

  /** -> {width, height, data} for the painters: which cells are dropped, there, or lit; null where all are there. */
  picksOf(state, key) {
    const found = this.found.get(key);
    const kept = this.keptNumbers(state, key);
    const lit = this.lit?.key === key ? this.lit.number : 0;
    if (!found || (!kept && !lit)) return null;
    const name = `${key} ${kept && [...kept].join()} ${lit}`;
    if (!this.picks.has(name)) {
      const level = Uint8Array.from({ length: found.parts.length + 1 }, (_, number) => (number === lit && lit ? LIT : kept && !kept.has(number) ? DROPPED : NORMAL));
      if (this.picks.size > 40) this.picks.clear();
      this.picks.set(name, { width: found.width, height: found.height, data: Uint8Array.from(found.numbers, (number) => level[number]) });
    }
    return this.picks.get(name);
  }

  /** A point of the picture -> {key, number} of the topmost part there, or null. */
  at(state, point) {
    for (const prompt of [...shown(state)].reverse()) {
      const found = this.found.get(prompt.key);
      const number = found ? partAt(point, found, state.picture) : 0;
      if (number) return { key: prompt.key, number };
    }
    return null;
  }

  light(part) {
    if (this.lit?.key === part?.key && this.lit?.number === part?.number) return;
    this.lit = part;
    for (const [name, pin] of this.pins) pin.classList.toggle('lit', part !== null && name === `${part.key} ${part.number}`);
    this.changed();
  }

  /** Keep a part, or no longer. */
  toggle(state, { key, number }) {
    const found = this.found.get(key);
    const points = state.kept[key] ?? [];
    const others = points.filter((point) => partAt(point, found, state.picture) !== number);
    const kept = others.length < points.length ? others : [...points, found.parts[number - 1].pin];
    this.store.apply(withKept(key, kept), others.length < points.length ? `Let go of part ${number}` : `Keep part ${number}`);
  }

  /** Put a pin on every part; `place` takes a point of the picture to one of the stage, or null where it is not seen. */
  render(state, place) {
    const seen = new Set();
    const prompts = state.picture && state.settings.parts && state.settings.show !== 'heat' ? shown(state) : [];
    for (const prompt of prompts) {
      const kept = this.keptNumbers(state, prompt.key);
      for (const part of this.parts(prompt.key).slice(0, MOST_PINS)) {
        const at = place(part.pin);
        if (!at) continue;
        const name = `${prompt.key} ${part.number}`;
        seen.add(name);
        const pin = this.pins.get(name) ?? this.pinned(name, prompt.key, part.number);
        const stays = !kept || kept.has(part.number);
        pin.style.transform = `translate(${at[0].toFixed(1)}px, ${at[1].toFixed(1)}px) translate(-50%, -50%)`;
        pin.style.setProperty('--own', prompt.colour);
        pin.classList.toggle('dropped', !stays);
        told(pin, 'aria-pressed', String(Boolean(kept?.has(part.number))));
        told(pin, 'aria-label', `${prompt.label}, part ${part.number}, ${percent(part.area / (state.picture.width * state.picture.height))} of the picture`);
      }
    }
    for (const [name, pin] of this.pins) {
      if (seen.has(name)) continue;
      pin.remove();
      this.pins.delete(name);
    }
  }

  pinned(name, key, number) {
    const part = { key, number };
    const pin = h('button', {
      type: 'button', className: 'pin', textContent: String(number),
      onclick: () => this.toggle(this.store.state, part), onpointerenter: () => this.light(part), onpointerleave: () => this.light(null),
      onfocus: () => this.light(part), onblur: () => this.light(null),
    });
    this.pins.set(name, pin);
    this.box.append(pin);
    return pin;
  }
}
