// Where a picture stands in a pane: zoom and pan. Pure.
//
// A view is {zoom, x, y}: 1 fits the pane, and x, y is the place of the picture (0 to 1) in the pane's middle.

export const WHOLE = Object.freeze({ zoom: 1, x: 0.5, y: 0.5 });
const MARGIN = 0.94; // of the pane that a whole picture takes
const CLOSEST = 24; // pixels of the screen for one of the picture

/** A view, sizes {width, height} of picture and pane -> {scale, left, top}: pixels of the pane for one of the picture. */
export function placed(view, picture, pane) {
  const scale = fitted(picture, pane) * view.zoom;
  return { scale, left: pane.width / 2 - view.x * picture.width * scale, top: pane.height / 2 - view.y * picture.height * scale };
}

export const fitted = (picture, pane) => MARGIN * Math.min(pane.width / picture.width, pane.height / picture.height);

/** The same, `factor` times closer, with what is at a point of the pane staying there. */
export function zoomedAt(view, factor, point, picture, pane) {
  const most = Math.max(1, CLOSEST / fitted(picture, pane));
  const zoom = Math.min(Math.max(view.zoom * factor, 1), most);
  const [x, y] = pictured(point, view, picture, pane);
  const scale = fitted(picture, pane) * zoom;
  return held({
    zoom,
    x: (x - (point[0] - pane.width / 2) / scale) / picture.width,
    y: (y - (point[1] - pane.height / 2) / scale) / picture.height,
  }, picture, pane);
}

/** The same moved by pixels of the pane. */
export function pannedBy(view, dx, dy, picture, pane) {
  const { scale } = placed(view, picture, pane);
  return held({ ...view, x: view.x - dx / (picture.width * scale), y: view.y - dy / (picture.height * scale) }, picture, pane);
}

/** A point of the pane -> the same in pixels of the picture, also beyond it. */
export function pictured([x, y], view, picture, pane) {
  const { scale, left, top } = placed(view, picture, pane);
  return [(x - left) / scale, (y - top) / scale];
}

/** A view whose picture leaves no more of the pane free than it must. */
function held(view, picture, pane) {
  const axis = (at, size, room) => {
    const half = room / (2 * size * fitted(picture, pane) * view.zoom);
    return half >= 0.5 ? 0.5 : Math.min(Math.max(at, half - 0.03), 1 - half + 0.03);
  };
  return { zoom: view.zoom, x: axis(view.x, picture.width, pane.width), y: axis(view.y, picture.height, pane.height) };
}
