// Small pictures side by side: kernels, units, samples.

import type { Box } from "./box";
import { largest, type Palette } from "./palette";
import { drawSigned } from "./picture";

export interface Tiles {
  readonly values: ArrayLike<number>;
  readonly count: number;
  readonly rows: number;
  readonly columns: number;
  readonly chosen: number;
}

const SIDE = 64;

/** The height that so many tiles need at a width. */
export function tilesHeight(width: number, count: number): number {
  return Math.ceil(count / acrossOf(width)) * SIDE + 4;
}

/** The tile under a point; -1 where there is none. */
export function tileAt(box: Box, count: number, x: number, y: number): number {
  const across = acrossOf(box.width);
  const place = Math.floor(y / SIDE) * across + Math.floor(x / SIDE);
  return x < across * SIDE && place >= 0 && place < count ? place : -1;
}

function acrossOf(width: number): number {
  return Math.max(1, Math.floor(width / SIDE));
}

export function drawTiles(ctx: CanvasRenderingContext2D, box: Box, tiles: Tiles, palette: Palette): void {
  const { count, rows, columns } = tiles;
  const across = acrossOf(box.width);
  const limit = largest(tiles.values);
  for (let k = 0; k < count; k++) {
    const picture = Array.from({ length: rows * columns }, (_, place) => tiles.values[k * rows * columns + place]);
    const rect = { x: (k % across) * SIDE + 2, y: Math.floor(k / across) * SIDE + 2, width: SIDE - 6, height: SIDE - 6 };
    drawSigned(ctx, rect, picture, rows, columns, limit, palette);
    ctx.strokeStyle = k === tiles.chosen ? palette.accent : palette.grid;
    ctx.lineWidth = k === tiles.chosen ? 3 : 1;
    ctx.strokeRect(rect.x, rect.y, rect.width, rect.height);
  }
}
