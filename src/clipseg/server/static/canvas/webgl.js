// Paints masks on a canvas by WebGL 2. What is painted is described in renderer.js.

import { colormap } from './colormaps.js';
import { cutFor, fieldOf } from './maps.js';
import { BLUR, paint, PART, SHOW, VERTEX } from './shaders.js';

const WIDEST = 4; // pixels: a wider feather is blurred on a smaller canvas, where it is this wide
const NORMAL = 128; // a part that is neither dropped (0) nor lit (255)

export class WebglPainter {
  /** Raises where the canvas has no WebGL 2. */
  constructor(canvas) {
    const gl = canvas.getContext('webgl2', { alpha: true, antialias: false, depth: false, premultipliedAlpha: true, preserveDrawingBuffer: true });
    if (!gl) throw new Error('no WebGL 2 here');
    Object.assign(this, { gl, canvas, groups: [], ramps: new Map(), painting: new Map(), kind: 'webgl' });
    this.blurWith = this.program(BLUR);
    this.targets = [this.target(), this.target()];
    gl.bindVertexArray(gl.createVertexArray());
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.clearColor(0, 0, 0, 0);
  }

  get lost() { return this.gl.isContextLost(); }

  /** Browsers have few contexts to give, and take the oldest away when there are too many. */
  release() { this.gl.getExtension('WEBGL_lose_context')?.loseContext(); }

  clear() {
    const { gl, canvas } = this;
    gl.disable(gl.SCISSOR_TEST);
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clear(gl.COLOR_BUFFER_BIT);
  }

  /** One pane of a scene over what is there. */
  paint(scene) {
    const { gl, canvas } = this;
    const { pane } = scene;
    const groups = this.grouped(scene);
    const bottom = canvas.height - pane.y - pane.height;
    const soft = scene.feather > 0 && scene.show !== 'heat';
    const passes = scene.show === 'fill' && groups.length > 1 && !soft ? [PART.filling, PART.outline] : [PART.all];
    for (const part of passes) {
      for (const group of groups) {
        if (soft) this.feathered(scene, group);
        gl.bindFramebuffer(gl.FRAMEBUFFER, null);
        gl.viewport(pane.x, bottom, pane.width, pane.height);
        gl.enable(gl.SCISSOR_TEST);
        gl.scissor(pane.x + scene.from, bottom, Math.max(0, pane.width - scene.from), pane.height);
        gl.enable(gl.BLEND);
        gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
        this.draw(scene, group, { show: SHOW[scene.show], part, soft, origin: [pane.x, bottom], factor: 1 });
      }
    }
    gl.disable(gl.BLEND);
  }

  // -- one pass ------------------------------------------------------------------------------------------------------

  draw(scene, group, { show, part, soft, origin, factor }) {
    const { gl } = this;
    const { program, at } = this.paintingOf({ show, part, soft, count: group.layers.length, picked: group.layers.some(({ picks }) => picks) });
    const { placed: { scale, left, top }, picture, pane } = scene;
    gl.useProgram(program);
    [group.logits, group.picks, this.ramp(scene.colormap), this.targets[0].texture].forEach((texture, unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, texture);
    });
    ['uLogits', 'uPicks', 'uRamp', 'uMatte'].forEach((name, unit) => gl.uniform1i(at(name), unit));
    gl.uniform4f(at('uPane'), ...origin, pane.width * factor, pane.height * factor);
    gl.uniform4f(at('uPlace'), left * factor, top * factor, picture.width * scale * factor, picture.height * scale * factor);
    const four = (value, none) => [0, 1, 2, 3].map((channel) => (group.layers[channel] ? value(group.layers[channel]) : none));
    gl.uniform4f(at('uCut'), ...four((layer) => cutFor(layer.cut, scene), 0));
    gl.uniform3fv(at('uColour'), four((layer) => layer.colour, [0, 0, 0]).flat().map((value) => value / 255));
    gl.uniform3fv(at('uBoard'), scene.board.flat().map((value) => value / 255));
    gl.uniform1f(at('uOpacity'), scene.opacity);
    gl.uniform1f(at('uThick'), scene.thick);
    gl.uniform1f(at('uCheck'), scene.check);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  /** Blur the masks of a group as they stand in the pane, into the first target. */
  feathered(scene, group) {
    const { gl, blurWith: { program, at } } = this;
    const sigma = (scene.feather / 100) * Math.min(scene.picture.width, scene.picture.height) * scene.placed.scale;
    const factor = Math.min(1, WIDEST / sigma);
    const [width, height] = [scene.pane.width, scene.pane.height].map((side) => Math.max(1, Math.round(side * factor)));
    gl.disable(gl.BLEND);
    gl.disable(gl.SCISSOR_TEST);
    this.targets.forEach((target) => this.sized(target, width, height));
    gl.viewport(0, 0, width, height);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.targets[1].frame);
    this.draw(scene, group, { show: SHOW.matte, part: PART.all, soft: false, origin: [0, 0], factor: width / scene.pane.width, from: null });
    for (const [to, step] of [[0, [1 / width, 0]], [1, [0, 1 / height]]]) {
      gl.useProgram(program);
      gl.bindFramebuffer(gl.FRAMEBUFFER, this.targets[to].frame);
      gl.activeTexture(gl.TEXTURE0);
      gl.bindTexture(gl.TEXTURE_2D, this.targets[1 - to].texture);
      gl.uniform1i(at('uFrom'), 0);
      gl.uniform2f(at('uStep'), ...step);
      gl.uniform1f(at('uSigma'), sigma * factor);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    }
    this.targets.reverse(); // the result is first again
  }

  // -- textures ------------------------------------------------------------------------------------------------------

  /** The layers of a scene by fours of one size, their textures made anew only where something in them changed. */
  grouped(scene) {
    const lots = [];
    for (const layer of scene.layers) {
      const last = lots.at(-1);
      const fits = last && last.length < 4 && last[0].map.width === layer.map.width && last[0].map.height === layer.map.height;
      if (fits) last.push(layer); else lots.push([layer]);
    }
    while (this.groups.length > lots.length) {
      const { logits, picks } = this.groups.pop();
      [logits, picks].forEach((texture) => this.gl.deleteTexture(texture));
    }
    lots.forEach((layers, index) => {
      const group = this.groups[index] ??= { logits: this.texture(this.gl.LINEAR), picks: this.texture(this.gl.NEAREST) };
      this.fillLogits(group, layers, scene);
      this.fillPicks(group, layers);
      group.layers = layers;
    });
    return this.groups;
  }

  fillLogits(group, layers, scene) {
    const finish = { ...scene, grow: scene.show === 'heat' ? 0 : scene.grow };
    const made = [scene.smooth, ...layers.flatMap(({ map, cut }) => [map, finish.grow ? cut : null])]; // all that values depend on
    if (same(group.made, made)) return;
    const { gl } = this;
    const { width, height } = layers[0].map;
    const all = new Float32Array(4 * width * height);
    layers.forEach((layer, channel) => {
      const { values } = fieldOf(layer.map, layer.cut, finish);
      for (let at = 0; at < values.length; at += 1) all[4 * at + channel] = values[at];
    });
    gl.bindTexture(gl.TEXTURE_2D, group.logits);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA16F, width, height, 0, gl.RGBA, gl.FLOAT, all);
    group.made = made;
  }

  fillPicks(group, layers) {
    const picks = layers.map((layer) => layer.picks);
    if (group.picked && same(group.picked, picks)) return;
    const { gl } = this;
    const size = picks.find(Boolean) ?? { width: 1, height: 1 };
    const all = new Uint8Array(4 * size.width * size.height).fill(NORMAL);
    picks.forEach((pick, channel) => {
      for (let at = 0; pick && at < pick.data.length; at += 1) all[4 * at + channel] = pick.data[at];
    });
    gl.bindTexture(gl.TEXTURE_2D, group.picks);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, size.width, size.height, 0, gl.RGBA, gl.UNSIGNED_BYTE, all);
    group.picked = picks;
  }

  ramp(name) {
    if (!this.ramps.has(name)) {
      const { gl } = this;
      const texture = this.texture(gl.LINEAR);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(colormap(name)));
      this.ramps.set(name, texture);
    }
    return this.ramps.get(name);
  }

  texture(filter) {
    const { gl } = this;
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    for (const [name, value] of [[gl.TEXTURE_MIN_FILTER, filter], [gl.TEXTURE_MAG_FILTER, filter], [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE], [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE]]) {
      gl.texParameteri(gl.TEXTURE_2D, name, value);
    }
    return texture;
  }

  target() {
    const { gl } = this;
    return this.sized({ texture: this.texture(gl.LINEAR), frame: gl.createFramebuffer() }, 1, 1);
  }

  sized(target, width, height) {
    if (target.width === width && target.height === height) return target;
    const { gl } = this;
    gl.bindTexture(gl.TEXTURE_2D, target.texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, width, height, 0, gl.RGBA, gl.UNSIGNED_BYTE, null);
    gl.bindFramebuffer(gl.FRAMEBUFFER, target.frame);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, target.texture, 0);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    return Object.assign(target, { width, height });
  }

  /** What is painted, and how -> the program for it, made when it is first needed. */
  paintingOf(how) {
    const name = JSON.stringify(how);
    if (!this.painting.has(name)) this.painting.set(name, this.program(paint(how)));
    return this.painting.get(name);
  }

  program(fragment) {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) throw new Error(gl.getProgramInfoLog(program) ?? 'no program');
    const places = new Map();
    const at = (name) => {
      if (!places.has(name)) places.set(name, gl.getUniformLocation(program, name));
      return places.get(name);
    };
    return { program, at };
  }
}

const same = (one, other) => one?.length === other.length && one.every((value, index) => value === other[index]);
