// The matrix of a layer: rows are output units, columns input units; the users of the chosen weight are marked.

import { type Box, fitted, type Rect } from "./box";
import { css, group, hatched, largest, type Palette } from "./palette";
import { drawPicture, outlineCell } from "./picture";

export interface Matrix {
  readonly values: ArrayLike<number>;
  readonly index: ArrayLike<number>;
  readonly units: number;
  readonly weight: number;
  readonly anchor: readonly [number, number];
  readonly limit: number;
  readonly by: "value" | "group";
}

export function matrixRect(box: Box): Rect {
  return fitted({ x: 1, y: 1, width: box.width - 2, height: box.height - 2 }, 1);
}

export function drawMatrix(ctx: CanvasRenderingContext2D, box: Box, matrix: Matrix, palette: Palette): void {
  const { values, index, units } = matrix;
  const rect = matrixRect(box);
  const limit = matrix.limit > 0 ? matrix.limit : largest(values);
  const chosen = index.length > 0 && matrix.weight >= 0;
  drawPicture(ctx, rect, values, units, units, (value, place) => {
    const weight = index[place];
    if (weight < 0) return palette.empty;
    if (matrix.by === "value") return hatched(value, limit, Math.floor(place / units), palette);
    return inRhythm(weight, Math.floor(place / units)) ? group(weight, palette) : palette.empty;
  });
  if (chosen) markUsers(ctx, rect, matrix, palette);
  ctx.strokeStyle = palette.grid;
  ctx.lineWidth = 1;
  ctx.strokeRect(rect.x, rect.y, rect.width, rect.height);
  const [row, column] = matrix.anchor;
  if (row >= 0 && column >= 0) outlineCell(ctx, rect, units, units, row, column, palette.accent, 2.5);
}

const RHYTHMS = ["#", "##-", "#-", "#--", "##--", "###-", "##-#--"];

/** Those who share are told by a rhythm of drawn and empty cells along their rows, too: never by colour alone. */
export function inRhythm(group: number, row: number): boolean {
  const rhythm = RHYTHMS[group % RHYTHMS.length];
  return rhythm[row % rhythm.length] === "#";
}

function markUsers(ctx: CanvasRenderingContext2D, rect: Rect, matrix: Matrix, palette: Palette): void {
  const { index, units, weight } = matrix;
  const side = rect.width / units;
  ctx.fillStyle = css(palette.zero, 0.25);
  ctx.fillRect(rect.x, rect.y, rect.width, rect.height);
  ctx.fillStyle = palette.accent;
  for (let place = 0; place < units * units; place++) {
    if (index[place] !== weight) continue;
    const x = rect.x + (place % units) * side;
    const y = rect.y + Math.floor(place / units) * side;
    const size = Math.max(side, 2);
    ctx.fillRect(x, y, size, size);
  }
}
