// Finds connected parts while sliders move, beside the page: {id, maps} -> {id, found}.

import { components, measured, spread } from './canvas/components.js';
import { fieldOf } from './canvas/maps.js';

const SPREAD = 2; // cells

self.onmessage = ({ data: { id, maps, ...finish } }) => {
  const all = maps.map(({ key, map, cut }) => {
    const field = fieldOf(map, cut, finish);
    const found = components(field.values, map.width, map.height, field.cut);
    const { parts, numbers } = measured(found, field.logits, map.width, map.height, finish.picture);
    return { key, parts, width: map.width, height: map.height, numbers: spread(numbers, map.width, map.height, SPREAD) };
  });
  self.postMessage({ id, found: all }, all.map(({ numbers }) => numbers.buffer));
};
