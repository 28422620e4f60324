// What the graphics card runs. Four prompts travel together, one in each channel of a texture of logits.

export const VERTEX = `#version 300 es
void main() { // one triangle over all of the pane
  gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0);
}`;

export const SHOW = { fill: 0, heat: 1, cutout: 2, matte: 3, alpha: 4 };
export const PART = { all: 0, filling: 1, outline: 2 };

/**
 * What is shown of how many prompts, which part of it, whether edges come feathered from uMatte, and whether parts were picked -> a
 * program that does just that: what is drawn in software, for want of a graphics card, has no time for anything else.
 */
export const paint = ({ show, part, soft, count, picked }) => `#version 300 es
precision highp float;
uniform sampler2D uLogits, uPicks, uRamp, uMatte;
uniform vec4 uPane;      // left, bottom, width, height in pixels of the canvas
uniform vec4 uPlace;     // left, top, width, height of the picture in the pane
uniform vec4 uCut;       // of each of four prompts
uniform vec3 uColour[4];
uniform vec3 uBoard[2];  // the two colours of what is behind a cut-out
uniform float uOpacity, uThick, uCheck;
out vec4 colour;
#define SHOW ${show}
#define PART ${part}
#define SOFT ${Number(soft)}
#define PICKED ${Number(picked)}
const int COUNT = ${count};

void over(inout vec4 below, vec3 top, float strength) {
  below = below * (1.0 - strength) + vec4(top * strength, strength);
}

void main() {
  vec2 at = gl_FragCoord.xy - uPane.xy;
  vec2 uv = (vec2(at.x, uPane.w - at.y) - uPlace.xy) / uPlace.zw;
  vec4 logits = texture(uLogits, uv);
  colour = vec4(0.0);
#if SHOW != ${SHOW.matte}
  bool beyond = any(lessThan(uv, vec2(0.0))) || any(greaterThan(uv, vec2(1.0)));
#endif

#if SHOW == ${SHOW.heat}
  if (beyond) return;
  float probability = 1.0 / (1.0 + exp(-logits.x));
  colour = vec4(texture(uRamp, vec2((probability * 255.0 + 0.5) / 256.0, 0.5)).rgb * uOpacity, uOpacity);
#else
  vec4 dx = dFdx(logits), dy = dFdy(logits);
  vec4 far = (logits - uCut) * inversesqrt(dx * dx + dy * dy + 1e-10); // how far within, in pixels of the canvas
  vec4 inside = clamp(far + 0.5, 0.0, 1.0);
#if PICKED
  vec4 picks = texture(uPicks, uv);
  inside *= step(0.25, picks);
  vec4 lit = step(0.75, picks) * inside;
#else
  const vec4 lit = vec4(0.0);
#endif
#if SHOW == ${SHOW.matte}
  colour = inside;
#else
  if (beyond) return;
  vec4 edged = inside;
#if SOFT
  inside = texture(uMatte, at / uPane.zw);
#endif
#if SHOW == ${SHOW.alpha}
  colour = vec4(inside.x);
#elif SHOW == ${SHOW.cutout}
  vec2 square = floor(at / uCheck);
  over(colour, uBoard[int(mod(square.x + square.y, 2.0))], 1.0 - inside.x);
  over(colour, vec3(1.0), 0.18 * lit.x);
#else
#if PART != ${PART.outline}
  for (int i = 0; i < COUNT; i++) over(colour, uColour[i], inside[i] * min(1.0, uOpacity + 0.25 * lit[i]));
#endif
#if PART != ${PART.filling} && !SOFT
  for (int i = 0; i < COUNT; i++) {
    float thick = uThick * (1.0 + lit[i]);
    over(colour, mix(uColour[i], vec3(1.0), 0.5 * lit[i]), edged[i] * clamp(thick + 0.5 - far[i], 0.0, 1.0));
  }
#endif
#endif
#endif
#endif
}`;

export const BLUR = `#version 300 es
precision highp float;
uniform sampler2D uFrom;
uniform vec2 uStep; // one pixel along the axis, in texture coordinates
uniform float uSigma;
out vec4 colour;

void main() {
  vec2 uv = gl_FragCoord.xy / vec2(textureSize(uFrom, 0));
  vec4 sum = texture(uFrom, uv);
  float total = 1.0;
  int reach = int(ceil(3.0 * uSigma));
  for (int i = 1; i <= reach; i++) {
    float weight = exp(-float(i * i) / (2.0 * uSigma * uSigma));
    sum += weight * (texture(uFrom, uv + float(i) * uStep) + texture(uFrom, uv - float(i) * uStep));
    total += 2.0 * weight;
  }
  colour = sum / total;
}`;
