// Prompts as chips: colour, what it is, how sure the model is, visibility, and behind the arrow the rest.

import { h, icon, percent, set, toIcon, told } from './dom.js';
import { thresholdOf, withChanged, without, withSelected, withText } from './state.js';

export class Chips {
  /** `answer(state, prompt)` is what is known of a prompt, `asking(state, prompt)` whether it is being asked. */
  constructor(list, store, { answer, asking, removed }) {
    Object.assign(this, { list, store, answer, asking, removed, items: new Map() });
  }

  render(state) {
    for (const [key, item] of this.items) {
      if (state.prompts.some((prompt) => prompt.key === key)) continue;
      item.element.remove();
      this.items.delete(key);
    }
    state.prompts.forEach((prompt, index) => {
      if (!this.items.has(prompt.key)) this.items.set(prompt.key, this.made(prompt.key));
      const item = this.items.get(prompt.key);
      if (this.list.children[index] !== item.element) this.list.insertBefore(item.element, this.list.children[index] ?? null);
      this.update(item, state, prompt);
    });
  }

  made(key) {
    const { store } = this;
    const change = (changes, name, kind) => store.apply(withChanged(key, changes), name, kind && `${kind} ${key}`);
    const now = () => store.state.prompts.find((prompt) => prompt.key === key);
    const part = {
      colour: h('input', { type: 'color', oninput: () => change({ colour: part.colour.value }, 'Colour', 'colour') }),
      name: h('button', { type: 'button', className: 'name', dir: 'auto', onclick: () => store.apply(withSelected(key), 'Choose a prompt', 'select') }, h('span', {})),
      said: h('span', { className: 'said' }),
      eye: h('button', { type: 'button', className: 'tool icon', onclick: () => change({ visible: !now().visible }, now().visible ? 'Hide' : 'Show') }, icon('eye')),
      more: h('button', { type: 'button', className: 'tool icon more', aria: { expanded: 'false', controls: `more-${key}` }, onclick: () => this.unfold(key) }, icon('more')),
      remove: h('button', { type: 'button', className: 'tool icon', onclick: () => this.remove(key) }, icon('close')),
      error: h('p', { className: 'error', role: 'alert' }),
      text: h('input', { type: 'text', dir: 'auto', maxLength: 400, onchange: () => this.retext(key, part.text.value) }),
      weight: h('input', { type: 'range', id: `weight-${key}`, min: 0.1, max: 3, step: 0.1, oninput: () => change({ weight: Number(part.weight.value) }, `Weight ${part.weight.value}`, 'weight') }),
      weightOut: h('output', {}),
      own: h('input', { type: 'checkbox', onchange: () => change({ threshold: part.own.checked ? store.state.settings.threshold : null }, 'Own threshold') }),
      cut: h('input', { type: 'range', id: `threshold-${key}`, min: 0, max: 1, step: 0.01, oninput: () => change({ threshold: Number(part.cut.value) }, `Threshold ${part.cut.value}`, 'own') }),
      cutOut: h('output', {}),
      negative: h('input', { type: 'checkbox', onchange: () => change({ negative: part.negative.checked }, part.negative.checked ? 'Not this' : 'This again') }),
    };
    const textField = h('label', { className: 'field' }, 'Text', part.text);
    // A label without `for` names the first field in it, and an output is one.
    const cutField = h('label', { className: 'slider', htmlFor: part.cut.id }, h('span', {}, 'Threshold'), part.cutOut, part.cut);
    const fold = h('div', { className: 'fold', id: `more-${key}`, hidden: true },
      textField,
      h('label', { className: 'check' }, part.negative, h('span', {}, 'Not this: take it out of all other masks')),
      h('label', { className: 'slider', htmlFor: part.weight.id }, h('span', {}, 'Weight'), part.weightOut, part.weight),
      h('label', { className: 'check' }, part.own, h('span', {}, 'A threshold of its own')),
      cutField);
    const element = h('li', { className: 'chip', data: { key } },
      h('div', { className: 'row' }, h('span', { className: 'swatch' }, part.colour), part.name, part.said, part.eye, part.more, part.remove), part.error, fold);
    return { element, ...part, fold, textField, cutField };
  }

  update(item, state, prompt) {
    const answer = this.answer(state, prompt);
    const label = prompt.label || prompt.text;
    item.element.classList.toggle('selected', prompt.key === state.selected);
    item.element.classList.toggle('negative', prompt.negative);
    item.element.classList.toggle('off', !prompt.visible);
    item.element.style.setProperty('--own', prompt.colour);
    set(item.colour, 'value', prompt.colour);
    told(item.colour, 'aria-label', `Colour of ${label}`);
    const shown = prompt.negative ? `not ${label}` : label;
    set(item.name.firstChild, 'textContent', shown);
    told(item.name, 'aria-pressed', String(prompt.key === state.selected));
    set(item.name, 'title', label);
    const surely = answer?.presence ?? answer?.score;
    const said = prompt.negative ? '' : answer?.error ? '' : answer ? percent(surely) : this.asking(state, prompt) ? '…' : '';
    set(item.said, 'textContent', said);
    set(item.said, 'title', answer && !answer.error ? (answer.presence == null ? 'Score: how strongly the model answers' : 'How probable it is that this is in the picture at all') : '');
    set(item.error, 'textContent', answer?.error ?? '');
    toIcon(item.eye, prompt.visible ? 'eye' : 'shut');
    told(item.eye, 'aria-label', `${prompt.visible ? 'Hide' : 'Show'} ${label}`);
    set(item.eye, 'hidden', prompt.negative);
    told(item.more, 'aria-label', `More about ${label}`);
    told(item.remove, 'aria-label', `Remove ${label}`);
    set(item.textField, 'hidden', prompt.kind !== 'text');
    if (document.activeElement !== item.text) set(item.text, 'value', prompt.text);
    set(item.weight, 'value', String(prompt.weight));
    set(item.weightOut, 'textContent', `× ${prompt.weight.toFixed(1)}`);
    set(item.negative, 'checked', prompt.negative);
    set(item.own, 'checked', prompt.threshold !== null);
    item.own.closest('label').hidden = prompt.negative;
    set(item.cutField, 'hidden', prompt.threshold === null || prompt.negative);
    set(item.cut, 'value', String(thresholdOf(state, prompt)));
    set(item.cutOut, 'textContent', thresholdOf(state, prompt).toFixed(2));
  }

  unfold(key) {
    const { fold, more } = this.items.get(key);
    fold.hidden = !fold.hidden;
    more.setAttribute('aria-expanded', String(!fold.hidden));
  }

  retext(key, text) {
    if (text.trim()) this.store.apply(withText(key, text.trim()), `“${text.trim()}”`);
  }

  /** The focus goes to a neighbour, so that a keyboard is not lost. */
  remove(key) {
    const { element } = this.items.get(key);
    const next = element.nextElementSibling ?? element.previousElementSibling;
    this.store.apply(without(key), `Remove ${this.items.get(key).name.textContent}`);
    (next?.querySelector('.name') ?? this.removed).focus();
  }
}
