// Finds connected parts while sliders move, beside the page: {id, maps} -> {id, found}.

import { components, measured, spread } from './canvas/components.js';
import { cells, logitsOf } from './canvas/maps.js';

const SPREAD = 2; // cells

self.onmessage = ({ data: { id, maps, picture, smooth } }) => {
  const found = maps.map(({ key, map, cut }) => {
    const logits = logitsOf(map, cells(smooth, picture, map));
    const { parts, numbers } = measured(components(logits, map.width, map.height, cut), logits, map.width, map.height, picture);
    return { key, parts, width: map.width, height: map.height, numbers: spread(numbers, map.width, map.height, SPREAD) };
  });
  self.postMessage({ id, found }, found.map(({ numbers }) => numbers.buffer));
};
