// Swipe: a line over the stage, left of which the picture has no masks. Side by side is the renderer's.

export class Compare {
  constructor(box, input, changed) {
    Object.assign(this, { box, input, share: 0.5 });
    input.addEventListener('input', () => {
      this.share = Number(input.value);
      this.place();
      changed();
    });
  }

  render({ compare, picture }) {
    this.box.hidden = compare !== 'swipe' || !picture;
    this.input.setAttribute('aria-valuetext', `${Math.round(100 * this.share)} % without masks`);
    this.place();
  }

  place() { this.box.style.setProperty('--at', `${100 * this.share}%`); }
}
