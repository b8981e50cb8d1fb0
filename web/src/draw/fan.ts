// Quantiles over the steps: a band from the lowest to the highest, one inside it, and the line of the middle.

import type { Box } from "./box";
import { css, type Palette } from "./palette";
import { short } from "./short";

export interface Fan {
  readonly steps: readonly number[];
  readonly rows: readonly (readonly number[])[];
}

const LEFT = 52;
const BOTTOM = 20;

export function drawFan(ctx: CanvasRenderingContext2D, box: Box, fan: Fan, palette: Palette): void {
  const { steps, rows } = fan;
  const all = rows.flat().filter(Number.isFinite);
  if (all.length === 0) return;
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const span = high - low || 1;
  const [first, last] = [steps[0], steps[steps.length - 1]];
  const x = (step: number) => LEFT + ((step - first) / (last - first || 1)) * (box.width - LEFT - 6);
  const y = (value: number) => 6 + ((high - value) / span) * (box.height - BOTTOM - 12);
  const levels = rows[0].length;
  for (let band = 0; band < Math.floor(levels / 2); band++) {
    ctx.fillStyle = css(palette.classes[0], 0.22 + 0.2 * band);
    ctx.beginPath();
    rows.forEach((row, k) => ctx.lineTo(x(steps[k]), y(row[band])));
    [...rows.keys()].reverse().forEach((k) => ctx.lineTo(x(steps[k]), y(rows[k][levels - 1 - band])));
    ctx.fill();
  }
  ctx.strokeStyle = css(palette.classes[0]);
  ctx.lineWidth = 2;
  ctx.beginPath();
  rows.forEach((row, k) => ctx.lineTo(x(steps[k]), y(row[Math.floor(levels / 2)])));
  ctx.stroke();
  drawAxes(ctx, box, [low, high], [first, last], y, palette);
}

function drawAxes(
  ctx: CanvasRenderingContext2D, box: Box, [low, high]: readonly [number, number], [first, last]: readonly [number, number],
  y: (value: number) => number, palette: Palette,
): void {
  ctx.fillStyle = palette.ink;
  ctx.strokeStyle = palette.grid;
  ctx.lineWidth = 1;
  ctx.font = "12px system-ui, sans-serif";
  ctx.textAlign = "right";
  for (const value of low < 0 && high > 0 ? [low, 0, high] : [low, high]) {
    ctx.beginPath();
    ctx.moveTo(LEFT, y(value));
    ctx.lineTo(box.width, y(value));
    ctx.stroke();
    ctx.fillText(short(value), LEFT - 6, y(value) + 4);
  }
  ctx.fillText(String(last), box.width - 2, box.height - 4);
  ctx.textAlign = "left";
  ctx.fillText(String(first), LEFT, box.height - 4);
}
