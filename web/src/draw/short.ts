// Numbers beside drawings.

/** A number with two figures, as short as an axis has room for. */
export function short(value: number): string {
  return String(Number(value.toPrecision(2))).replace("-", "−");
}
