// What each user adds to the gradient of a weight, as bars up (positive) and down (negative), and at the right their sum.

import type { Box } from "./box";
import { css, largest, type Palette } from "./palette";

export interface Bars {
  readonly values: ArrayLike<number>;
  readonly sum: number;
  readonly chosen: number;
  readonly sumLabel: string;
  readonly eachLabel: string;
}

const SUM_WIDTH = 84;

/** The bar under a point; -1 where there is none. */
export function barAt(box: Box, count: number, x: number): number {
  const place = Math.floor((x / (box.width - SUM_WIDTH)) * count);
  return place >= 0 && place < count ? place : -1;
}

export function drawBars(ctx: CanvasRenderingContext2D, box: Box, bars: Bars, palette: Palette): void {
  const { values, sum } = bars;
  const width = box.width - SUM_WIDTH;
  const middle = box.height / 2;
  const reach = middle - 18;
  const most = largest(values);
  const step = width / Math.max(values.length, 1);
  for (let k = 0; k < values.length; k++) {
    const height = most > 0 ? (Math.abs(values[k]) / most) * reach : 0;
    ctx.fillStyle = css(values[k] < 0 ? palette.negative : palette.positive, k === bars.chosen ? 1 : 0.75);
    ctx.fillRect(k * step, values[k] < 0 ? middle : middle - height, Math.max(step - (step > 3 ? 1 : 0), 0.75), height);
    if (k === bars.chosen) {
      ctx.strokeStyle = palette.accent;
      ctx.lineWidth = 2;
      ctx.strokeRect(k * step - 1, 2, Math.max(step, 3) + 1, box.height - 4);
    }
  }
  ctx.strokeStyle = palette.faint;
  ctx.lineWidth = 1;
  ctx.beginPath();
  ctx.moveTo(0, middle);
  ctx.lineTo(box.width, middle);
  ctx.stroke();
  drawSum(ctx, box, sum, Math.max(most, Math.abs(sum)), bars, palette);
}

function drawSum(ctx: CanvasRenderingContext2D, box: Box, sum: number, most: number, bars: Bars, palette: Palette): void {
  const middle = box.height / 2;
  const height = most > 0 ? (Math.abs(sum) / most) * (middle - 18) : 0;
  const x = box.width - SUM_WIDTH + 24;
  ctx.fillStyle = css(sum < 0 ? palette.negative : palette.positive);
  ctx.fillRect(x, sum < 0 ? middle : middle - height, SUM_WIDTH - 40, height);
  ctx.strokeStyle = palette.grid;
  ctx.beginPath();
  ctx.moveTo(box.width - SUM_WIDTH + 8, 6);
  ctx.lineTo(box.width - SUM_WIDTH + 8, box.height - 6);
  ctx.stroke();
  ctx.fillStyle = palette.faint;
  ctx.font = "12px system-ui, sans-serif";
  ctx.textAlign = "center";
  ctx.fillText(bars.sumLabel, x + (SUM_WIDTH - 40) / 2, sum < 0 ? middle - 6 : middle + 15);
  ctx.textAlign = "left";
  ctx.fillText(bars.eachLabel, 2, 12);
}
