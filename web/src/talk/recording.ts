// What was shown, kept to be played again: frames spread evenly over the time since the view was opened, in bounded memory,
// each with the state and the structure of its moment.

export const MOST_BYTES = 6_000_000;
const VERSION = 1;

export interface Moment {
  readonly frame: ArrayBuffer;
  readonly state: string;
  readonly structure: ArrayBuffer | null;
}

export class Recording {
  private state = "";
  private structure: ArrayBuffer | null = null;
  private moments: Moment[] = [];
  private bytes = 0;
  private every = 1;
  private passed = 0;

  constructor(private readonly most = MOST_BYTES) {}

  keepState(text: string): void {
    this.state = text;
  }

  keepStructure(buffer: ArrayBuffer): void {
    this.structure = buffer;
  }

  /** A live frame; when there are too many, every second one goes. */
  keepFrame(frame: ArrayBuffer): void {
    if (this.passed++ % this.every !== 0) return;
    this.moments.push({ frame, state: this.state, structure: this.structure });
    this.bytes += frame.byteLength;
    if (this.bytes <= this.most || this.moments.length < 4) return;
    this.moments = this.moments.filter((_, place) => place % 2 === 0);
    this.bytes = this.moments.reduce((sum, moment) => sum + moment.frame.byteLength, 0);
    this.every *= 2;
  }

  clear(): void {
    this.moments = [];
    this.bytes = this.passed = 0;
    this.every = 1;
  }

  recorded(): readonly Moment[] {
    return this.moments;
  }
}

interface Head {
  version: number;
  states: string[];
  structures: number;
  moments: [number, number][];
}

/** A recording as text: its parts behind their lengths, compressed, in base64. */
export async function pack(moments: readonly Moment[]): Promise<string> {
  const states = [...new Set(moments.map((moment) => moment.state))];
  const structures = [...new Set(moments.map((moment) => moment.structure))].filter((found) => found !== null);
  const places = moments.map(({ state, structure }): [number, number] => [
    states.indexOf(state),
    structure === null ? -1 : structures.indexOf(structure),
  ]);
  const head: Head = { version: VERSION, states, structures: structures.length, moments: places };
  const parts = [new TextEncoder().encode(JSON.stringify(head)), ...structures, ...moments.map(({ frame }) => frame)];
  const whole = new Blob(parts.flatMap((part) => [new Uint32Array([part.byteLength]), part as BlobPart]));
  const packed = await new Response(whole.stream().pipeThrough(new CompressionStream("gzip"))).arrayBuffer();
  const letters: string[] = [];
  const bytes = new Uint8Array(packed);
  for (let place = 0; place < bytes.length; place += 0x8000) {
    letters.push(String.fromCharCode(...bytes.subarray(place, place + 0x8000)));
  }
  return btoa(letters.join(""));
}

/** The recording that was packed. */
export async function unpack(text: string): Promise<Moment[]> {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const whole = await new Response(stream).arrayBuffer();
  const parts: ArrayBuffer[] = [];
  for (let place = 0; place + 4 <= whole.byteLength; ) {
    const length = new DataView(whole).getUint32(place, true);
    parts.push(whole.slice(place + 4, place + 4 + length));
    place += 4 + length;
  }
  const head = JSON.parse(new TextDecoder().decode(parts[0])) as Head;
  if (head.version !== VERSION) throw new Error(`A recording has version ${VERSION}; got ${head.version}.`);
  const [structures, frames] = [parts.slice(1, 1 + head.structures), parts.slice(1 + head.structures)];
  return head.moments.map(([state, structure], place) => ({
    frame: frames[place],
    state: head.states[state],
    structure: structure < 0 ? null : structures[structure],
  }));
}

/** The page with its program, its looks and a recording in one file that needs nothing else. */
export async function replayPage(moments: readonly Moment[], title: string, language: string): Promise<string> {
  const script = document.querySelector<HTMLScriptElement>("script[type=module][src]")?.src ?? "";
  const sheet = document.querySelector<HTMLLinkElement>("link[rel=stylesheet]")?.href ?? "";
  const [program, looks] = await Promise.all([script, sheet].map(async (address) => (await fetch(address)).text()));
  const packed = await pack(moments);
  const escape = (text: string) => text.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
  return `<!doctype html>
<html lang="${language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escape(title)}</title>
<style>${looks}</style>
</head>
<body>
<div id="app"></div>
<script type="text/plain" id="recording">${packed}</script>
<script type="module">${program.replace(/<\/script/gi, "<\\/script")}</script>
</body>
</html>
`;
}
