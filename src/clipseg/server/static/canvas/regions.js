// The thing meant in an example: marks of brush, box, lasso and eraser, in pixels of the picture, and what they make.
//
// A mark is {tool, points: [[x, y], …], size}: of a box the two corners, of a lasso its outline, of brush and eraser
// the way of a pen `size` wide. Marks are values; the last one is undone by leaving it out.

/** Marks -> what they say: {kind: 'whole'}, {kind: 'box', box} where a box is all there is, or {kind: 'mask'}. */
export function regionOf(marks, { width, height }) {
  const counted = marks.filter((mark) => !isNothing(mark));
  if (!counted.some((mark) => mark.tool !== 'erase')) return { kind: 'whole' };
  const [only, ...others] = counted;
  return others.length || only.tool !== 'box' ? { kind: 'mask' } : { kind: 'box', box: boxOf(only, { width, height }) };
}

/** Two corners -> x0, y0, x1, y1 in whole pixels of the picture, half-open. */
export function boxOf({ points: [[x0, y0], [x1, y1]] }, { width, height }) {
  const axis = (one, other, size) => {
    const [low, high] = [Math.min(one, other), Math.max(one, other)];
    const from = Math.min(Math.max(Math.round(low), 0), size - 1);
    return [from, Math.min(Math.max(Math.round(high), from + 1), size)];
  };
  const [left, right] = axis(x0, x1, width);
  const [top, bottom] = axis(y0, y1, height);
  return [left, top, right, bottom];
}

/** A click without a way makes no box and no lasso. */
export function isNothing({ tool, points }) {
  if (tool === 'box') return points.length < 2 || Math.abs(points[0][0] - points[1][0]) < 1 || Math.abs(points[0][1] - points[1][1]) < 1;
  return tool === 'lasso' ? points.length < 3 : points.length < 1;
}

/** Draw marks in one colour on a canvas that has `scale` pixels for one of the picture. */
export function drawMarks(context, marks, scale, colour) {
  context.save();
  context.scale(scale, scale);
  Object.assign(context, { lineCap: 'round', lineJoin: 'round', fillStyle: colour, strokeStyle: colour });
  for (const mark of marks.filter((one) => !isNothing(one))) {
    const { tool, points, size } = mark;
    context.globalCompositeOperation = tool === 'erase' ? 'destination-out' : 'source-over';
    context.beginPath();
    if (tool === 'box') {
      const [[x0, y0], [x1, y1]] = points;
      context.fillRect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
      continue;
    }
    context.moveTo(...points[0]);
    points.slice(1).forEach((point) => context.lineTo(...point));
    if (tool === 'lasso') {
      context.closePath();
      context.fill();
      continue;
    }
    context.lineWidth = size;
    context.lineTo(points.at(-1)[0] + 0.01, points.at(-1)[1]); // a dab is a way too
    context.stroke();
  }
  context.restore();
}

/** Marks -> a PNG of the picture's size, white inside and black outside. */
export function maskOf(marks, { width, height }) {
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const context = canvas.getContext('2d');
  drawMarks(context, marks, 1, '#fff');
  context.globalCompositeOperation = 'destination-over';
  context.fillStyle = '#000';
  context.fillRect(0, 0, width, height);
  return new Promise((resolve) => { canvas.toBlob(resolve, 'image/png'); });
}
