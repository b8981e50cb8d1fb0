// The arithmetic of one value: for each map that it sees the values, the weights, and their products, side by side.

import type { Box, Rect } from "./box";
import { largest, type Palette } from "./palette";
import { drawSigned } from "./picture";

export interface Sum {
  readonly values: ArrayLike<number>;
  readonly weights: ArrayLike<number>;
  readonly maps: number;
  readonly rows: number;
  readonly columns: number;
  readonly titles: readonly [string, string, string];
}

export interface Term {
  readonly map: number;
  readonly row: number;
  readonly column: number;
  readonly value: number;
  readonly weight: number;
  readonly product: number;
}

/** Every product of the sum. */
export function termsOf(sum: Pick<Sum, "values" | "weights" | "rows" | "columns">): Term[] {
  const pixels = sum.rows * sum.columns;
  return Array.from({ length: sum.values.length }, (_, k) => ({
    map: Math.floor(k / pixels),
    row: Math.floor((k % pixels) / sum.columns),
    column: k % sum.columns,
    value: sum.values[k],
    weight: sum.weights[k],
    product: sum.values[k] * sum.weights[k],
  }));
}

/** The products that are not 0 in their order, the largest of them, and what all others add up to. */
export function largestTerms(terms: readonly Term[], most: number): { moving: Term[]; shown: Term[]; others: number; rest: number } {
  const moving = terms.filter((term) => term.product !== 0);
  const shown = [...moving].sort((a, b) => Math.abs(b.product) - Math.abs(a.product)).slice(0, most);
  const all = moving.reduce((sum, term) => sum + term.product, 0);
  return { moving, shown, others: moving.length - shown.length, rest: all - shown.reduce((sum, term) => sum + term.product, 0) };
}

const HEAD = 20;

/** The height of a row of grids: more where there is one map only. */
const rowOf = (width: number, maps: number) => (maps === 1 ? Math.min(132, width / 3 - 16) : 74);

/** The height for so many maps, in as many rows as fit three grids side by side twice over. */
export function arithmeticHeight(width: number, maps: number): number {
  return HEAD + Math.ceil(maps / acrossOf(width, maps)) * rowOf(width, maps);
}

function acrossOf(width: number, maps: number): number {
  return Math.max(1, Math.min(maps, Math.floor(width / 260)));
}

export function drawArithmetic(ctx: CanvasRenderingContext2D, box: Box, sum: Sum, palette: Palette): void {
  const { maps, rows, columns } = sum;
  const across = acrossOf(box.width, maps);
  const room = box.width / across;
  const products = Float32Array.from({ length: sum.values.length }, (_, k) => sum.values[k] * sum.weights[k]);
  const grids = [sum.values, sum.weights, products];
  const limits = grids.map(largest);
  ctx.textAlign = "center";
  ctx.font = "12px system-ui, sans-serif";
  const row = rowOf(box.width, maps);
  const pitch = Math.min(room / 3, row + 16);
  const rect = (place: number, grid: number): Rect => ({
    x: (place % across) * room + (room - 3 * pitch) / 2 + grid * pitch + 12,
    y: HEAD + Math.floor(place / across) * row + 2,
    width: pitch - 24, height: Math.min(row - 8, pitch - 24),
  });
  for (let map = 0; map < maps; map++) {
    grids.forEach((values, grid) => {
      const area = rect(map, grid);
      const part = Array.from({ length: rows * columns }, (_, k) => values[map * rows * columns + k]);
      drawSigned(ctx, area, part, rows, columns, limits[grid], palette);
      ctx.strokeStyle = palette.faint;
      ctx.lineWidth = 1;
      ctx.strokeRect(area.x, area.y, area.width, area.height);
      ctx.fillStyle = palette.ink;
      if (map < across) ctx.fillText(sum.titles[grid], area.x + area.width / 2, 13, pitch - 2);
      const sign = grid === 0 ? "×" : grid === 1 ? "=" : "";
      ctx.fillText(sign, area.x + area.width + 12, area.y + area.height / 2 + 4);
    });
  }
  ctx.textAlign = "left";
}
