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
  const length = pixels(percent, picture);
  return [(length * map.width) / picture.width, (length * map.height) / picture.height];
}

/** A length in percent of the shorter side -> pixels of the picture. */
export const pixels = (percent, picture) => (percent / 100) * Math.min(picture.width, picture.height);

/**
 * A map, the logit that must be exceeded, and how a mask is finished -> {logits, values, cut}: the mask is where values,
 * interpolated, exceed cut. As a rule these are the logits; of a mask that grows or shrinks they are how many pixels of
 * the picture a place is within it, so that another width is another cut and nothing else.
 */
export function fieldOf(map, cut, { picture, smooth, grow }) {
  const logits = logitsOf(map, cells(smooth, picture, map));
  if (!grow) return { logits, values: logits, cut };
  return { logits, values: depths(logits, map, cut, picture), cut: cutFor(cut, { picture, grow }) };
}

/** The cut of `fieldOf`, alone. */
export const cutFor = (cut, { picture, grow }) => (grow ? -pixels(grow, picture) : cut);

/** A map, and standard deviations in cells -> logits, of the probabilities blurred by a gaussian. */
export function logitsOf(map, [sigmaX, sigmaY]) {
  const { width, height, levels } = map;
  if (sigmaX <= 0 && sigmaY <= 0) {
    const logits = new Float32Array(levels.length);
    for (let at = 0; at < levels.length; at += 1) logits[at] = LOGITS[levels[at]];
    return logits;
  }
  const across = blurred(new Float32Array(levels), width, height, sigmaX, 1, width);
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

const FAR = 1e4; // pixels: there is no edge

/**
 * Logits and where the edge runs -> how far within the mask each cell's middle is, in pixels of the picture.
 *
 * Beside the edge that is known from the logits on either side; from there every cell hands on the nearest point of the
 * edge that it knows, down and up again (8SSED, after Danielsson, 1980).
 */
function depths(logits, { width, height }, cut, picture) {
  const [wide, high] = [picture.width / width, picture.height / height];
  const [toX, toY, far] = [0, 1, 2].map(() => new Float32Array(width * height).fill(FAR));
  const towards = (at, other, way) => (logits[at] > cut === logits[other] > cut ? FAR : (way * (logits[at] - cut)) / (logits[at] - logits[other]));
  const crossing = (at, step, size, place, count) => { // the nearer of the two ways along an axis, signed
    const before = place > 0 ? towards(at, at - step, -size) : FAR;
    const after = place < count - 1 ? towards(at, at + step, size) : FAR;
    return Math.abs(before) < Math.abs(after) ? before : after;
  };
  for (let y = 0, at = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, at += 1) {
      const across = crossing(at, 1, wide, x, width);
      const down = crossing(at, width, high, y, height);
      if (across === FAR && down === FAR) continue;
      const share = across === FAR ? 0 : down === FAR ? 1 : (down * down) / (across * across + down * down || 1);
      toX[at] = across === FAR ? 0 : across * share; // the foot of the line through both crossings
      toY[at] = down === FAR ? 0 : down * (across === FAR ? 1 : 1 - share);
      far[at] = Math.hypot(toX[at], toY[at]);
    }
  }
  const hand = (at, other, x, y) => {
    if (far[other] >= FAR) return;
    const [dx, dy] = [toX[other] + x, toY[other] + y];
    const length = Math.sqrt(dx * dx + dy * dy);
    if (length < far[at]) { far[at] = length; toX[at] = dx; toY[at] = dy; }
  };
  for (const way of [1, -1]) {
    for (let row = 0; row < height; row += 1) {
      const y = way > 0 ? row : height - 1 - row;
      const start = y * width;
      if (y - way >= 0 && y - way < height) {
        for (let x = 0; x < width; x += 1) {
          const before = start + x - way * width;
          hand(start + x, before, 0, -way * high);
          if (x > 0) hand(start + x, before - 1, -wide, -way * high);
          if (x < width - 1) hand(start + x, before + 1, wide, -way * high);
        }
      }
      for (let x = 1; x < width; x += 1) hand(start + x, start + x - 1, -wide, 0);
      for (let x = width - 2; x >= 0; x -= 1) hand(start + x, start + x + 1, wide, 0);
    }
  }
  return far.map((length, at) => (logits[at] > cut ? length : -length));
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
