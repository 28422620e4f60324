// Paints masks on a canvas without WebGL, as webgl.js does with it, on fewer pixels and with harder edges.

import { colormap } from './colormaps.js';
import { between, cutFor, fieldOf } from './maps.js';

const MOST = 360_000; // pixels of a pane that are computed; the canvas enlarges them

export class FlatPainter {
  constructor(canvas) {
    Object.assign(this, { canvas, context: canvas.getContext('2d'), kind: 'flat', lost: false, kept: new Map() });
    this.small = document.createElement('canvas');
  }

  release() {} // nothing that is scarce

  clear() { this.context.clearRect(0, 0, this.canvas.width, this.canvas.height); }

  paint(scene) {
    const { pane, placed: { scale, left, top }, picture, layers } = scene;
    if (!layers.length) return;
    const factor = Math.min(1, Math.sqrt(MOST / (pane.width * pane.height)));
    const [width, height] = [pane.width, pane.height].map((side) => Math.max(1, Math.round(side * factor)));
    const image = new ImageData(width, height);
    const span = { x: [-left / scale / picture.width, pane.width / width / scale / picture.width], y: [-top / scale / picture.height, pane.height / height / scale / picture.height] };
    const maps = layers.map((layer) => this.sampled(layer, scene, span, width, height));
    const within = inPicture(span, width, height);
    if (scene.show === 'heat') heat(image.data, maps[0], within, scene);
    else if (scene.show === 'fill') fill(image.data, maps, within, scene, width);
    else hide(image.data, maps[0], within, scene, width, factor);

    const { context, small } = this;
    Object.assign(small, { width, height });
    small.getContext('2d').putImageData(image, 0, 0);
    const sigma = scene.show === 'heat' ? 0 : (scene.feather / 100) * Math.min(picture.width, picture.height) * scale;
    context.save();
    context.beginPath();
    context.rect(pane.x + scene.from, pane.y, Math.max(0, pane.width - scene.from), pane.height);
    context.clip();
    context.filter = sigma > 0 ? `blur(${sigma}px)` : 'none';
    context.drawImage(small, pane.x, pane.y, pane.width, pane.height);
    context.restore();
  }

  /** A layer -> its logits and picks (0, 128 or 255) at every pixel. */
  sampled(layer, scene, { x, y }, width, height) {
    const { map, picks } = layer;
    const finish = { ...scene, grow: scene.show === 'heat' ? 0 : scene.grow };
    const logits = this.values(layer, finish);
    const cut = cutFor(layer.cut, finish);
    const across = between(map.width, ...x, width);
    const down = between(map.height, ...y, height);
    const values = new Float32Array(width * height);
    const [right, below] = [map.width > 1 ? 1 : 0, map.height > 1 ? map.width : 0];
    for (let row = 0, at = 0; row < height; row += 1) {
      const start = down.low[row] * map.width;
      const part = down.part[row];
      for (let column = 0; column < width; column += 1, at += 1) {
        const cell = start + across.low[column];
        const upper = logits[cell] + across.part[column] * (logits[cell + right] - logits[cell]);
        const lower = logits[cell + below] + across.part[column] * (logits[cell + below + right] - logits[cell + below]);
        values[at] = upper + part * (lower - upper);
      }
    }
    const inside = new Uint8Array(width * height);
    for (let row = 0, at = 0; row < height; row += 1) {
      const line = picks && picks.width * clamp((y[0] + (row + 0.5) * y[1]) * picks.height, picks.height);
      for (let column = 0; column < width; column += 1, at += 1) {
        if (values[at] <= cut) continue;
        inside[at] = picks ? picks.data[line + clamp((x[0] + (column + 0.5) * x[1]) * picks.width, picks.width)] : 128;
      }
    }
    return { values, inside, colour: layer.colour };
  }

  values({ map, cut }, finish) {
    const made = JSON.stringify([finish.smooth, finish.grow ? cut : null]);
    const found = this.kept.get(map);
    if (found?.made === made) return found.values;
    if (this.kept.size > 32) this.kept.clear();
    const { values } = fieldOf(map, cut, finish);
    this.kept.set(map, { made, values });
    return values;
  }
}

const clamp = (at, size) => Math.min(Math.max(Math.floor(at), 0), size - 1);

/** Which columns and rows are in the picture. */
function inPicture({ x, y }, width, height) {
  const inside = ([from, step], count) => Uint8Array.from({ length: count }, (_, index) => {
    const at = from + (index + 0.5) * step;
    return at >= 0 && at <= 1 ? 1 : 0;
  });
  const [columns, rows] = [inside(x, width), inside(y, height)];
  return (at) => columns[at % width] && rows[Math.floor(at / width)];
}

function heat(data, { values }, within, { opacity, colormap: name }) {
  const colours = colormap(name);
  for (let at = 0; at < values.length; at += 1) {
    if (!within(at)) continue;
    const level = 4 * Math.round(255 / (1 + Math.exp(-values[at])));
    data.set([colours[level], colours[level + 1], colours[level + 2], 255 * opacity], 4 * at);
  }
}

function fill(data, maps, within, { opacity, feather }, width) {
  for (let at = 0; at < maps[0].values.length; at += 1) {
    if (!within(at)) continue;
    let [red, green, blue, alpha] = [0, 0, 0, 0];
    const over = (colour, strength) => {
      [red, green, blue] = [red, green, blue].map((value, axis) => value * (1 - strength) + colour[axis] * strength);
      alpha = alpha * (1 - strength) + strength;
    };
    for (const { inside, colour } of maps) {
      if (inside[at]) over(colour, Math.min(1, opacity + (inside[at] === 255 ? 0.25 : 0)));
    }
    for (const { inside, colour } of feather > 0 ? [] : maps) {
      const edge = inside[at] && !(inside[at - 1] && inside[at + 1] && inside[at - width] && inside[at + width]);
      if (edge) over(colour, 1);
    }
    if (alpha > 0) data.set([red / alpha, green / alpha, blue / alpha, 255 * alpha], 4 * at);
  }
}

/** A cut-out hides what is outside; `alpha` shows what is inside, as white. */
function hide(data, { inside }, within, { show, board, check }, width, factor) {
  for (let at = 0; at < inside.length; at += 1) {
    if (!within(at)) continue;
    if (show === 'alpha') data.set([255, 255, 255, inside[at] ? 255 : 0], 4 * at);
    else if (!inside[at]) {
      const square = Math.floor((at % width) / factor / check) + Math.floor(Math.floor(at / width) / factor / check);
      data.set([...board[square % 2], 255], 4 * at);
    }
  }
}
