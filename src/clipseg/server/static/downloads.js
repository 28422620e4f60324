// What is taken away: what is on screen, files of every format, and code that makes the same.

import { hasToken, segment } from './api.js';
import { $, h, radios, saveFile, set, settled } from './dom.js';
import { exactQuestions, finish, keepAt, mapsQuestion } from './question.js';
import * as snippets from './snippets.js';
import { shown, unwanted } from './state.js';

const PARTED = new Set(['png', 'cutout']); // formats of a mask that its connected parts have too
const SCOPES = { mask: 'A file for each mask', picture: 'A file for the picture', 'data set': 'A data set' };

export class Downloads {
  constructor(store, pictures, { renderer, answer, failed, busy }) {
    Object.assign(this, { store, pictures, renderer, answer, failed, busy, language: 'python', model: 'nano', options: new Map(), keeps: new Map() });
    this.refresh = settled(() => this.writeCode(), 150);
    $('save').addEventListener('click', () => this.saveScreen());
    $('download').addEventListener('click', () => this.saveFormats());
    $('each-part').addEventListener('change', () => this.count());
    $('copy').addEventListener('click', () => this.copy());
    $('save-masks').addEventListener('click', () => this.saveMasks());
    $('code-box').addEventListener('toggle', () => this.refresh());
    radios('language', (language) => { this.language = language; this.refresh(); });
  }

  setFormats(formats) {
    const lists = Object.entries(SCOPES).map(([scope, title]) => h('li', {}, h('p', { className: 'kicker' }, title), h('ul', {},
      ...formats.filter((row) => (row.scope ?? 'mask') === scope).map((row) => this.formatRow(row)))));
    $('formats').replaceChildren(...lists);
  }

  formatRow({ name, summary = '', options = [], scope = 'mask' }) {
    this.options.set(name, options);
    const data = scope === 'mask' && !PARTED.has(name) ? { whole: '' } : {};
    return h('li', {}, h('label', { className: 'check' }, h('input', { type: 'checkbox', name: 'format', value: name, data, onchange: () => this.count() }),
      h('span', {}, h('b', {}, name), ` ${summary}`)));
  }

  /** The prompts on screen; not those that could not be read. */
  found(state) { return shown(state).filter((prompt) => !this.answer(prompt)?.error); }

  get chosen() { return [...document.querySelectorAll('input[name="format"]:checked:enabled')].map((input) => input.value); }

  render(state) {
    const any = state.picture && this.found(state).length > 0;
    $('save').disabled = !state.picture;
    this.any = Boolean(any);
    this.count();
    $('save-masks').hidden = !this.masks(state).length;
    if ($('code-box').open) this.refresh();
  }

  count() {
    document.querySelectorAll('input[data-whole]').forEach((input) => set(input, 'disabled', $('each-part').checked));
    const { length } = this.chosen;
    $('download').disabled = !this.any || !length;
    set($('download'), 'textContent', length > 1 ? `Download ${length} formats` : length ? `Download ${this.chosen[0]}` : 'Download');
  }

  // -- files ---------------------------------------------------------------------------------------------------------

  async saveScreen() {
    const { state } = this.store;
    if (state.picture) saveFile(await this.renderer.full(), `${snippets.stemOf(state.picture.name)}.${state.settings.show === 'fill' ? 'overlay' : state.settings.show}.png`);
  }

  async saveFormats() {
    const { state } = this.store;
    const prompts = this.found(state);
    const stem = snippets.stemOf(state.picture.name);
    const extra = (some) => ({ format: 'zip', formats: this.chosen.map((name) => this.told(name, state, some)), name: snippets.bundleOf(state.picture.name), ...($('each-part').checked && { instances: true }) });
    try {
      this.busy('Making the files');
      const questions = exactQuestions(state, prompts, await this.keptOf(state, prompts), extra);
      for (const [index, { body }] of questions.entries()) {
        const blob = await segment(body, { file: true, restore: () => this.pictures.restore(body) });
        saveFile(blob, `${stem}${questions.length > 1 ? `.${index + 1}` : ''}.zip`);
      }
    } catch (error) {
      this.failed(error, () => this.saveFormats());
    } finally {
      this.busy('');
    }
  }

  /** A format's name -> the same with what the sliders and the chips say. */
  told(name, { settings }, prompts) {
    const values = { alpha: settings.opacity, colormap: settings.colormap, colours: snippets.ownColours(prompts)?.join('/') };
    const given = Object.entries(values).filter(([option, value]) => value !== undefined && this.options.get(name)?.includes(option));
    return given.length ? `${name}:${given.map((pair) => pair.join('=')).join(',')}` : name;
  }

  masks(state) {
    return [...new Map([...shown(state), ...unwanted(state)].map((prompt) => prompt.example?.mask).filter(Boolean).map((mask) => [mask.id, mask])).values()];
  }

  saveMasks() {
    this.masks(this.store.state).forEach(({ id, name }) => saveFile(this.pictures.get(id).blob, name));
  }

  // -- code ----------------------------------------------------------------------------------------------------------

  /** -> whether it is written; what stands there of another state is not to be copied. */
  async writeCode() {
    const { state } = this.store;
    const prompts = this.found(state);
    if (!state.picture || !prompts.length) {
      $('code').textContent = '# Open a picture and look for something first.';
      return true;
    }
    try {
      const scene = { state, prompts, keeps: await this.keptOf(state, prompts), model: this.model, origin: location.origin, token: hasToken() };
      if (state === this.store.state) $('code').textContent = snippets[this.language](scene);
      return true;
    } catch (error) {
      this.failed(error, () => this.refresh());
      return false;
    }
  }

  async copy() {
    this.refresh.cancel();
    if (!await this.writeCode()) return;
    try {
      await navigator.clipboard.writeText($('code').textContent);
      $('copied').textContent = 'Copied';
    } catch {
      getSelection().selectAllChildren($('code')); // without a secure origin there is no clipboard, but a selection
      $('copied').textContent = 'Selected; press Ctrl C';
    }
    setTimeout(() => { $('copied').textContent = ''; }, 4000);
  }

  /** The parts kept of each prompt, as the library numbers them: at full size there may be others than in the map. */
  async keptOf(state, prompts) {
    const keeps = {};
    if (state.settings.show === 'heat') return keeps; // nothing is decided there
    for (const prompt of prompts.filter(({ key }) => state.kept[key])) {
      const question = { ...mapsQuestion(state, [prompt]), options: finish(state, [prompt]), results: ['instances'] };
      const name = JSON.stringify(question);
      if (!this.keeps.has(name)) {
        const answer = await segment(question, { restore: () => this.pictures.restore(question) });
        this.keeps.set(name, answer.masks[0].instances);
      }
      keeps[prompt.key] = keepAt(state.kept[prompt.key], this.keeps.get(name));
    }
    return keeps;
  }
}
