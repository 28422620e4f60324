// The page: one state, what is known of it, and the pieces that show and change it.

import * as api from './api.js';
import { Answers } from './answers.js';
import { cutOf } from './canvas/maps.js';
import { rgb } from './canvas/colormaps.js';
import { Renderer } from './canvas/renderer.js';
import { fitted } from './canvas/view.js';
import { Chips } from './chips.js';
import { Compare } from './compare.js';
import { $, h, isolated, kept, percent, set, settled } from './dom.js';
import { Downloads } from './downloads.js';
import { ExampleDialog } from './example.js';
import { Instances } from './instances.js';
import { isTyping, Keyboard } from './keyboard.js';
import { nameOf, pictureIn, Pictures } from './pictures.js';
import { Sheet } from './sheet.js';
import { Sliders } from './sliders.js';
import { isExpression } from './snippets.js';
import { Stage } from './stage.js';
import * as changes from './state.js';

const EXAMPLES = [
  { file: 'farm.jpg', name: 'farm.jpg', alt: 'A cat, a cow and a cactus', phrase: 'cactus' },
  { file: 'clover.jpg', name: 'clover.jpg', alt: 'Seven four-leaf clovers', phrase: 'four leaf clover' },
  { file: 'magnet.jpg', name: 'magnet.jpg', alt: 'A camera, a magnet and broccoli', phrase: 'magnet' },
];
const SHOWS = ['fill', 'heat', 'cutout'];
const COMPARES = ['off', 'swipe', 'side'];
const THEMES = { auto: 'as the system', light: 'light', dark: 'dark' };

api.takeToken();

const store = changes.createStore(changes.EMPTY);
const pictures = new Pictures((blob) => api.upload(blob));
const renderer = new Renderer($('base'), $('overlay'), { forceFlat: new URLSearchParams(location.search).has('flat') });
const answers = new Answers(pictures, { changed: refresh, busy, failed: failedToAnswer, answered });
const answer = (prompt) => answers.of(store.state, prompt);
const instances = new Instances($('pins'), store, () => { paint(store.state); pin(store.state); summarise(store.state); });
const sliders = new Sliders(store);
const compare = new Compare($('swipe-box'), $('swipe'), () => paint(store.state));
const chips = new Chips($('chips'), store, { answer: (state, prompt) => answers.of(state, prompt), asking: (state, prompt) => answers.isAsking(state, prompt), removed: $('phrase') });
const downloads = new Downloads(store, pictures, { renderer, answer, failed, busy });
const dialog = new ExampleDialog(pictures, { current: () => store.state.picture, added: ({ label, example }) => store.apply(changes.withPrompt({ kind: 'example', label, example }), `Example “${label}”`) });
const stage = new Stage($('view'), renderer, {
  moved: () => { pin(store.state); sayZoom(); },
  pointed: (point) => { const part = point && instances.at(store.state, point); instances.light(part); $('view').classList.toggle('on-part', Boolean(part)); },
  clicked: (point) => { const part = instances.at(store.state, point); if (part) instances.toggle(store.state, part); },
});
const sheet = new Sheet($('panel'), $('handle'), $('tabs'));
let shownPicture = null;
let board = boardColours();

// -- showing ---------------------------------------------------------------------------------------------------------

store.subscribe(refresh);

function refresh() {
  const { state } = store;
  if (state.picture !== shownPicture) open(state.picture);
  answers.ensure(state);
  chips.render(state);
  sliders.render(state);
  compare.render(state);
  downloads.render(state);
  instances.ensure(state, answer);
  paint(state);
  pin(state);
  sayZoom();
  renderHistory();
  summarise(state);
  $('chips-hint').hidden = state.prompts.length > 0;
  $('kept-all').hidden = !Object.keys(state.kept).length;
}

function open(picture) {
  shownPicture = picture;
  const began = $('start').contains(document.activeElement);
  $('start').hidden = Boolean(picture);
  $('view').hidden = !picture;
  if (picture && began) $('view').focus(); // or it would be lost with the button that was pressed
  document.body.classList.toggle('has-picture', Boolean(picture));
  $('caption').textContent = picture ? picture.name : '';
  $('caption').title = picture ? `${picture.width} × ${picture.height} pixels` : '';
  stage.picture = picture;
  renderer.setPicture(picture ? pictures.get(picture.id).levels : []);
  if (!picture) return;
  pictures.wake(picture.id).then((levels) => { if (shownPicture === picture && levels !== renderer.levels) renderer.setPicture(levels); });
}

/** What the painters need to know of a state; see canvas/renderer.js. */
function paint(state) {
  if (!state.picture) return;
  const { settings } = state;
  const layers = changes.shown(state).map((prompt) => ({
    map: answer(prompt)?.map, colour: rgb(prompt.colour), cut: cutOf(changes.thresholdOf(state, prompt)),
    picks: settings.show === 'heat' ? null : instances.picksOf(state, prompt.key),
  })).filter(({ map }) => map);
  renderer.setScene({
    picture: { width: state.picture.width, height: state.picture.height }, layers, board, swipe: compare.share, compare: state.compare,
    ...Object.fromEntries(['show', 'opacity', 'colormap', 'smooth', 'grow', 'feather'].map((name) => [name, settings[name]])),
  });
}

/** The two colours behind a cut-out, as the theme has them. */
function boardColours() {
  const style = getComputedStyle(document.documentElement);
  return ['--board-1', '--board-2'].map((name) => rgb(style.getPropertyValue(name).trim() || '#cccccc'));
}

function pin(state) {
  if (state.picture) instances.render(state, (point) => stage.place(point));
}

function sayZoom() {
  if (!stage.picture) return;
  const { width, height } = renderer.pane;
  if (width && height) set($('zoom'), 'textContent', `${Math.round(100 * fitted(stage.picture, { width, height }) * renderer.view.zoom)} %`);
}

function renderHistory() {
  $('undo').disabled = !store.canUndo;
  $('redo').disabled = !store.canRedo;
  if (!$('history').matches(':popover-open')) return;
  $('history-list').replaceChildren(...store.steps.map(({ name, now }, index) => h('li', {},
    h('button', { type: 'button', ...(now && { aria: { current: 'step' } }), onclick: () => store.jump(index) }, name))).reverse());
}

const summarise = settled((state) => {
  if ($('stage').dataset.busy) return; // what is being done is told, and this once it is done
  const counted = (prompt) => state.settings.show === 'heat' || instances.found.has(prompt.key);
  const known = changes.shown(state).filter((prompt) => answer(prompt)?.map && counted(prompt));
  const all = state.picture ? state.picture.width * state.picture.height : 1;
  $('summary').textContent = known.map((prompt) => {
    const name = isolated(prompt.label || prompt.text);
    if (state.settings.show === 'heat') return `${name}: heat map`;
    const kept = instances.keptNumbers(state, prompt.key);
    const parts = instances.parts(prompt.key).filter(({ number }) => !kept || kept.has(number));
    if (!parts.length) return `${name}: nothing above ${changes.thresholdOf(state, prompt).toFixed(2)}`;
    return `${name}: ${percent(parts.reduce((sum, part) => sum + part.area, 0) / all)} in ${parts.length} ${parts.length > 1 ? 'parts' : 'part'}`;
  }).join(' · ');
}, 250);

function busy(text) {
  $('stage').classList.toggle('busy', Boolean(text));
  $('stage').dataset.busy = text;
  if (text) $('summary').textContent = `${text} …`;
  else summarise(store.state);
}

function failedToAnswer(error, again) {
  failed(error, again);
  $('notice').dataset.of = 'answers';
}

/** What was told of answers that did not come is no longer true. */
function answered() {
  if ($('notice').dataset.of === 'answers') $('notice').hidden = true;
}

function failed(error, again = null) {
  $('notice-text').textContent = error.status === 401 ? 'This server asks for a token. Open the address that clipseg serve printed: the token is in it.' : error.message;
  $('notice').dataset.kind = error.kind ?? 'Error';
  $('notice').dataset.of = '';
  $('notice').hidden = false;
  $('notice-again').hidden = !again;
  $('notice-again').onclick = () => { $('notice').hidden = true; again?.(); };
}

$('notice-close').addEventListener('click', () => { $('notice').hidden = true; });

// -- opening pictures ------------------------------------------------------------------------------------------------

let pasted = 0;
let taken = 0;

async function take(file, phrase = null) {
  const number = taken += 1;
  $('notice').hidden = true;
  $('phrase-error').textContent = '';
  busy('Opening the picture');
  try {
    const picture = await pictures.open(file, nameOf(file, pasted += 1));
    if (number !== taken) return; // another was opened meanwhile, which came first
    store.apply((state) => {
      const next = changes.withPicture(picture)(state);
      return phrase && !state.prompts.length ? changes.withPrompt({ text: phrase, label: phrase })(next) : next;
    }, `Open ${picture.name}`);
  } catch (error) {
    if (number === taken) failed(error, () => take(file, phrase));
  } finally {
    if (number === taken && !answers.asking) busy('');
  }
}

for (const id of ['open', 'choose']) $(id).addEventListener('click', () => $('file').click());
$('file').addEventListener('change', ({ target }) => {
  if (target.files[0]) take(target.files[0]);
  target.value = '';
});
async function takeExample({ file, name, phrase }) {
  try {
    take(new File([await api.example(file)], name, { type: 'image/jpeg' }), phrase);
  } catch (error) {
    failed(error, () => takeExample({ file, name, phrase }));
  }
}
$('examples').append(...EXAMPLES.map(({ file, alt, ...more }) => h('li', {}, h('button', {
  type: 'button', title: alt, onclick: () => takeExample({ file, ...more }),
}, h('img', { src: `/static/examples/${file.replace('.jpg', '.thumb.jpg')}`, alt, width: 96, height: 96 })))));

let over = 0;
const dragged = (by) => { over += by; $('drop').hidden = over <= 0 || dialog.isOpen; };
window.addEventListener('dragenter', (event) => { if (event.dataTransfer?.types.includes('Files')) dragged(1); });
window.addEventListener('dragleave', (event) => { if (event.dataTransfer?.types.includes('Files')) dragged(-1); });
window.addEventListener('dragover', (event) => event.preventDefault());
window.addEventListener('drop', () => dragged(-over), true); // also of what the dialog takes
window.addEventListener('drop', (event) => {
  event.preventDefault();
  const file = pictureIn(event.dataTransfer);
  if (file && !dialog.isOpen) take(file);
});
window.addEventListener('paste', (event) => {
  const file = pictureIn(event.clipboardData);
  if (!file || (isTyping(event.target) && event.clipboardData.types.includes('text/plain'))) return; // words with a picture of them
  if (dialog.isOpen) dialog.takeFrom(event, event.clipboardData);
  else { event.preventDefault(); take(file); }
});

// -- asking ----------------------------------------------------------------------------------------------------------

function ask(text) {
  const phrase = text.trim();
  if (!phrase) return false;
  const known = store.state.prompts.find((prompt) => prompt.kind === 'text' && prompt.text === phrase);
  store.apply(known ? changes.withWanted(known.key) : changes.withPrompt({ text: phrase, label: phrase }), `“${phrase}”`);
  return true;
}

$('ask').addEventListener('submit', (event) => {
  event.preventDefault();
  $('phrase-error').textContent = '';
  if (ask($('phrase').value)) $('phrase').value = '';
  else $('phrase-error').textContent = 'Say what to look for, such as “a red cup”.';
  if (!store.state.picture && store.state.prompts.length) $('phrase-error').textContent = 'Open a picture to look in.';
});
$('expression-box').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('expression').value.trim();
  const said = !text ? 'Write phrases joined by AND, OR and NOT.' : isExpression(text) ? '' : 'There is no AND, OR or NOT in it, in capitals; for a phrase alone use the line above.';
  $('expression-error').textContent = said;
  if (!said) ask(text);
});
$('expression').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey) { event.preventDefault(); $('expression-box').requestSubmit(); }
});
$('expression-open').addEventListener('click', () => {
  const box = $('expression-box');
  box.hidden = !box.hidden;
  $('expression-open').setAttribute('aria-expanded', String(!box.hidden));
  if (!box.hidden) $('expression').focus();
});
document.querySelectorAll('[data-insert]').forEach((button) => button.addEventListener('click', () => {
  const field = $('expression');
  const { insert } = button.dataset;
  const picked = field.value.slice(field.selectionStart, field.selectionEnd);
  field.setRangeText(insert === '( )' ? `(${picked})` : insert, insert.startsWith('{') ? field.selectionEnd : field.selectionStart, field.selectionEnd, 'end');
  if (insert === '( )' && !picked) field.selectionEnd -= 1; // what comes next goes between them
  field.focus();
}));
$('example-open').addEventListener('click', () => dialog.open());
$('kept-all').addEventListener('click', () => store.apply((state) => ({ ...state, kept: {} }), 'Keep all parts'));

// -- tools and keys --------------------------------------------------------------------------------------------------

const next = (all, now) => all[(all.indexOf(now) + 1) % all.length];
const setting = (name) => store.state.settings[name];
const choose = (step) => {
  const fit = changes.wanted(store.state);
  if (!fit.length) return;
  const at = fit.findIndex((prompt) => prompt.key === store.state.selected);
  store.apply(changes.withSelected(fit[(at + step + fit.length) % fit.length].key), 'Choose a prompt', 'select');
};
const hide = () => {
  const prompt = store.state.prompts.find(({ key }) => key === store.state.selected);
  if (prompt) store.apply(changes.withChanged(prompt.key, { visible: !prompt.visible }), prompt.visible ? 'Hide' : 'Show');
};

$('undo').addEventListener('click', store.undo);
$('redo').addEventListener('click', store.redo);
$('zoom-in').addEventListener('click', () => stage.zoom(1.4));
$('zoom-out').addEventListener('click', () => stage.zoom(1 / 1.4));
$('zoom-fit').addEventListener('click', () => stage.zoom(null));
$('keys-open').addEventListener('click', () => $('keys').showModal());
$('history').addEventListener('toggle', () => renderHistory());
for (const opened of [$('keys'), $('example')]) opened.addEventListener('click', (event) => { if (event.target === opened) opened.close(); });

new Keyboard([
  [['/'], '/', 'Go to what to look for', () => { sheet.show('find'); $('phrase').focus(); }],
  [['o'], 'O', 'Open a picture', () => $('file').click()],
  [['e'], 'E', 'Show an example', () => dialog.open()],
  [['1', '2', '3'], '1 2 3', 'Fill, heat map, cut-out', ({ key }) => store.apply(changes.withSetting('show', SHOWS[key - 1]), ['Fill', 'Heat map', 'Cut-out'][key - 1])],
  [['[', ']'], '[ ]', 'Threshold down, up', ({ key }) => sliders.set('threshold', setting('threshold') + (key === '[' ? -0.02 : 0.02))],
  [['j', 'k'], 'J K', 'Next prompt, the one before', ({ key }) => choose(key === 'j' ? 1 : -1)],
  [['v'], 'V', 'Hide or show the chosen prompt', hide],
  [['n'], 'N', 'Number the connected parts, or not', () => store.apply(changes.withSetting('parts', !setting('parts')), 'Numbers')],
  [['c'], 'C', 'Compare: off, swipe, side by side', () => store.apply(changes.withCompare(next(COMPARES, store.state.compare)), 'Compare')],
  [['+', '=', '-', '0'], '+ − 0', 'Zoom in, zoom out, whole picture', ({ key }) => stage.zoom({ '-': 0.8, 0: null }[key] === undefined ? 1.25 : { '-': 0.8, 0: null }[key])],
  [['s'], 'S', 'Save what is on screen', () => downloads.saveScreen()],
  [['h'], 'H', 'History', () => $('history').togglePopover()],
  [['ctrl+z'], 'Ctrl Z', 'Undo', store.undo],
  [['ctrl+shift+z', 'ctrl+y'], 'Ctrl Shift Z', 'Redo', store.redo],
  [['?'], '?', 'These keys', () => $('keys').showModal()],
]);

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  kept('local').put('clipseg-theme', theme);
  $('theme').setAttribute('aria-label', `Theme: ${THEMES[theme]}`);
  $('theme').title = `Theme: ${THEMES[theme]}`;
  board = boardColours();
  paint(store.state);
}
$('theme').addEventListener('click', () => setTheme(next(Object.keys(THEMES), document.documentElement.dataset.theme)));
setTheme(document.documentElement.dataset.theme);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { board = boardColours(); paint(store.state); });

// -- the model -------------------------------------------------------------------------------------------------------

const POLL = 700; // milliseconds

async function untilReady() {
  for (;;) {
    try {
      const { ready, progress, message } = await api.readiness();
      $('loading').hidden = ready;
      if (ready) return;
      $('loading-text').textContent = message || 'The model is loading';
      $('loading-share').textContent = progress === null ? '' : percent(progress);
      if (progress === null) $('progress').removeAttribute('value'); else $('progress').value = progress;
    } catch (error) {
      $('loading').hidden = true;
      failed(error, begin);
      throw error;
    }
    await new Promise((resolve) => { setTimeout(resolve, POLL); });
  }
}

async function begin() {
  try {
    const [models, formats, styles] = await Promise.all([api.models(), api.formats(), api.styles()]);
    const model = models.find(({ loaded }) => loaded) ?? models[0];
    downloads.model = model?.name ?? 'nano';
    $('model').textContent = downloads.model;
    downloads.setFormats(formats);
    dialog.setStyles(styles.styles, styles.first);
    await untilReady();
    refresh();
  } catch (error) {
    if ($('notice').hidden) failed(error, begin);
  }
}

// The printed address, put into a tab that has the page already, loads nothing.
window.addEventListener('hashchange', () => {
  if (!api.takeToken()) return;
  $('notice').hidden = true;
  begin();
});

refresh();
begin();
