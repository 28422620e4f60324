// Zoom and pan by wheel, pointer, pinch and keys; pointing at parts and clicking them.

import { pannedBy, pictured, placed, WHOLE, zoomedAt } from './canvas/view.js';

const STEP = 60; // pixels that an arrow key moves
const CLICK = 5; // pixels that a pointer may move in a click

export class Stage {
  /** `moved()` is told of another view, `pointed(point or null)` and `clicked(point)` of points of the picture. */
  constructor(element, renderer, { moved, pointed, clicked }) {
    Object.assign(this, { element, renderer, moved, pointed, clicked, pointers: new Map(), picture: null, far: 0 });
    element.addEventListener('wheel', (event) => this.wheel(event), { passive: false });
    element.addEventListener('pointerdown', (event) => this.down(event));
    element.addEventListener('pointermove', (event) => this.move(event));
    for (const end of ['pointerup', 'pointercancel']) element.addEventListener(end, (event) => this.up(event));
    element.addEventListener('pointerleave', () => this.pointed(null));
    element.addEventListener('dblclick', (event) => { if (event.target === element || event.target.tagName === 'CANVAS') this.zoom(this.renderer.view.zoom > 1 ? null : 4, this.at(event)); });
    element.addEventListener('keydown', (event) => this.key(event));
    new ResizeObserver(() => { renderer.request(); this.moved(); }).observe(element);
  }

  get pane() { return this.renderer.pane; }

  /** Closer by a factor, at a point of the pane or in its middle; null is the whole picture. */
  zoom(factor, point = [this.pane.width / 2, this.pane.height / 2]) {
    if (!this.picture) return;
    this.to(factor === null ? WHOLE : zoomedAt(this.renderer.view, factor, point, this.picture, this.pane));
  }

  pan(dx, dy) {
    if (this.picture) this.to(pannedBy(this.renderer.view, dx, dy, this.picture, this.pane));
  }

  to(view) {
    this.renderer.setView(view);
    this.moved();
  }

  /** A point of the picture -> of the stage, in the pane that has masks; null where it is out of sight. */
  place([x, y]) {
    const { width, height } = this.pane;
    const { scale, left, top } = placed(this.renderer.view, this.picture, this.pane);
    const at = [left + x * scale, top + y * scale];
    if (at[0] < 0 || at[1] < 0 || at[0] > width || at[1] > height) return null;
    return [at[0] + this.start, at[1]];
  }

  get start() { return this.renderer.scene?.compare === 'side' ? this.pane.width : 0; }

  at(event) {
    const { left, top } = this.element.getBoundingClientRect();
    return [(event.clientX - left) % this.pane.width, event.clientY - top];
  }

  inPicture(event) { return pictured(this.at(event), this.renderer.view, this.picture, this.pane); }

  wheel(event) {
    if (!this.picture) return;
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    this.zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), this.at(event));
  }

  down(event) {
    if (!this.picture || event.button || event.target.closest('button, input')) return;
    this.element.setPointerCapture(event.pointerId);
    if (!this.pointers.size) this.far = 0;
    this.pointers.set(event.pointerId, this.at(event));
  }

  move(event) {
    if (!this.picture) return;
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType === 'mouse' && !event.target.closest('button, input')) this.pointed(this.inPicture(event));
      return;
    }
    const now = this.at(event);
    const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
    this.far += Math.hypot(dx, dy);
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.pointers.set(event.pointerId, now);
    if (other) {
      const wide = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
      this.zoom(wide(now) / wide(before), other);
    } else if (this.far > CLICK) this.pan(dx, dy);
  }

  up(event) {
    const was = this.pointers.delete(event.pointerId);
    if (was && !this.pointers.size && this.far <= CLICK && event.type === 'pointerup') this.clicked(this.inPicture(event));
  }

  key(event) {
    if (event.target !== this.element || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };
    const zooms = { '+': 1.25, '=': 1.25, '-': 0.8, 0: null };
    if (moves[event.key]) this.pan(...moves[event.key]);
    else if (event.key in zooms) this.zoom(zooms[event.key]);
    else return;
    event.preventDefault();
  }
}
