// A small checkpoint, written byte by byte.

/** The bytes of a safetensors file with float32 tensors. */
export function safetensors(tensors) {
  const header = {};
  let place = 0;
  for (const [name, { shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype: "F32", shape, data_offsets: [place, place + 4 * data.length] };
    place += 4 * data.length;
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const numbers = Object.values(tensors).map(({ data }) => Buffer.from(Float32Array.from(data).buffer));
  return Buffer.concat([length, text, ...numbers]);
}
