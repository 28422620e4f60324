// What acts in the browser alone: threshold, opacity, edges, the colour map, and how masks are shown.

import { ANCHORS } from './canvas/colormaps.js';
import { $, h, radios, set, told } from './dom.js';
import { withCompare, withSetting } from './state.js';

const SLIDERS = [
  { name: 'threshold', label: 'Threshold', min: 0, max: 1, step: 0.01, said: (value) => value.toFixed(2), where: ['fill', 'cutout'] },
  { name: 'opacity', label: 'Opacity', min: 0, max: 1, step: 0.05, said: (value) => `${Math.round(100 * value)} %`, where: ['fill', 'heat'] },
  { name: 'smooth', label: 'Calmer edge', min: 0, max: 4, step: 0.1, said: (value) => (value ? `${value.toFixed(1)} %` : 'off'), where: ['fill', 'heat', 'cutout'], title: 'The option smooth: a blur of the probabilities, in percent of the shorter side' },
  { name: 'grow', label: 'Wider or narrower', min: -4, max: 4, step: 0.1, said: (value) => (value ? `${value > 0 ? '+' : '−'}${Math.abs(value).toFixed(1)} %` : 'off'), where: ['fill', 'cutout'], title: 'The options grow and shrink: how far the edge moves, in percent of the shorter side' },
  { name: 'feather', label: 'Softer edge', min: 0, max: 4, step: 0.1, said: (value) => (value ? `${value.toFixed(1)} %` : 'off'), where: ['fill', 'cutout'], title: 'The option feather: a blur of the finished mask, in percent of the shorter side' },
];

export class Sliders {
  constructor(store) {
    this.store = store;
    this.rows = SLIDERS.map((row) => {
      const out = h('output', { htmlFor: row.name });
      const input = h('input', { type: 'range', id: row.name, min: row.min, max: row.max, step: row.step, oninput: () => this.set(row.name, Number(input.value)) });
      const element = h('label', { className: 'slider', htmlFor: row.name, title: row.title ?? '' }, h('span', {}, row.label), out, input);
      return { ...row, out, input, element };
    });
    $('sliders').append(...this.rows.map(({ element }) => element));
    this.show = radios('show', (value) => store.apply(withSetting('show', value), { fill: 'Fill', heat: 'Heat map', cutout: 'Cut-out' }[value]));
    this.compare = radios('compare', (value) => store.apply(withCompare(value), { off: 'Compare: off', swipe: 'Swipe', side: 'Side by side' }[value]));
    $('ramps').append(...Object.entries(ANCHORS).map(([name, anchors]) => h('label', { title: name },
      h('input', { type: 'radio', name: 'colormap', value: name }),
      h('span', { style: { 'background-image': `linear-gradient(90deg, ${anchors.join(', ')})` } }, h('span', { className: 'hidden' }, name)))));
    this.colormap = radios('colormap', (value) => store.apply(withSetting('colormap', value), `Colour map ${value}`));
    $('parts').addEventListener('change', ({ target }) => store.apply(withSetting('parts', target.checked), target.checked ? 'Number the parts' : 'No numbers'));
    $('fit').addEventListener('change', ({ target }) => store.apply(withSetting('fit', target.value), `Look ${target.value}`));
  }

  set(name, value) {
    const row = this.rows.find((one) => one.name === name);
    const held = Math.min(Math.max(Number(value.toFixed(2)), row.min), row.max);
    this.store.apply(withSetting(name, held), `${row.label} ${row.said(held)}`, name);
  }

  render({ settings, compare }) {
    for (const row of this.rows) {
      const value = settings[row.name];
      if (Number(row.input.value) !== value) row.input.value = value;
      set(row.out, 'textContent', row.said(value));
      told(row.input, 'aria-valuetext', row.said(value));
      row.element.hidden = !row.where.includes(settings.show);
    }
    $('ramps').hidden = settings.show !== 'heat';
    this.show(settings.show);
    this.colormap(settings.colormap);
    this.compare(compare);
    $('parts').checked = settings.parts;
    $('fit').value = settings.fit;
  }
}
