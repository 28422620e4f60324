// Pictures: opened from a file, a drop, the clipboard or an example, uploaded once, and kept to be uploaded again.

const SMALLEST = 700; // pixels of the longer side of the last level
const AWAKE = 4; // pictures whose pixels are kept; of others the file is, to be decoded again

export class Pictures {
  constructor(upload) {
    this.upload = upload;
    this.known = new Map(); // id -> {blob, name, levels}, the last that was used last
  }

  get(id) { return this.known.get(id); }

  /** A file, and what it is called -> {id, name, width, height}; its pixels are in `get(id).levels`, large to small. */
  async open(blob, name) {
    if (blob.type && !blob.type.startsWith('image/')) throw cannotShow(blob);
    const [answer, levels] = await Promise.all([this.upload(blob), decoded(blob)]);
    this.known.delete(answer.id);
    this.known.set(answer.id, { blob, name, levels });
    this.rest();
    return { id: answer.id, name, width: answer.width, height: answer.height };
  }

  /** A picture known by its id -> its pixels, decoded again if they were let go. */
  async wake(id) {
    const one = this.known.get(id);
    if (!one.levels.length) one.levels = await decoded(one.blob);
    this.known.delete(id); // the last in order is the last that was used
    this.known.set(id, one);
    this.rest();
    return one.levels;
  }

  rest() {
    const awake = [...this.known.values()].filter(({ levels }) => levels.length);
    for (const one of awake.slice(0, -AWAKE)) one.levels = [];
  }

  /** A mask that was painted -> {id, name}; it has no levels, for nobody looks at it. */
  async keep(blob, name) {
    const { id } = await this.upload(blob);
    this.known.set(id, { blob, name, levels: [] });
    return { id, name };
  }

  /** The server let go of something: give it all that a question speaks of once more. */
  async restore(question) {
    const said = [...question.prompts, ...(question.negative ?? [])].flatMap((prompt) => [prompt.picture, prompt.mask]);
    const ids = new Set([question.picture, ...said].filter((id) => this.known.has(id)));
    await Promise.all([...ids].map((id) => this.upload(this.known.get(id).blob)));
  }
}

const cannotShow = ({ type }) => new Error(`This browser cannot show ${type || 'this kind of file'}. PNG, JPEG and WebP always work.`);

async function decoded(blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    throw cannotShow(blob);
  }
  const levels = [bitmap];
  for (let last = bitmap; Math.max(last.width, last.height) > SMALLEST; last = levels.at(-1)) {
    const [resizeWidth, resizeHeight] = [last.width, last.height].map((side) => Math.max(1, Math.round(side / 2)));
    levels.push(await createImageBitmap(last, { resizeWidth, resizeHeight, resizeQuality: 'medium' }));
  }
  return levels;
}

/** The first picture of what was dropped or pasted, or null. */
export function pictureIn(transfer) {
  const files = [...(transfer?.files ?? [])];
  return files.find((file) => file.type.startsWith('image/')) ?? files[0] ?? null;
}

/** A pasted picture has no name of its own. */
export function nameOf(file, number = 1) {
  const suffix = { 'image/png': 'png', 'image/webp': 'webp', 'image/gif': 'gif' }[file.type] ?? 'jpg';
  return file.name && file.name !== 'image.png' ? file.name : `pasted-${number}.${suffix}`;
}
