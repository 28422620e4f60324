// The picture and, above it, the masks: two canvases of the size of the view, painted once a frame at most.
//
// A scene of the painters: picture {width, height}; pane {x, y, width, height} in pixels of the canvas; placed {scale,
// left, top} of the picture in the pane; from, the column of the pane where masks begin; layers [{map, colour, cut,
// picks}]; show, opacity, colormap, smooth, grow, feather as in the state; thick, board, check of outlines and cut-outs.
// `picks` say of each part whether it is dropped (0), there (128) or lit (255): {width, height, data}, or null.

import { FlatPainter } from './flat.js';
import { placed, WHOLE } from './view.js';
import { WebglPainter } from './webgl.js';

const LATE = 21; // milliseconds from asking for a frame to its beginning: more is late at 60 a second
const COARSEST = 0.35;
const REST = 160; // milliseconds without a change, after which all is painted at full sharpness again
const TILE = 2048;

export class Renderer {
  constructor(base, overlay, { forceFlat = false } = {}) {
    Object.assign(this, { base, overlay, view: WHOLE, scene: null, levels: [], sharp: 1, painted: 0, asked: null });
    this.context = base.getContext('2d', { alpha: true });
    this.painter = forceFlat ? new FlatPainter(overlay) : painterFor(overlay);
    overlay.addEventListener('webglcontextlost', (event) => event.preventDefault());
    overlay.addEventListener('webglcontextrestored', () => { this.painter = new WebglPainter(overlay); this.request(); });
  }

  /** Sizes of the picture, each half the one before, so that a far view is drawn from a small one. */
  setPicture(levels) {
    this.levels = levels;
    this.view = WHOLE;
    this.request();
  }

  setScene(scene) {
    this.scene = scene;
    this.request();
  }

  setView(view) {
    this.view = view;
    this.request();
  }

  get ratio() { return Math.min(window.devicePixelRatio || 1, 2); }

  /** Width and height of one pane in CSS pixels: half the stage where pictures are side by side. */
  get pane() {
    const { clientWidth, clientHeight } = this.base;
    return { width: this.scene?.compare === 'side' ? clientWidth / 2 : clientWidth, height: clientHeight };
  }

  request() {
    if (this.asked !== null) return;
    this.asked = performance.now();
    requestAnimationFrame((now) => {
      this.pace(now - this.asked);
      this.asked = null;
      this.paint();
    });
  }

  /** While frames come late there are fewer pixels to a frame; at rest there are all again. */
  pace(waited) {
    const rested = this.sharp === null;
    this.sharp = rested ? 1 : waited > LATE ? Math.max(COARSEST, this.sharp * 0.8) : this.sharp;
    clearTimeout(this.resting);
    if (this.sharp < 1) this.resting = setTimeout(() => { this.sharp = null; this.request(); }, REST);
  }

  paint() {
    const { scene, levels, base, overlay } = this;
    const width = Math.round(base.clientWidth * this.ratio);
    const height = Math.round(base.clientHeight * this.ratio);
    if (!width || !height) return;
    const view = JSON.stringify([this.view, width, height, scene?.compare, levels[0] && this.levels.length]);
    if (view !== this.drawn || levels !== this.drawnLevels) {
      Object.assign(base, { width, height });
      if (scene && levels.length) this.paintPicture(scene, width, height);
      Object.assign(this, { drawn: view, drawnLevels: levels });
    }
    this.paintMasks(scene, Math.max(1, Math.round(width * this.sharp)), Math.max(1, Math.round(height * this.sharp)), this.ratio * this.sharp);
    this.painted += 1;
    overlay.dataset.painted = this.painted;
  }

  paintPicture(scene, width, height) {
    const { context, ratio } = this;
    const panes = scene.compare === 'side' ? [0, width / 2] : [0];
    const { scale, left, top } = placed(this.view, scene.picture, this.pane);
    const source = levelFor(this.levels, scale * ratio);
    context.imageSmoothingQuality = 'medium';
    context.imageSmoothingEnabled = scale * ratio < 4; // closer than that, pixels are what one wants to see
    for (const start of panes) {
      context.save();
      context.beginPath();
      context.rect(start, 0, width / panes.length, height);
      context.clip();
      onPaper(context, source, start + left * ratio, top * ratio, scene.picture.width * scale * ratio, scene.picture.height * scale * ratio);
      context.restore();
    }
  }

  paintMasks(scene, width, height, ratio) {
    const { overlay } = this;
    if (overlay.width !== width || overlay.height !== height) Object.assign(overlay, { width, height });
    if (this.painter.lost) return;
    this.painter.clear();
    if (!scene?.layers.length) return;
    const half = scene.compare === 'side' ? Math.floor(width / 2) : 0;
    const { scale, left, top } = placed(this.view, scene.picture, this.pane);
    this.painter.paint({
      ...scene,
      pane: { x: half, y: 0, width: width - half, height },
      placed: { scale: scale * ratio, left: left * ratio, top: top * ratio },
      from: scene.compare === 'swipe' ? Math.round(scene.swipe * width) : 0,
      thick: Math.max(1.25 * ratio, (Math.min(scene.picture.width, scene.picture.height) / 300) * scale * ratio),
      check: 10 * ratio,
    });
  }

  /** What is on screen, at the picture's own size -> a PNG; of a cut-out the rest is transparent. */
  async full() {
    const { scene, levels } = this;
    const { width, height } = scene.picture; // its pixels are awake: it is on screen
    const result = Object.assign(document.createElement('canvas'), { width, height });
    const context = result.getContext('2d');
    onPaper(context, levels[0], 0, 0, width, height);
    const tile = Object.assign(document.createElement('canvas'), { width: Math.min(TILE, width), height: Math.min(TILE, height) });
    const painter = this.painter.kind === 'flat' ? new FlatPainter(tile) : painterFor(tile);
    const cut = scene.show === 'cutout';
    const masks = cut ? Object.assign(document.createElement('canvas'), { width, height }) : result;
    const into = cut ? masks.getContext('2d') : context;
    for (let y = 0; y < height && scene.layers.length; y += TILE) {
      for (let x = 0; x < width; x += TILE) {
        painter.clear();
        painter.paint({
          ...scene, show: cut ? 'alpha' : scene.show, pane: { x: 0, y: 0, width: tile.width, height: tile.height }, placed: { scale: 1, left: -x, top: -y },
          layers: scene.layers.map(unlit), from: 0, thick: Math.max(1, Math.round(Math.min(width, height) / 300)), check: 10,
        });
        into.drawImage(tile, x, y);
      }
    }
    if (cut) {
      context.globalCompositeOperation = 'destination-in';
      context.drawImage(masks, 0, 0);
    }
    painter.release();
    return new Promise((resolve) => { result.toBlob(resolve, 'image/png'); });
  }
}

const unlit = (layer) => (layer.picks ? { ...layer, picks: { ...layer.picks, data: layer.picks.data.map((pick) => Math.min(pick, 128)) } } : layer);

function painterFor(canvas) {
  try {
    return new WebglPainter(canvas);
  } catch {
    return new FlatPainter(canvas);
  }
}

/** A picture with white where it is transparent, as the model gets it and as the library draws it. */
function onPaper(context, source, ...place) {
  context.fillStyle = '#fff';
  context.fillRect(...place);
  context.drawImage(source, ...place);
}

/** The smallest level that still has a pixel for each that is drawn. */
function levelFor(levels, scale) {
  const fit = levels.filter((level) => level.width >= levels[0].width * scale);
  return fit.at(-1) ?? levels[0];
}
