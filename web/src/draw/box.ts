// The area of a drawing, in CSS pixels.

export interface Box {
  readonly width: number;
  readonly height: number;
}

export interface Rect {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** The largest rectangle of a ratio (width / height) in the middle of another. */
export function fitted(rect: Rect, ratio: number): Rect {
  const width = Math.min(rect.width, rect.height * ratio);
  const height = width / ratio;
  return { x: rect.x + (rect.width - width) / 2, y: rect.y + (rect.height - height) / 2, width, height };
}

/** The cell of a grid under a point: [row, column], or null outside. */
export function cellAt(rect: Rect, rows: number, columns: number, x: number, y: number): [number, number] | null {
  const row = Math.floor(((y - rect.y) / rect.height) * rows);
  const column = Math.floor(((x - rect.x) / rect.width) * columns);
  return row >= 0 && row < rows && column >= 0 && column < columns ? [row, column] : null;
}
