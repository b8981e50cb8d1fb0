// Frames: named arrays of Float32 behind a short description. docs/lab_protocol.md says what the bytes are.

export interface NamedArray {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

export interface Frame {
  readonly kind: "live" | "structure";
  readonly step: number;
  readonly values: Readonly<Record<string, unknown>>;
  readonly arrays: Readonly<Record<string, NamedArray>>;
}

interface About {
  kind: "live" | "structure";
  step: number;
  values: Record<string, unknown>;
  arrays: { name: string; shape: number[] }[];
}

const MAGIC = "CWF1";

/** The frame in these bytes; throws where they are none of this version. */
export function decodeFrame(buffer: ArrayBuffer): Frame {
  const view = new DataView(buffer);
  const letters = buffer.byteLength < 8 ? "" : String.fromCharCode(...new Uint8Array(buffer, 0, 4));
  if (letters !== MAGIC) throw new Error(`A frame begins with ${MAGIC}; got ${JSON.stringify(letters)}.`);
  const length = view.getUint32(4, true);
  if (8 + length > buffer.byteLength) throw new Error(`A frame of ${buffer.byteLength} bytes is cut off.`);
  const about = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length))) as About;
  let place = 8 + length;
  const arrays: Record<string, NamedArray> = {};
  for (const { name, shape } of about.arrays) {
    const count = shape.reduce((product, size) => product * size, 1);
    if (place + 4 * count > buffer.byteLength) throw new Error(`The array ${name} of a frame is cut off.`);
    arrays[name] = { shape, data: new Float32Array(buffer, place, count) };
    place += 4 * count;
  }
  return { kind: about.kind, step: about.step, values: about.values, arrays };
}

const EMPTY = new Float32Array(0);

/** The numbers of an array, none where the frame has no such array. */
export function numbers(frame: Frame | null, name: string): Float32Array {
  return frame?.arrays[name]?.data ?? EMPTY;
}

/** A single number of a frame. */
export function value(frame: Frame | null, name: string): number {
  const found = frame?.values[name];
  return typeof found === "number" ? found : NaN;
}

/** A short list of numbers of a frame. */
export function list(frame: Frame | null, name: string): readonly number[] {
  const found = frame?.values[name];
  return Array.isArray(found) ? (found as number[]) : [];
}
