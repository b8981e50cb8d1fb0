// A digit on its way through a net: the maps of each stage as small pictures, one column for each stage, and from the
// window that the chosen value sees lines to the value.

import type { Box, Rect } from "./box";
import { css, grey, largest, type Palette } from "./palette";
import { drawPicture, drawSigned, outlineCell } from "./picture";

export interface Stage {
  readonly title: string;
  readonly values: ArrayLike<number>;
  readonly maps: number;
  readonly rows: number;
  readonly columns: number;
}

/** Where a value is: its stage, map, row and column. */
export type Spot = readonly [number, number, number, number];

export interface Window {
  readonly first: number;
  readonly maps: number;
  readonly top: number;
  readonly left: number;
  readonly rows: number;
  readonly columns: number;
}

const HEAD = 22;

/** The rectangle of a map. */
export function tileOf(box: Box, stages: readonly Stage[], stage: number, map: number): Rect {
  const room = box.width / stages.length;
  const tall = (box.height - HEAD) / stages[stage].maps;
  const side = Math.min(tall - 4, room * 0.72, 130);
  return { x: room * (stage + 0.5) - side / 2, y: HEAD + tall * (map + 0.5) - side / 2, width: side, height: side };
}

/** The value under a point, or null. The picture itself is stage 0, which is not chosen. */
export function spotAt(box: Box, stages: readonly Stage[], x: number, y: number): Spot | null {
  for (let stage = 1; stage < stages.length; stage++) {
    const { maps, rows, columns } = stages[stage];
    for (let map = 0; map < maps; map++) {
      const tile = tileOf(box, stages, stage, map);
      const row = Math.floor(((y - tile.y) / tile.height) * rows);
      const column = Math.floor(((x - tile.x) / tile.width) * columns);
      if (row >= 0 && row < rows && column >= 0 && column < columns) return [stage, map, row, column];
    }
  }
  return null;
}

export function drawStages(
  ctx: CanvasRenderingContext2D, box: Box, stages: readonly Stage[], chosen: Spot, seen: Window, palette: Palette,
): void {
  stages.forEach((stage, place) => drawStage(ctx, box, stages, place, stage, palette));
  const [stage, map, row, column] = chosen;
  if (!stages[stage]) return;
  const tile = tileOf(box, stages, stage, map);
  const { rows, columns } = stages[stage];
  const to = [tile.x + (column / columns) * tile.width, tile.y + ((row + 0.5) / rows) * tile.height] as const;
  ctx.strokeStyle = palette.accent;
  for (let k = 0; k < seen.maps; k++) {
    const from = windowOf(tileOf(box, stages, stage - 1, seen.first + k), stages[stage - 1], seen);
    ctx.lineWidth = 2;
    ctx.strokeRect(from.x, from.y, from.width, from.height);
    ctx.lineWidth = 1;
    ctx.beginPath();
    for (const y of [from.y, from.y + from.height]) {
      ctx.moveTo(from.x + from.width, y);
      ctx.lineTo(to[0], to[1]);
    }
    ctx.stroke();
  }
  outlineCell(ctx, tile, rows, columns, row, column, palette.accent, 2.5);
}

/** The window in a map of the stage before; of padding, what is outside of it. */
function windowOf(tile: Rect, stage: Stage, seen: Window): Rect {
  const [w, h] = [tile.width / stage.columns, tile.height / stage.rows];
  return { x: tile.x + seen.left * w, y: tile.y + seen.top * h, width: seen.columns * w, height: seen.rows * h };
}

function drawStage(
  ctx: CanvasRenderingContext2D, box: Box, stages: readonly Stage[], place: number, stage: Stage, palette: Palette,
): void {
  const room = box.width / stages.length;
  ctx.fillStyle = palette.ink;
  ctx.font = "12px system-ui, sans-serif";
  ctx.textAlign = "center";
  ctx.fillText(stage.title, room * (place + 0.5), 13, room - 4);
  const limit = largest(stage.values);
  const pixels = stage.rows * stage.columns;
  for (let map = 0; map < stage.maps; map++) {
    const tile = tileOf(box, stages, place, map);
    const values = Array.from({ length: pixels }, (_, k) => stage.values[map * pixels + k]);
    if (place === 0) drawPicture(ctx, tile, values, stage.rows, stage.columns, (value) => grey(value, 1, palette));
    else drawSigned(ctx, tile, values, stage.rows, stage.columns, limit, palette);
    ctx.strokeStyle = palette.faint;
    ctx.lineWidth = 1;
    ctx.strokeRect(tile.x - 0.5, tile.y - 0.5, tile.width + 1, tile.height + 1);
    if (pixels > 1) continue;
    ctx.fillStyle = palette.ink;
    ctx.fillText(String(map), tile.x + tile.width + 9, tile.y + tile.height / 2 + 4);
  }
  ctx.textAlign = "left";
}

/** A drawing on a grid of pixels that is drawn on: the pixels, the grid, and the cursor of the keys. */
export function drawPad(
  ctx: CanvasRenderingContext2D, rect: Rect, pixels: ArrayLike<number>, side: number, cursor: number, palette: Palette,
): void {
  drawPicture(ctx, rect, pixels, side, side, (value) => grey(value, 1, palette));
  ctx.strokeStyle = css(palette.empty);
  ctx.lineWidth = 1;
  ctx.beginPath();
  for (let line = 0; line <= side; line++) {
    const at = (line / side) * rect.width;
    ctx.moveTo(rect.x + at, rect.y);
    ctx.lineTo(rect.x + at, rect.y + rect.height);
    ctx.moveTo(rect.x, rect.y + at);
    ctx.lineTo(rect.x + rect.width, rect.y + at);
  }
  ctx.stroke();
  if (cursor >= 0) outlineCell(ctx, rect, side, side, Math.floor(cursor / side), cursor % side, palette.accent, 2);
}

/** A soft pen: the pixel in full, those beside it in part; the same array where nothing changes. */
export function pressed(pixels: Float32Array, side: number, row: number, column: number): Float32Array {
  const next = Float32Array.from(pixels);
  const put = (r: number, c: number, level: number) => {
    if (r >= 0 && r < side && c >= 0 && c < side) next[r * side + c] = Math.max(next[r * side + c], level);
  };
  put(row, column, 1);
  for (const [r, c] of [[-1, 0], [1, 0], [0, -1], [0, 1]]) put(row + r, column + c, 6 / 15);
  return next.every((value, k) => value === pixels[k]) ? pixels : next;
}

/** The letter d and a hexadecimal digit for each pixel, as the setting takes it. */
export function written(pixels: ArrayLike<number>): string {
  return `d${Array.from(pixels, (value) => Math.round(15 * Math.min(Math.max(value, 0), 1)).toString(16)).join("")}`;
}
