// Connected parts of a mask: found, measured, numbered from left to right. Pure; `instances.worker.js` runs it.

const MOST = 65535; // parts that are told apart

/** Numbers, and what they must exceed -> {numbers, count}: which part each place is of, from 1, corners touching. */
export function components(values, width, height, cut) {
  const numbers = new Uint16Array(width * height);
  const parent = [0];
  const root = (number) => {
    let at = number;
    while (parent[at] !== at) { parent[at] = parent[parent[at]]; at = parent[at]; }
    return at;
  };
  const joined = (own, other) => { // two parts that touch are one, of the lower number
    if (!other) return own;
    const found = root(other);
    if (!own || own === found) return found;
    const low = Math.min(own, found);
    parent[Math.max(own, found)] = low;
    return low;
  };
  for (let y = 0, at = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, at += 1) {
      if (!(values[at] > cut)) continue;
      let own = x > 0 ? joined(0, numbers[at - 1]) : 0;
      if (y > 0) {
        if (x > 0) own = joined(own, numbers[at - width - 1]);
        own = joined(own, numbers[at - width]);
        if (x < width - 1) own = joined(own, numbers[at - width + 1]);
      }
      if (!own && parent.length <= MOST) { own = parent.length; parent.push(own); }
      numbers[at] = own;
    }
  }
  const final = new Uint16Array(parent.length);
  let count = 0;
  for (let at = 1; at < parent.length; at += 1) final[at] = root(at) === at ? (count += 1) : final[root(at)];
  for (let at = 0; at < numbers.length; at += 1) numbers[at] = final[numbers[at]];
  return { numbers, count };
}

/** Parts found in logits of a map -> them numbered from left to right, and measured in pixels of the picture. */
export function measured({ numbers, count }, logits, width, height, picture) {
  const parts = Array.from({ length: count }, (_, index) => ({ was: index + 1, cells: 0, sum: 0, x: 0, y: 0, box: [width, height, 0, 0], at: 0 }));
  for (let at = 0; at < numbers.length; at += 1) {
    if (!numbers[at]) continue;
    const part = parts[numbers[at] - 1];
    const x = at % width;
    const y = (at - x) / width;
    part.cells += 1;
    part.sum += 1 / (1 + Math.exp(-logits[at]));
    part.x += x;
    part.y += y;
    const { box } = part;
    if (x < box[0]) box[0] = x;
    if (y < box[1]) box[1] = y;
    if (x >= box[2]) box[2] = x + 1;
    if (y >= box[3]) box[3] = y + 1;
  }
  const nearest = new Float64Array(count).fill(Infinity);
  for (let at = 0; at < numbers.length; at += 1) { // a pin stands inside its part, also in a ring
    if (!numbers[at]) continue;
    const part = parts[numbers[at] - 1];
    const far = Math.hypot((at % width) - part.x / part.cells, Math.floor(at / width) - part.y / part.cells);
    if (far < nearest[part.was - 1]) { nearest[part.was - 1] = far; part.at = at; }
  }
  const [wide, high] = [picture.width / width, picture.height / height];
  parts.sort((one, other) => one.x / one.cells - other.x / other.cells);
  const renumbered = new Uint16Array(count + 1);
  const result = parts.map((part, index) => {
    renumbered[part.was] = index + 1;
    return {
      number: index + 1,
      area: Math.round(part.cells * wide * high),
      score: part.sum / part.cells,
      box: [part.box[0] * wide, part.box[1] * high, part.box[2] * wide, part.box[3] * high].map(Math.round),
      pin: [((part.at % width) + 0.5) * wide, (Math.floor(part.at / width) + 0.5) * high],
    };
  });
  return { parts: result, numbers: numbers.map((number) => renumbered[number]) };
}

/** Numbers of parts -> the same spread by some cells over what is of none, for edges that run between cells. */
export function spread(numbers, width, height, steps) {
  let now = numbers;
  for (let step = 0; step < steps; step += 1) {
    const next = now.slice();
    for (let y = 0, at = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1, at += 1) {
        if (now[at]) continue;
        next[at] = (x > 0 && now[at - 1]) || (x < width - 1 && now[at + 1]) || (y > 0 && now[at - width]) || (y < height - 1 && now[at + width]) || 0;
      }
    }
    now = next;
  }
  return now;
}

/** A point of the picture -> the number of the part there, 0 for none. */
export function partAt([x, y], found, picture) {
  const column = Math.floor((x / picture.width) * found.width);
  const row = Math.floor((y / picture.height) * found.height);
  if (column < 0 || row < 0 || column >= found.width || row >= found.height) return 0;
  return found.numbers[row * found.width + column];
}
