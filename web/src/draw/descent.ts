// A loss surface seen from above, with contour lines, and the paths that update rules took down it.

import type { Box, Rect } from "./box";
import { blend, css, type Palette } from "./palette";
import { drawCross, drawMark } from "./points";
import { short } from "./short";
import { contours, drawGround } from "./surface";

export interface Descent {
  readonly surface: ArrayLike<number>;
  readonly side: number;
  readonly middle: readonly number[];
  readonly reach: readonly number[];
  readonly paths: ArrayLike<number>;
  readonly points: number;
  readonly rules: number;
  readonly start: readonly number[];
  readonly shown: readonly boolean[];
}

const BANDS = 16;
export const DASHES: readonly (readonly number[])[] = [[], [8, 4], [2, 3], [10, 3, 2, 3], [5, 2]];

export function surfaceRect(box: Box): Rect {
  return { x: 52, y: 6, width: box.width - 60, height: box.height - 36 };
}

/** The losses of the contour lines: close together near the bottom, far apart high up. */
export function levelsOf(low: number, high: number): number[] {
  return Array.from({ length: BANDS - 1 }, (_, k) => low + ((k + 1) / BANDS) ** 2 * (high - low));
}

/** From weights to pixels: a to the right, b upwards. */
export function toSurface(rect: Rect, descent: Pick<Descent, "middle" | "reach">, a: number, b: number): [number, number] {
  const share = (value: number, k: number) => (value - descent.middle[k]) / descent.reach[k];
  return [rect.x + ((share(a, 0) + 1) / 2) * rect.width, rect.y + ((1 - share(b, 1)) / 2) * rect.height];
}

/** From pixels to shares from -1 to 1 across the surface; null outside. */
export function shareAt(rect: Rect, x: number, y: number): [number, number] | null {
  const across = (2 * (x - rect.x)) / rect.width - 1;
  const up = 1 - (2 * (y - rect.y)) / rect.height;
  return Math.abs(across) <= 1 && Math.abs(up) <= 1 ? [across, up] : null;
}

export function drawDescent(ctx: CanvasRenderingContext2D, box: Box, descent: Descent, palette: Palette): void {
  const { surface, side } = descent;
  if (surface.length < side * side) return;
  const rect = surfaceRect(box);
  let [low, high] = [Infinity, -Infinity];
  for (let k = 0; k < surface.length; k++) [low, high] = [Math.min(low, surface[k]), Math.max(high, surface[k])];
  const share = (loss: number) => Math.sqrt((loss - low) / (high - low || 1));
  drawGround(ctx, rect, surface, side, (loss) => blend(palette.zero, [110, 122, 140], 0.12 + 0.75 * share(loss)));
  drawContours(ctx, rect, descent, levelsOf(low, high), palette);
  drawAxes(ctx, rect, descent, palette);
  ctx.save();
  ctx.beginPath();
  ctx.rect(rect.x, rect.y, rect.width, rect.height);
  ctx.clip();
  for (let rule = 0; rule < descent.rules; rule++) if (descent.shown[rule]) drawPath(ctx, rect, descent, rule, palette);
  drawCross(ctx, ...toSurface(rect, descent, descent.start[0], descent.start[1]), palette);
  ctx.restore();
}

function drawContours(
  ctx: CanvasRenderingContext2D, rect: Rect, { surface, side }: Descent, levels: readonly number[], palette: Palette,
): void {
  const x = (column: number) => rect.x + (column / (side - 1)) * rect.width;
  const y = (row: number) => rect.y + (1 - row / (side - 1)) * rect.height;
  ctx.save();
  ctx.globalAlpha = 0.4;
  ctx.strokeStyle = palette.ink;
  ctx.lineWidth = 1;
  ctx.beginPath();
  for (const [column, row, toColumn, toRow] of contours(surface, side, levels)) {
    ctx.moveTo(x(column), y(row));
    ctx.lineTo(x(toColumn), y(toRow));
  }
  ctx.stroke();
  ctx.restore();
}

function drawAxes(ctx: CanvasRenderingContext2D, rect: Rect, descent: Descent, palette: Palette): void {
  ctx.strokeStyle = palette.faint;
  ctx.lineWidth = 1;
  ctx.strokeRect(rect.x, rect.y, rect.width, rect.height);
  ctx.fillStyle = palette.ink;
  ctx.font = "12px system-ui, sans-serif";
  const bottom = rect.y + rect.height;
  for (const share of [-1, 0, 1]) {
    const [a, b] = [0, 1].map((k) => short(descent.middle[k] + share * descent.reach[k]));
    ctx.textAlign = share < 0 ? "left" : share > 0 ? "right" : "center";
    ctx.fillText(`${share === 0 ? "a = " : ""}${a}`, rect.x + ((share + 1) / 2) * rect.width, bottom + 16);
    ctx.textAlign = "right";
    const y = rect.y + ((1 - share) / 2) * rect.height;
    ctx.fillText(`${share === 0 ? "b = " : ""}${b}`, rect.x - 5, y + (share > 0 ? 10 : share < 0 ? 0 : 4));
  }
  ctx.textAlign = "left";
}

function drawPath(ctx: CanvasRenderingContext2D, rect: Rect, descent: Descent, rule: number, palette: Palette): void {
  const first = 2 * descent.points * rule;
  ctx.strokeStyle = css(palette.classes[rule]);
  ctx.lineWidth = 2.2;
  ctx.setLineDash([...DASHES[rule]]);
  ctx.beginPath();
  let last: [number, number] = [0, 0];
  for (let k = 0; k < descent.points; k++) {
    last = toSurface(rect, descent, descent.paths[first + 2 * k], descent.paths[first + 2 * k + 1]);
    if (k === 0) ctx.moveTo(...last);
    else ctx.lineTo(...last);
  }
  ctx.stroke();
  ctx.setLineDash([]);
  drawMark(ctx, last[0], last[1], rule, 6.5, false, palette);
}
