// The tools on a phone: a sheet at the bottom with three heights, and one of its parts at a time.

const HEIGHTS = ['low', 'middle', 'high'];
const DRAG = 24; // pixels that a drag takes to count

export class Sheet {
  constructor(panel, handle, tabs) {
    Object.assign(this, { panel, handle, tabs });
    handle.addEventListener('click', () => { if (!this.dragged) this.set(this.height === 'low' ? 'middle' : 'low'); });
    handle.addEventListener('pointerdown', (event) => { this.from = event.clientY; this.dragged = false; handle.setPointerCapture(event.pointerId); });
    handle.addEventListener('pointerup', (event) => {
      const way = this.from - event.clientY;
      this.dragged = Math.abs(way) > DRAG;
      if (this.dragged) this.set(HEIGHTS[Math.min(Math.max(HEIGHTS.indexOf(this.height) + Math.sign(way), 0), 2)]);
    });
    handle.addEventListener('keydown', ({ key }) => {
      const step = { ArrowUp: 1, ArrowDown: -1 }[key];
      if (step) this.set(HEIGHTS[Math.min(Math.max(HEIGHTS.indexOf(this.height) + step, 0), 2)]);
    });
    tabs.addEventListener('click', ({ target }) => {
      const tab = target.closest('[data-tab]')?.dataset.tab;
      if (tab) this.show(tab);
    });
    this.set('middle');
    this.show('find', false);
  }

  get height() { return document.body.dataset.sheet; }

  set(height) {
    document.body.dataset.sheet = height;
    this.handle.setAttribute('aria-expanded', String(height !== 'low'));
  }

  show(tab, raise = true) {
    this.panel.dataset.shows = tab;
    this.tabs.querySelectorAll('[data-tab]').forEach((button) => {
      if (button.dataset.tab === tab) button.setAttribute('aria-current', 'true'); else button.removeAttribute('aria-current');
    });
    this.panel.scrollTop = 0;
    if (raise && this.height === 'low') this.set('middle');
  }
}
