// Soft maps as numbers: levels of 8 bits, probabilities and logits. Pure.
//
// A map is {width, height, levels}: round(255 p) at the logits' resolution, row by row from the top; it covers the
// whole picture. Logits are what is interpolated, as in the library, so that edges run where its own do.

const LEAST = 0.5 / 255; // what a level of 0 stands for, and 1 - LEAST for 255

export const logit = (probability) => Math.log(probability / (1 - probability));

/** A threshold -> the logit that must be exceeded: 0 is passed everywhere, 1 nowhere. */
export const cutOf = (threshold) => (threshold <= 0 ? -1e4 : threshold >= 1 ? 1e4 : logit(threshold));

const LOGITS = Float32Array.from({ length: 256 }, (_, level) => logit(Math.min(Math.max(level / 255, LEAST), 1 - LEAST)));

/** A length in percent of the picture's shorter side -> standard deviations [x, y] in cells of a map. */
export function cells(percent, picture, map) {
  const pixels = (percent / 100) * Math.min(picture.width, picture.height);
  return [(pixels * map.width) / picture.width, (pixels * map.height) / picture.height];
}

/** A map, and standard deviations in cells -> logits, of the probabilities blurred by a gaussian. */
export function logitsOf(map, [sigmaX, sigmaY]) {
  if (sigmaX <= 0 && sigmaY <= 0) return Float32Array.from(map.levels, (level) => LOGITS[level]);
  const { width, height } = map;
  const across = blurred(Float32Array.from(map.levels), width, height, sigmaX, 1, width);
  const both = blurred(across, height, width, sigmaY, width, 1);
  return both.map((level) => logit(Math.min(Math.max(level / 255, LEAST), 1 - LEAST)));
}

const EXACT = 2; // cells; a wider gaussian is three running means, which cost the same however wide they are

/** Half of a gaussian's weights, the middle first, all of them summing to 1. */
export function weights(sigma) {
  const half = Array.from({ length: Math.ceil(3 * sigma) + 1 }, (_, step) => Math.exp(-(step * step) / (2 * sigma * sigma)));
  const sum = half.reduce((total, weight, step) => total + (step ? 2 : 1) * weight, 0);
  return half.map((weight) => weight / sum);
}

/** The reach of a mean and the share its two outermost cells have, so that three in a row spread by sigma exactly. */
export function means(sigma) {
  const spread = (sigma * sigma) / 3;
  const reach = Math.floor((Math.sqrt(1 + 12 * spread) - 1) / 2);
  const share = ((2 * reach + 1) * (spread - (reach * (reach + 1)) / 3)) / (2 * ((reach + 1) ** 2 - spread));
  return { reach, share };
}

/** `lines` lines `stride` apart, of `length` numbers `step` apart -> each blurred, going on as its mirror. */
function blurred(values, length, lines, sigma, step, stride) {
  if (sigma <= 0) return values;
  const result = new Float32Array(values.length);
  const exact = sigma < EXACT ? weights(sigma) : null;
  const { reach, share } = exact ? { reach: exact.length - 2, share: 0 } : means(sigma);
  const pad = reach + 1;
  const line = new Float32Array(length + 2 * pad);
  for (let number = 0; number < lines; number += 1) {
    const start = number * stride;
    for (let at = 0; at < length; at += 1) line[pad + at] = values[start + at * step];
    if (exact) {
      mirror(line, length, pad);
      for (let at = 0; at < length; at += 1) {
        let sum = exact[0] * line[pad + at];
        for (let far = 1; far < exact.length; far += 1) sum += exact[far] * (line[pad + at - far] + line[pad + at + far]);
        result[start + at * step] = sum;
      }
    } else {
      for (let pass = 0; pass < 3; pass += 1) {
        mirror(line, length, pad);
        running(line, length, reach, share);
      }
      for (let at = 0; at < length; at += 1) result[start + at * step] = line[pad + at];
    }
  }
  return result;
}

/** Fill what is before and after a line: … 1 0 | 0 1 2 … n-1 | n-1 n-2 … */
function mirror(line, length, pad) {
  const turn = (at) => {
    const round = ((at % (2 * length)) + 2 * length) % (2 * length);
    return pad + (round < length ? round : 2 * length - 1 - round);
  };
  for (let far = 1; far <= pad; far += 1) {
    line[pad - far] = line[turn(-far)];
    line[pad + length - 1 + far] = line[turn(length - 1 + far)];
  }
}

const spare = { line: new Float32Array(0) };

/** The running mean over `reach` cells to either side and a share of one more, in place. */
function running(line, length, reach, share) {
  if (spare.line.length < length) spare.line = new Float32Array(length);
  const out = spare.line;
  const total = 2 * reach + 1 + 2 * share;
  const pad = reach + 1;
  let sum = 0;
  for (let at = 1; at <= 2 * reach + 1; at += 1) sum += line[at];
  for (let at = 0; at < length; at += 1) {
    out[at] = (sum + share * (line[at] + line[at + 2 * pad])) / total;
    sum += line[at + 2 * pad] - line[at + 1];
  }
  line.set(out.subarray(0, length), pad);
}

/** Where `count` places stand between `size` cells: the lower cell and how far towards the next, for each. */
export function between(size, from, step, count) {
  const low = new Int32Array(count);
  const part = new Float32Array(count);
  for (let index = 0; index < count; index += 1) {
    const at = Math.min(Math.max((from + (index + 0.5) * step) * size - 0.5, 0), size - 1);
    low[index] = Math.min(Math.floor(at), Math.max(size - 2, 0));
    part[index] = size > 1 ? at - low[index] : 0;
  }
  return { low, part };
}
