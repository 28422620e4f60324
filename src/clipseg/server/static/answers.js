// What the API said about each prompt, by what was asked: asked for when it is missing, kept when it came.

import { segment } from './api.js';
import { mapKey, mapsQuestion } from './question.js';
import { wanted } from './state.js';

const PAUSE = 120; // milliseconds; several changes soon after each other are one question
const MOST = 300; // answers that are kept

export class Answers {
  /** `changed()` is told of every answer, `busy(text or '')` of what goes on, `failed(error, again)` of what did not, `answered()` that nothing is missing. */
  constructor(pictures, { changed, busy, failed, answered }) {
    Object.assign(this, { pictures, changed, busy, failed, answered, known: new Map(), asking: null, refused: null });
  }

  /** -> {map, score, presence}, {error}, or undefined while it is not known. */
  of(state, prompt) { return state.picture ? this.known.get(mapKey(state, prompt)) : undefined; }

  isAsking(state, prompt) { return Boolean(this.asking) && !this.of(state, prompt); }

  /** See that everything that is looked for in a state is known. */
  ensure(state) {
    const missing = state.picture ? wanted(state).filter((prompt) => !this.of(state, prompt)) : [];
    const name = JSON.stringify(missing.map((prompt) => mapKey(state, prompt)));
    if (this.asking?.name === name || this.refused === name) return; // what failed is asked again when somebody says so
    this.refused = null;
    const { asking } = this;
    asking?.control.abort();
    clearTimeout(this.timer);
    this.asking = null;
    if (!missing.length) {
      this.answered();
      if (asking) this.busy(''); // what others do is for them to end
      return;
    }
    const control = new AbortController();
    this.asking = { name, control };
    this.busy(missing.length > 1 ? `Looking for ${missing.length} things` : `Looking for ${missing[0].label || missing[0].text}`);
    this.timer = setTimeout(() => this.ask(state, missing, control), PAUSE);
  }

  async ask(state, prompts, { signal }) {
    try {
      await this.askAll(state, prompts, signal);
    } catch (error) {
      if (signal.aborted) return;
      this.refused = this.asking.name;
      this.failed(error, () => { this.refused = null; this.changed(); });
    }
    if (signal.aborted) return;
    this.asking = null;
    this.busy('');
    this.changed();
  }

  /** Prompts together; where one of them cannot be read each alone, so that the others are still found. */
  async askAll(state, prompts, signal) {
    try {
      await this.fetch(state, prompts, signal);
    } catch (error) {
      if (signal.aborted || !isOfPrompt(error)) throw error;
      if (prompts.length === 1) this.keep(state, prompts[0], { error: error.message });
      else for (const prompt of prompts) await this.askAll(state, [prompt], signal);
    }
  }

  async fetch(state, prompts, signal) {
    const question = mapsQuestion(state, prompts);
    const answer = await segment(question, {
      signal,
      restore: () => this.pictures.restore(question),
      waiting: (error, seconds) => this.busy(`${error.status === 429 ? 'The server is busy' : 'The model is loading'}; asking again in ${Math.round(seconds)} s`),
    });
    const maps = await Promise.all(answer.masks.map((mask) => levelsOf(mask.map)));
    prompts.forEach((prompt, index) => {
      const { score, presence } = answer.masks[index];
      this.keep(state, prompt, { map: maps[index], score, presence });
    });
  }

  keep(state, prompt, answer) {
    if (this.known.size >= MOST) this.known.delete(this.known.keys().next().value);
    this.known.set(mapKey(state, prompt), answer);
  }
}

const isOfPrompt = (error) => (error.status === 400 || error.status === 422) && error.kind !== 'PictureError';

/** A map of the API, its PNG in base64 -> {width, height, levels}. */
async function levelsOf({ png }) {
  const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: 'image/png' }), { colorSpaceConversion: 'none', premultiplyAlpha: 'none' });
  const { width, height } = bitmap;
  const context = Object.assign(document.createElement('canvas'), { width, height }).getContext('2d', { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, width, height).data;
  return { width, height, levels: Uint8Array.from({ length: width * height }, (_, at) => pixels[4 * at]) };
}
