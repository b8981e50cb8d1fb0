// Small pictures side by side: kernels, units, samples.

import type { Box } from "./box";
import { largest, type Palette } from "./palette";
import { drawSigned } from "./picture";

export interface Tiles {
  readonly values: ArrayLike<number>;
  readonly count: number;
  readonly rows: number;
  readonly columns: number;
}

/** The height that so many tiles need at a width. */
export function tilesHeight(width: number, count: number, side = 64): number {
  const across = Math.max(1, Math.floor(width / side));
  return Math.ceil(count / across) * side + 4;
}

export function drawTiles(ctx: CanvasRenderingContext2D, box: Box, tiles: Tiles, palette: Palette, side = 64): void {
  const { count, rows, columns } = tiles;
  const across = Math.max(1, Math.floor(box.width / side));
  const limit = largest(tiles.values);
  for (let k = 0; k < count; k++) {
    const picture = Array.from({ length: rows * columns }, (_, place) => tiles.values[k * rows * columns + place]);
    const rect = { x: (k % across) * side + 2, y: Math.floor(k / across) * side + 2, width: side - 6, height: side - 6 };
    drawSigned(ctx, rect, picture, rows, columns, limit, palette);
    ctx.strokeStyle = palette.grid;
    ctx.lineWidth = 1;
    ctx.strokeRect(rect.x, rect.y, rect.width, rect.height);
  }
}
