// What is on screen, as Python, as a command and as curl. Pure: a scene -> text that can be run.
//
// A scene is {state, prompts, keeps, model, origin, token}: `prompts` are those on screen, `keeps` the numbers of the
// parts kept of each (null: all), as `question.numbersAt` has them.

import { rgb } from './canvas/colormaps.js';
import { exactQuestions, onScreen } from './question.js';
import { PALETTE, unwanted } from './state.js';

const WORDS = new Set(['AND', 'OR', 'NOT']);

/** A phrase -> the same as part of an expression, in quotes where it would be read otherwise. */
export function quoted(phrase) {
  const plain = /^[^\s()|&"!{}\\]+(?: [^\s()|&"!{}\\]+)*$/.test(phrase) && !phrase.split(' ').some((word) => WORDS.has(word));
  return plain ? phrase : `"${phrase.replace(/["\\]/g, '\\$&')}"`;
}

/** Whether the library reads a text as an expression: an operator, or all of it in quotes. */
export const isExpression = (text) =>
  /(^|[\s()])(AND|OR|NOT)(?=$|[\s()])|\||(^|\W)&|&(\W|$)|\{\s*[*+-]|^\s*!|[(|&]\s*!/.test(unquoted(text)) || /^\s*"(?:[^"\\]|\\.)*"\s*$/.test(text);

/** A text and a weight -> the text that says both. */
export const weighted = (text, weight) => {
  if (weight === 1) return text;
  return `${isExpression(text) ? `(${text})` : quoted(text)}{*${weight}}`;
};

const unquoted = (text) => text.replace(/"(?:[^"\\]|\\.)*"/g, 'x');

/** Prompts in the order that masks are drawn -> their colours; null where they are those of the palette, as an overlay has them. */
export const ownColours = (prompts) => (prompts.some(({ colour }, index) => colour !== PALETTE[index]) ? prompts.map(({ colour }) => colour) : null);

/** Settings and prompts -> an overlay's parameters, as the command line and the API write them. */
const overlay = ({ opacity }, prompts) => `overlay:alpha=${opacity},legend=no${ownColours(prompts) ? `,colours=${ownColours(prompts).join('/')}` : ''}`;

// -- Python ----------------------------------------------------------------------------------------------------------

/** A value -> a Python literal. */
export function py(value) {
  if (value === null || value === undefined) return 'None';
  if (value === true || value === false) return value ? 'True' : 'False';
  if (Array.isArray(value)) return `[${value.map(py).join(', ')}]`;
  if (typeof value === 'number') return String(value);
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, (letter) => (letter > '\u009f' ? letter : `\\u00${letter.charCodeAt(0).toString(16)}`));
}

export function python(scene) {
  const { state, prompts, keeps, model } = scene;
  const { settings, picture } = state;
  const negative = unwanted(state);
  const all = [...prompts, ...negative];
  const groups = exactQuestions(state, prompts, keeps);
  const several = groups.length > 1; // masks with other picks each: every mask is finished on its own
  const how = settings.show !== 'fill' ? settings.show : settings.feather > 0 ? 'soft' : several ? 'apart' : 'fill';
  const imports = [
    `from clipseg import ${[...(all.some(isExample) ? ['ImagePrompt'] : []), 'Segmenter'].join(', ')}`,
    { heat: 'from clipseg.formats.drawings import write_heat_map', cutout: 'from clipseg.formats.cutouts import write_cutout', soft: 'from clipseg.masks.draw import paint_heat', apart: 'from clipseg.masks.draw import paint_masks' }[how],
    all.some((prompt) => isExample(prompt) && prompt.weight !== 1) && 'from clipseg.prompting.expressions import Strength',
  ].filter(Boolean);
  const options = { ...onScreen(state, prompts, several ? null : groups[0].keep), ...(settings.fit !== 'squash' && { fit: settings.fit }) };
  const one = (prompt, index) => `masks[${index}]${several && keeps[prompt.key] ? `.with_options(keep=${py(keeps[prompt.key].join(','))})` : ''}`;
  const each = (answer) => ['finished = [', ...prompts.map((prompt, index) => `    ${one(prompt, index)}.${answer}().numpy(),`), ']'];
  const file = (kind) => py(`${stemOf(picture.name)}.${kind}.png`);
  const own = ownColours(prompts);
  const colours = own ? `, [${own.map((colour) => `(${rgb(colour).join(', ')})`).join(', ')}]` : '';
  const written = {
    fill: [`masks.overlay(alpha=${settings.opacity}, legend=False${own ? `, colours=${py(own)}` : ''}).save(${file('overlay')})`],
    apart: [...each('binary'), `paint_masks(masks.picture, finished, ${settings.opacity}${colours}).save(${file('overlay')})`],
    soft: [...each('matte'), `paint_heat(masks.picture, finished, ${settings.opacity}${colours}).save(${file('overlay')})`],
    heat: [`write_heat_map(${file('heatmap')}, masks[0], colormap=${py(settings.colormap)}, alpha=${settings.opacity})`],
    cutout: [`write_cutout(${file('cutout')}, masks[0])`],
  }[how];
  return `${[
    ...imports, '',
    `segmenter = Segmenter.from_pretrained(${py(model)})`,
    'masks = segmenter.segment(',
    `    ${py(picture.name)},`,
    `    [${prompts.map(pyPrompt).join(', ')}],`,
    ...(negative.length ? [`    negative=[${negative.map(pyPrompt).join(', ')}],`] : []),
    ...Object.entries(options).map(([name, value]) => `    ${name}=${py(value)},`),
    ')',
    ...written,
  ].join('\n')}\n`;
}

const isExample = (prompt) => prompt.kind === 'example';

function pyPrompt(prompt) {
  if (!isExample(prompt)) return py(weighted(prompt.text, prompt.weight));
  const { example } = prompt;
  const region = example.mask ? `, mask=${py(example.mask.name)}` : example.box ? `, box=(${example.box.join(', ')})` : '';
  const one = `ImagePrompt(${py(example.picture.name)}${region}, style=${py(example.style)}, label=${py(prompt.label)})`;
  return prompt.weight === 1 ? one : `Strength(${one}, ${prompt.weight})`;
}

// -- a command -------------------------------------------------------------------------------------------------------

/** A text -> one word of a POSIX shell. */
export const sh = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${String(text).replaceAll("'", "'\\''")}'`);

export function command(scene) {
  const { state, prompts, keeps, model } = scene;
  const { settings, picture } = state;
  const commands = exactQuestions(state, prompts, keeps).map((group, index, every) => {
    const ordered = [...group.prompts].sort((one, other) => isExample(one) - isExample(other)); // as the command has them
    const examples = ordered.filter(isExample);
    const name = { fill: 'segment', heat: 'heatmap', cutout: 'cutout' }[settings.show];
    const parts = [`clipseg ${name} ${sh(picture.name.startsWith('-') ? `./${picture.name}` : picture.name)}`];
    parts.push(`--model ${sh(model)}`);
    parts.push(...ordered.filter((prompt) => !isExample(prompt)).map((prompt) => `-p ${sh(weighted(prompt.text, prompt.weight))}`));
    parts.push(...examples.map((prompt) => `--image-prompt ${sh(shown(prompt.example))}`));
    if (examples.length) parts.push(`--style ${sh(examples[0].example.style)}`);
    parts.push(...unwanted(state).filter((prompt) => !isExample(prompt)).map((prompt) => `-n ${sh(weighted(prompt.text, prompt.weight))}`));
    if (settings.fit !== 'squash') parts.push(`--fit ${settings.fit}`);
    for (const [option, value] of Object.entries(onScreen(state, ordered, group.keep))) {
      [value].flat().forEach((one) => parts.push(`--${option} ${sh(String(one))}`)); // a threshold for each mask
    }
    if (settings.show === 'heat') parts.push(`--colormap ${settings.colormap}`, `--opacity ${settings.opacity}`);
    if (settings.show === 'fill') parts.push(`--format ${sh(overlay(settings, ordered))}`);
    if (every.length > 1) parts.push(`--out ${sh(`${stemOf(picture.name)}.${index + 1}`)}`); // each has files of the same names
    return [...limits(scene, examples), parts.join(' \\\n  ')].join('\n');
  });
  return `${commands.join('\n')}\n`;
}

const shown = ({ picture, mask, box }) => picture.name + (mask ? `:${mask.name}` : box ? `:${box.join(',')}` : '');

/** What a command has no words for, as comments. */
function limits({ state }, examples) {
  const said = [];
  if (new Set(examples.map((prompt) => prompt.example.style)).size > 1) said.push('# The examples have styles of their own, and a command has one for all: take Python.');
  if (examples.some((prompt) => prompt.weight !== 1)) said.push('# A command has no weight for an example: take Python.');
  if (unwanted(state).some(isExample)) said.push('# A command has no examples of what is not wanted: take Python.');
  if (state.settings.show === 'fill' && state.settings.feather > 0) said.push('# An overlay has hard edges; cutouts are feathered.');
  return said;
}

// -- curl ------------------------------------------------------------------------------------------------------------

export function curl(scene) {
  const { state, prompts, keeps, origin, token } = scene;
  const { settings, picture } = state;
  const allowed = token ? ` \\\n  -H "Authorization: Bearer $CLIPSEG_TOKEN"` : '';
  const stem = stemOf(picture.name);
  const drawn = (asked) => ({
    fill: overlay(settings, asked), heat: `heatmap:colormap=${settings.colormap},alpha=${settings.opacity}`, cutout: 'cutout',
  }[settings.show]);
  const examples = [...prompts, ...unwanted(state)].filter(isExample).map((prompt) => prompt.example);
  const files = [picture, ...examples.flatMap((example) => [example.picture, example.mask])].filter(Boolean);
  const names = [...new Map(files.map((file) => [file.id, file.name])).values()];
  const uploads = names.map((name) => `curl --data-binary @${sh(name)} -H 'Content-Type: ${mediaType(name)}'${allowed} \\\n  ${origin}/v1/pictures`);
  const asked = exactQuestions(state, prompts, keeps, (some) => ({ format: 'zip', formats: [drawn(some)], name: bundleOf(picture.name) }), onScreen).map(({ body }, index, every) =>
    `curl -o ${sh(`${stem}${every.length > 1 ? `.${index + 1}` : ''}.zip`)} -H 'Content-Type: application/json'${allowed} \\\n  ${origin}/v1/segment -d ${sh(JSON.stringify(body))}`);
  return `${[...uploads, ...asked].join('\n')}\n`;
}

export const stemOf = (name) => name.replace(/\.[^.]*$/, '') || 'picture';
/** What the files in a zip are called by: the API takes no more letters. */
export const bundleOf = (name) => [...stemOf(name)].slice(0, 100).join('');
const MEDIA = { jpg: 'image/jpeg', jpeg: 'image/jpeg', png: 'image/png', webp: 'image/webp', gif: 'image/gif', bmp: 'image/bmp', tif: 'image/tiff', tiff: 'image/tiff', avif: 'image/avif' };
const mediaType = (name) => MEDIA[name.split('.').pop().toLowerCase()] ?? 'application/octet-stream';
