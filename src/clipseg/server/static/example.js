// The dialog in which the thing meant is marked in an example picture.

import { boxOf, drawMarks, maskOf, regionOf } from './canvas/regions.js';
import { $, h, radios } from './dom.js';
import { nameOf, pictureIn } from './pictures.js';

const STYLE_HELP = 'What happens to the surroundings before the model sees the example.';
const CORNERS = ['x0', 'y0', 'x1', 'y1'];

export class ExampleDialog {
  /** `added({example, label})` is told of an example; `current()` is the picture that is open, or null. */
  constructor(pictures, { added, current }) {
    Object.assign(this, { pictures, added, current, dialog: $('example'), canvas: $('easel-canvas'), picture: null, marks: [], tool: 'brush', drawing: null });
    radios('tool', (tool) => { this.tool = tool; this.paint(); });
    $('example-choose').addEventListener('click', () => $('example-file').click());
    $('example-file').addEventListener('change', ({ target }) => { if (target.files[0]) this.take(target.files[0]); target.value = ''; });
    $('example-this').addEventListener('click', async () => { await this.pictures.wake(this.current().id); this.show(this.current()); });
    $('region-undo').addEventListener('click', () => this.setMarks(this.marks.slice(0, -1)));
    $('region-clear').addEventListener('click', () => this.setMarks([]));
    $('brush-size').addEventListener('input', () => this.paint());
    $('style').addEventListener('change', () => this.helpStyle());
    CORNERS.forEach((name) => $(`box-${name}`).addEventListener('change', () => this.typedBox()));
    this.dialog.addEventListener('dragover', (event) => event.preventDefault());
    this.dialog.addEventListener('drop', (event) => this.takeFrom(event, event.dataTransfer));
    $('example-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.finish();
    });
    // Not submit buttons: Enter in a field takes the first of those.
    document.querySelectorAll('[data-close="example"]').forEach((button) => button.addEventListener('click', () => this.dialog.close()));
    const { canvas } = this;
    canvas.addEventListener('pointerdown', (event) => this.begin(event));
    canvas.addEventListener('pointermove', (event) => this.go(event));
    for (const end of ['pointerup', 'pointercancel']) canvas.addEventListener(end, () => this.end());
    new ResizeObserver(() => this.paint()).observe($('easel'));
  }

  get isOpen() { return this.dialog.open; }

  setStyles(styles, first) {
    this.help = new Map(styles.map(({ name, help }) => [name, help]));
    $('style').replaceChildren(...styles.map(({ name }) => h('option', { value: name, selected: name === first }, name.replaceAll('_', ' '))));
    this.helpStyle();
  }

  helpStyle() { $('style-hint').textContent = this.help?.get($('style').value) ?? STYLE_HELP; }

  open() {
    this.show(null);
    $('example-this').hidden = !this.current();
    $('example-label').value = '';
    this.dialog.showModal();
  }

  takeFrom(event, transfer) {
    const file = pictureIn(transfer);
    if (!file) return;
    event.preventDefault();
    event.stopPropagation();
    this.take(file);
  }

  async take(file) {
    $('example-error').textContent = '';
    try {
      this.show(await this.pictures.open(file, nameOf(file)));
    } catch (error) {
      $('example-error').textContent = error.message;
    }
  }

  show(picture) {
    Object.assign(this, { picture, drawing: null });
    $('easel-empty').hidden = Boolean(picture);
    this.canvas.hidden = !picture;
    $('example-error').textContent = '';
    this.setMarks([]);
    if (picture) this.canvas.focus({ preventScroll: true });
  }

  // -- marks ---------------------------------------------------------------------------------------------------------

  setMarks(marks) {
    this.marks = marks;
    const region = this.picture ? regionOf(marks, this.picture) : { kind: 'whole' };
    CORNERS.forEach((name, index) => { $(`box-${name}`).value = region.box?.[index] ?? ''; });
    $('region-undo').disabled = $('region-clear').disabled = !marks.length;
    $('example-add').disabled = !this.picture;
    $('region-said').textContent = !this.picture ? '' : { whole: 'Nothing is marked: the whole picture is the example.', box: `A box of ${region.box && `${region.box[2] - region.box[0]} × ${region.box[3] - region.box[1]}`} pixels.`, mask: 'What is red is the thing.' }[region.kind];
    this.paint();
  }

  typedBox() {
    const values = CORNERS.map((name) => $(`box-${name}`).value);
    if (!this.picture || values.some((value) => value === '')) return;
    const [x0, y0, x1, y1] = values.map(Number);
    const box = boxOf({ points: [[x0, y0], [x1, y1]] }, this.picture);
    this.setMarks([{ tool: 'box', points: [box.slice(0, 2), box.slice(2)], size: 0 }]);
  }

  get brush() { return (Number($('brush-size').value) / 100) * Math.min(this.picture.width, this.picture.height); }

  begin(event) {
    if (!this.picture || event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    const point = this.point(event);
    this.drawing = { tool: this.tool, points: this.tool === 'box' ? [point, point] : [point], size: this.brush };
    this.paint();
  }

  go(event) {
    this.pointer = this.picture ? this.point(event) : null;
    if (this.drawing) {
      const all = event.getCoalescedEvents?.() ?? [];
      const points = (all.length ? all : [event]).map((one) => this.point(one));
      this.drawing = { ...this.drawing, points: this.drawing.tool === 'box' ? [this.drawing.points[0], points.at(-1)] : [...this.drawing.points, ...points] };
    }
    this.paint();
  }

  end() {
    if (!this.drawing) return;
    const marks = this.drawing.tool === 'box' ? [] : this.marks; // one box is the region: another replaces it
    const { drawing } = this;
    this.drawing = null;
    this.setMarks([...marks, drawing]);
  }

  point(event) {
    const { left, top, width } = this.canvas.getBoundingClientRect();
    const scale = this.picture.width / width;
    const clamp = (value, size) => Math.min(Math.max(value, 0), size);
    return [clamp((event.clientX - left) * scale, this.picture.width), clamp((event.clientY - top) * scale, this.picture.height)];
  }

  paint() {
    const { canvas, picture } = this;
    $('brush-out').textContent = `${$('brush-size').value} %`;
    if (!picture || !this.dialog.open) return;
    const room = $('easel').getBoundingClientRect();
    const shown = Math.min(room.width / picture.width, room.height / picture.height);
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const [width, height] = [picture.width, picture.height].map((side) => Math.max(1, Math.floor(side * shown)));
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    Object.assign(canvas, { width: width * ratio, height: height * ratio });
    const context = canvas.getContext('2d');
    const { levels } = this.pictures.get(picture.id);
    context.drawImage(levels.filter((level) => level.width >= canvas.width).at(-1) ?? levels[0], 0, 0, canvas.width, canvas.height);
    const layer = Object.assign(document.createElement('canvas'), { width: canvas.width, height: canvas.height });
    const scale = canvas.width / picture.width;
    drawMarks(layer.getContext('2d'), this.drawing ? [...(this.drawing.tool === 'box' ? [] : this.marks), this.drawing] : this.marks, scale, '#d0144a');
    context.globalAlpha = 0.55;
    context.drawImage(layer, 0, 0);
    context.globalAlpha = 1;
    if (this.pointer && (this.tool === 'brush' || this.tool === 'erase')) {
      context.beginPath();
      context.arc(this.pointer[0] * scale, this.pointer[1] * scale, (this.brush / 2) * scale, 0, 2 * Math.PI);
      Object.assign(context, { strokeStyle: '#fff', lineWidth: 1.5 * ratio });
      context.stroke();
    }
  }

  // -- done ----------------------------------------------------------------------------------------------------------

  async finish() {
    const { picture, marks } = this;
    const region = regionOf(marks, picture);
    const label = $('example-label').value.trim() || 'example';
    $('example-add').disabled = true;
    try {
      const mask = region.kind === 'mask' ? await this.pictures.keep(await maskOf(marks, picture), `${picture.name.replace(/\.[^.]*$/, '')}.mask.png`) : null;
      this.dialog.close();
      this.added({ label, example: { picture, box: region.box ?? null, mask, style: $('style').value } });
    } catch (error) {
      $('example-error').textContent = error.message;
      $('example-add').disabled = false;
    }
  }
}
