// Colours for probabilities: the library's maps by name, walked through Oklab at an even pace. Pure.

export const ANCHORS = {
  grey: ['#000000', '#ffffff'],
  ember: ['#05030f', '#4a1260', '#a8234f', '#ea6a25', '#f9c04a', '#fffbe0'],
  lagoon: ['#1a0b3c', '#263f82', '#1f7f93', '#43b37b', '#b4d94c', '#fdf7b0'],
  orchid: ['#06061c', '#3a2a86', '#9140a8', '#dd6f9f', '#f7b59c', '#fff6e6'],
  ice: ['#04070f', '#123a63', '#1f7cae', '#73bcd2', '#eefbfa'],
};

const TO_CONES = [
  [0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566], [0.0883024619, 0.2817188376, 0.6299787005],
];
const TO_LAB = [
  [0.2104542553, 0.793617785, -0.0040720468], [1.9779984951, -2.428592205, 0.4505937099], [0.0259040371, 0.7827717662, -0.808675766],
];
const FROM_CONES = inverse(TO_CONES);
const FROM_LAB = inverse(TO_LAB);
const made = new Map();

/** '#rrggbb' -> [r, g, b], 0 to 255. */
export const rgb = (hex) => [1, 3, 5].map((place) => parseInt(hex.slice(place, place + 2), 16));

/** A name -> 256 colours as one array of r, g, b, a. */
export function colormap(name) {
  if (!made.has(name)) made.set(name, walked(ANCHORS[name].map((hex) => toLab(rgb(hex)))));
  return made.get(name);
}

function walked(anchors) {
  const ways = [0];
  for (let at = 1; at < anchors.length; at += 1) ways.push(ways[at - 1] + Math.hypot(...anchors[at].map((value, axis) => value - anchors[at - 1][axis])));
  const colours = new Uint8ClampedArray(1024);
  for (let level = 0, at = 0; level < 256; level += 1) {
    const way = (level / 255) * ways.at(-1);
    while (at < ways.length - 2 && way > ways[at + 1]) at += 1;
    const share = (way - ways[at]) / (ways[at + 1] - ways[at]);
    colours.set([...fromLab(anchors[at].map((value, axis) => value + share * (anchors[at + 1][axis] - value))), 255], 4 * level);
  }
  return colours;
}

function toLab(colour) {
  const linear = colour.map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  return times(TO_LAB, times(TO_CONES, linear).map(Math.cbrt));
}

function fromLab(lab) {
  const linear = times(FROM_CONES, times(FROM_LAB, lab).map((value) => value ** 3)).map((value) => Math.min(Math.max(value, 0), 1));
  return linear.map((value) => Math.round(255 * (value <= 0.0031308 ? value * 12.92 : 1.055 * value ** (1 / 2.4) - 0.055)));
}

function times(matrix, vector) {
  return matrix.map((row) => row.reduce((sum, value, at) => sum + value * vector[at], 0));
}

/** The inverse of a 3 x 3 matrix, by cofactors. */
function inverse(m) {
  const minor = (row, column) => {
    const [a, b] = [0, 1, 2].filter((at) => at !== row);
    const [c, d] = [0, 1, 2].filter((at) => at !== column);
    return ((row + column) % 2 ? -1 : 1) * (m[a][c] * m[b][d] - m[a][d] * m[b][c]);
  };
  const size = [0, 1, 2].reduce((sum, at) => sum + m[0][at] * minor(0, at), 0);
  return [0, 1, 2].map((row) => [0, 1, 2].map((column) => minor(column, row) / size));
}
