// One immutable state and its history. Nothing here knows the document.

export const PALETTE = [
  '#e69f00', '#56b4e9', '#009e73', '#f0e442', '#0072b2', '#d55e00', '#cc79a7', '#762a83', '#7fc940', '#ff4060', '#40e0d0', '#8c510a',
]; // the first of the library's own, in its order, so that overlays made there have these colours

export const SETTINGS = Object.freeze({
  show: 'fill', // fill, heat or cutout
  threshold: 0.4,
  opacity: 0.5,
  smooth: 0, // percent of the shorter side, as feather
  feather: 0,
  grow: 0, // likewise; below 0 it shrinks
  colormap: 'ember',
  fit: 'squash',
  parts: true, // whether connected parts are numbered
});

export const EMPTY = Object.freeze({
  picture: null, // {id, name, width, height}
  prompts: Object.freeze([]),
  selected: null, // key of the prompt that heat and cut-out show
  kept: Object.freeze({}), // key of a prompt -> points [x, y] of the picture, in the parts that were picked
  settings: SETTINGS,
  compare: 'off', // off, swipe or side
});

const MERGE_MS = 900; // steps of one slider within this are one step of history
const MOST_STEPS = 200;

/** A first state -> a store: state, apply, undo, redo, jump, steps, subscribe. */
export function createStore(first, now = () => Date.now()) {
  let steps = [{ state: first, name: 'Start', at: 0, kind: null }];
  let place = 0;
  const listeners = new Set();
  const tell = () => listeners.forEach((listener) => listener(steps[place].state, store));
  const moved = (to) => {
    if (to < 0 || to >= steps.length || to === place) return false;
    place = to;
    tell();
    return true;
  };
  const store = {
    get state() { return steps[place].state; },
    get steps() { return steps.map(({ name }, index) => ({ name, now: index === place })); },
    get canUndo() { return place > 0; },
    get canRedo() { return place < steps.length - 1; },
    /** A function of the state, and what the step is called. Steps of one `kind` soon after each other are one. */
    apply(change, name, kind = null) {
      const state = change(steps[place].state);
      if (state === steps[place].state) return;
      const at = now();
      const merges = kind !== null && steps[place].kind === kind && at - steps[place].at < MERGE_MS;
      const before = steps.slice(0, merges ? place : place + 1);
      steps = [...before, { state, name, at, kind }].slice(-MOST_STEPS);
      place = steps.length - 1;
      tell();
    },
    undo: () => moved(place - 1),
    redo: () => moved(place + 1),
    jump: moved,
    subscribe(listener) { listeners.add(listener); return () => listeners.delete(listener); },
  };
  return store;
}

// -- changes: each is arguments -> (state -> state) ------------------------------------------------------------------

export const withPicture = (picture) => (state) => ({ ...state, picture, kept: {} });

export const withSetting = (name, value) => (state) =>
  state.settings[name] === value ? state : { ...state, settings: { ...state.settings, [name]: value } };

export const withCompare = (compare) => (state) => (state.compare === compare ? state : { ...state, compare });

export const withSelected = (key) => (state) => (state.selected === key ? state : { ...state, selected: key });

/** A prompt that was hidden, or what is not wanted, is looked for again. */
export const withWanted = (key) => (state) => withSelected(key)(
  state.prompts.some((prompt) => prompt.key === key && (prompt.negative || !prompt.visible)) ? withChanged(key, { visible: true, negative: false })(state) : state);

/** What a new prompt has -> it with a key, a colour and defaults, as the last of all and selected. */
export const withPrompt = (given) => (state) => {
  const number = state.prompts.reduce((most, prompt) => Math.max(most, prompt.number), 0) + 1;
  const prompt = {
    key: `p${number}`, number, kind: 'text', text: '', label: '', visible: true, negative: false, weight: 1, threshold: null,
    colour: firstFree(state.prompts), example: null, ...given,
  };
  return { ...state, prompts: [...state.prompts, prompt], selected: prompt.negative ? state.selected : prompt.key };
};

export const withChanged = (key, changes) => (state) => {
  const prompts = state.prompts.map((prompt) => (prompt.key === key ? { ...prompt, ...changes } : prompt));
  return { ...state, prompts, selected: selectedOf(prompts, state.selected) };
};

export const without = (key) => (state) => {
  const prompts = state.prompts.filter((prompt) => prompt.key !== key);
  const { [key]: _, ...kept } = state.kept;
  return { ...state, prompts, kept, selected: selectedOf(prompts, state.selected) };
};

/** Another text is another thing: nothing was picked of it. */
export const withText = (key, text) => (state) => withKept(key, [])(withChanged(key, { text, label: text })(state));

/** The points of a prompt's picked parts; none of them is all parts. */
export const withKept = (key, points) => (state) => {
  const { [key]: _, ...others } = state.kept;
  return { ...state, kept: points.length ? { ...others, [key]: points } : others };
};

// -- questions about a state -----------------------------------------------------------------------------------------

export const wanted = (state) => state.prompts.filter((prompt) => !prompt.negative);
export const unwanted = (state) => state.prompts.filter((prompt) => prompt.negative);
export const thresholdOf = (state, prompt) => prompt.threshold ?? state.settings.threshold;

/** What is on screen, in order: heat and cut-out show one prompt, the selected one. */
export function shown(state) {
  const visible = wanted(state).filter((prompt) => prompt.visible);
  if (state.settings.show === 'fill' || visible.length < 2) return visible;
  return [visible.find((prompt) => prompt.key === state.selected) ?? visible[0]];
}

function selectedOf(prompts, before) {
  const fit = prompts.filter((prompt) => !prompt.negative);
  return (fit.find((prompt) => prompt.key === before) ?? fit.at(-1))?.key ?? null;
}

function firstFree(prompts) {
  const taken = new Set(prompts.map((prompt) => prompt.colour));
  return PALETTE.find((colour) => !taken.has(colour)) ?? PALETTE[prompts.length % PALETTE.length];
}
