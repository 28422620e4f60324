// A state -> what is asked of the API. Pure: what is fetched, downloaded and copied as a command is said once, here.

import { thresholdOf, unwanted } from './state.js';

/** A prompt of the state -> a prompt of the API. */
export function promptBody(prompt) {
  const { example } = prompt;
  const said = prompt.kind === 'text' ? { text: prompt.text } : {
    picture: example.picture.id,
    ...(example.box && { box: example.box }),
    ...(example.mask && { mask: example.mask.id }),
    style: example.style,
    label: prompt.label,
  };
  return prompt.weight === 1 ? said : { ...said, weight: prompt.weight };
}

/** A state and prompts -> the question for their soft maps; nothing in it depends on a slider. */
export function mapsQuestion(state, prompts) {
  return {
    picture: state.picture.id,
    prompts: prompts.map(promptBody),
    ...negatives(state),
    ...fitting(state),
    results: ['scores', 'maps'],
  };
}

/** What distinguishes one prompt's map from another; equal questions have equal answers. */
export const mapKey = (state, prompt) => JSON.stringify(mapsQuestion(state, [prompt]));

/** What finishes a mask, defaults left out: the options of the library by their own names. */
export function finish(state, prompts, keep = null) {
  const { smooth, feather, grow, threshold } = state.settings;
  const cuts = prompts.map((prompt) => thresholdOf(state, prompt));
  const same = cuts.every((cut) => cut === cuts[0]);
  return {
    threshold: same ? cuts[0] ?? threshold : cuts,
    ...(smooth > 0 && { smooth: `${smooth}%` }),
    ...(grow > 0 && { grow: `${grow}%` }),
    ...(grow < 0 && { shrink: `${-grow}%` }),
    ...(feather > 0 && { feather: `${feather}%` }),
    ...(keep && { keep: keep.join(',') }),
  };
}

/** The same for what is on screen: a heat map has probabilities, about which nothing is decided. */
export function onScreen(state, prompts, keep = null) {
  const options = finish(state, prompts, keep);
  return state.settings.show !== 'heat' ? options : Object.fromEntries(Object.entries(options).filter(([name]) => name === 'smooth'));
}

/**
 * A state, the prompts that count and the numbers of the parts kept of each (null: all) -> questions, mostly one.
 *
 * They are finished by `options`, and `extra` tells for the prompts of one what else it says. Which parts stay is one option of a
 * question, so prompts with other picks are asked on their own.
 */
export function exactQuestions(state, prompts, keeps, extra = () => ({}), options = finish) {
  const groups = new Map();
  for (const prompt of prompts) {
    const keep = keeps[prompt.key] ?? null;
    const name = JSON.stringify(keep);
    if (!groups.has(name)) groups.set(name, { keep, prompts: [] });
    groups.get(name).prompts.push(prompt);
  }
  return [...groups.values()].map((group) => ({
    prompts: group.prompts,
    keep: group.keep,
    body: {
      picture: state.picture.id,
      prompts: group.prompts.map(promptBody),
      ...negatives(state),
      ...fitting(state),
      options: options(state, group.prompts, group.keep),
      ...extra(group.prompts),
    },
  }));
}

/**
 * Points that were picked and the parts as the API numbers them -> the numbers of the parts meant, in order.
 *
 * A point is of the part that it lies on. Edges at full size are not quite those of the map: beside all parts, it is of the
 * smallest whose box it is in.
 */
export function numbersAt(points, parts) {
  const found = points.map(([x, y]) => {
    const on = parts.find((part) => part.rle && covers(part.rle, x, y));
    if (on) return on.number;
    const around = parts.filter(({ box: [x0, y0, x1, y1] }) => x0 <= x && x < x1 && y0 <= y && y < y1);
    const near = (part) => Math.hypot(part.centroid[0] - x, part.centroid[1] - y);
    return around.sort((one, other) => area(one) - area(other) || near(one) - near(other))[0]?.number;
  });
  return [...new Set(found.filter((number) => number !== undefined))].sort((one, other) => one - other);
}

/** The same as what `keep` says: of parts that are all gone a number beyond the last, which names nothing. */
export function keepAt(points, parts) {
  const numbers = numbersAt(points, parts);
  return numbers.length ? numbers : [parts.length + 1];
}

/**
 * Whether a mask covers a point, as COCO has it: the lengths of runs, outside and inside in turn, down the columns. Each is
 * written in groups of five bits, the lowest first, from "0" on; 32 says that more follow, 16 in the last that it is
 * negative; from the fourth on it is the difference from the last but one.
 */
function covers({ size: [height, width], counts }, x, y) {
  if (x < 0 || y < 0 || x >= width || y >= height) return false;
  const goal = Math.floor(x) * height + Math.floor(y);
  const runs = [];
  for (let at = 0, end = 0; at < counts.length;) {
    let [run, shift, code] = [0, 0, 32];
    for (; code & 32; shift += 5, at += 1) {
      code = counts.charCodeAt(at) - 48;
      run |= (code & 31) << shift;
    }
    if (code & 16) run |= -1 << shift;
    if (runs.length > 2) run += runs.at(-2);
    runs.push(run);
    end += run;
    if (end > goal) return runs.length % 2 === 0;
  }
  return false;
}

const area = ({ box: [x0, y0, x1, y1] }) => (x1 - x0) * (y1 - y0);
const fitting = (state) => (state.settings.fit === 'squash' ? {} : { fit: state.settings.fit });
const negatives = (state) => {
  const bodies = unwanted(state).map(promptBody);
  return bodies.length ? { negative: bodies } : {};
};
