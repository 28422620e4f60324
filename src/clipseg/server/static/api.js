// The only place that speaks to the server.

import { kept } from './dom.js';

const TOKEN = 'clipseg-token';
const session = kept('session');
let token = session.get(TOKEN);
const TRIES = 4;

/** What went wrong, as the API says it: status, kind, message, and for how long to wait. */
export class ApiError extends Error {
  constructor(status, kind, message, retryAfter = null) {
    super(message);
    Object.assign(this, { status, kind, retryAfter });
  }
}

/** From `/#token=…`, out of sight at once and for this tab only -> whether there was one. */
export function takeToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get('token');
  if (!found) return false;
  token = found;
  session.put(TOKEN, found);
  history.replaceState(null, '', location.pathname + location.search);
  return true;
}

export const hasToken = () => token !== null;

async function call(path, { method = 'GET', body, type, signal } = {}) {
  const headers = { ...(type && { 'Content-Type': type }), ...(token && { Authorization: `Bearer ${token}` }) };
  let answer;
  try {
    answer = await fetch(path, { method, body, headers, signal, cache: 'no-store' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, 'Unreachable', 'The server does not answer. Is it still running?');
  }
  if (answer.ok) return answer;
  const { error = {}, ...rest } = await answer.json().catch(() => ({}));
  const failure = new ApiError(
    answer.status, error.kind ?? 'Error', error.message ?? rest.message ?? `The server answered ${answer.status}.`,
    Number(answer.headers.get('Retry-After')) || null,
  );
  failure.progress = rest.progress ?? null;
  throw failure;
}

const json = async (path, options) => (await call(path, options)).json();
const sent = (body, signal) => ({ method: 'POST', body: JSON.stringify(body), type: 'application/json', signal });

/** -> {ready, progress, message}: whether the model is there, and how far it is. */
export async function readiness() {
  try {
    const { model = '' } = await json('/ready');
    return { ready: true, progress: 1, model, message: '' };
  } catch (error) {
    if (error.status !== 503) throw error;
    return { ready: false, progress: error.progress, message: error.message };
  }
}

export const models = async () => (await json('/v1/models')).models;
export const formats = async () => listed(await json('/v1/formats'), 'formats');
export const styles = async () => {
  const answer = await json('/v1/styles');
  return { styles: listed(answer, 'styles'), first: answer.default ?? 'crop_blur_highlight' };
};

/** The name of an example's file -> the picture, as a blob. */
export const example = async (file) => (await call(`/static/examples/${file}`)).blob();

/** A blob -> {id, width, height}. */
export const upload = (blob, signal) =>
  json('/v1/pictures', { method: 'POST', body: blob, type: blob.type || 'application/octet-stream', signal });

/**
 * A question -> the answer, JSON or with `file` a blob.
 *
 * A busy server is asked again when it says so, one that is loading as well; a picture that it let go of is uploaded
 * again by `restore`, once. `waiting` is told why it takes longer.
 */
export async function segment(question, { signal, file = false, restore, waiting = () => {} } = {}) {
  let restored = false;
  for (let attempt = 1; ; attempt += 1) {
    try {
      const answer = await call('/v1/segment', sent(question, signal));
      return file ? await answer.blob() : await answer.json();
    } catch (error) {
      if (error.status === 404 && restore && !restored) {
        restored = true;
        await restore();
      } else if ((error.status === 429 || error.status === 503) && attempt < TRIES) {
        const seconds = Math.min(error.retryAfter ?? attempt, 20);
        waiting(error, seconds);
        await pause(seconds * 1000, signal);
      } else throw error;
    }
  }
}

const listed = (answer, name) => (answer[name] ?? answer).map((row) => (typeof row === 'string' ? { name: row } : row));

const pause = (milliseconds, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, milliseconds);
  signal?.addEventListener('abort', () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
});
