// A layer as connections: the input units on the left, one map of output units on the right, and between them a line for
// each user of the chosen weight, as thick as the gradient that it adds; lines of negative gradients are dashed.

import { type Box, fitted, type Rect } from "./box";
import { css, grey, largest, type Palette, signed } from "./palette";
import { drawPicture, drawSign, drawSigned, outlineCell } from "./picture";

export interface Connections {
  readonly side: number;
  readonly image: ArrayLike<number>;
  readonly outputs: ArrayLike<number>;
  readonly users: ArrayLike<number>;
  readonly asks: ArrayLike<number>;
  readonly first: number;
  readonly window: ArrayLike<number>;
  readonly output: number;
  readonly anchor: readonly [number, number];
  readonly limit: number;
}

export function planes(box: Box): { input: Rect; output: Rect } {
  const gap = Math.max(box.width * 0.22, 40);
  const width = (box.width - gap) / 2;
  const left = { x: 4, y: 4, width: width - 8, height: box.height - 8 };
  const right = { ...left, x: box.width - width + 4 };
  return { input: fitted(left, 1), output: fitted(right, 1) };
}

export function drawConnections(ctx: CanvasRenderingContext2D, box: Box, layer: Connections, palette: Palette): void {
  const { side } = layer;
  const { input, output } = planes(box);
  const bright = largest(layer.image);
  drawPicture(ctx, input, layer.image, side, side, (value) => grey(value, 1.4 * bright, palette));
  drawSigned(ctx, output, layer.outputs, side, side, largest(layer.outputs), palette);
  frame(ctx, input, palette);
  frame(ctx, output, palette);
  if (layer.output >= 0) drawWindow(ctx, input, output, layer, palette);
  else drawUsers(ctx, input, output, layer, palette);
}

/** The connections of one output unit: the window that it sees, each cell in the colour of its weight. */
function drawWindow(
  ctx: CanvasRenderingContext2D, input: Rect, output: Rect, layer: Connections, palette: Palette,
): void {
  const { side, window } = layer;
  const cell = input.width / side;
  ctx.lineWidth = 1;
  for (let place = 0; place < side * side; place++) {
    if (Number.isNaN(window[place]) || place >= window.length) continue;
    const x = input.x + (place % side) * cell;
    const y = input.y + Math.floor(place / side) * cell;
    ctx.fillStyle = css(signed(window[place], layer.limit, palette), 0.82);
    ctx.fillRect(x + 1, y + 1, cell - 2, cell - 2);
    if (cell >= 12.5) drawSign(ctx, x + cell / 2, y + cell / 2, cell * 0.2, window[place] < 0, palette.ink);
  }
  const row = Math.floor(layer.output / side);
  const column = layer.output % side;
  outlineCell(ctx, output, side, side, row, column, palette.accent, 3);
  ctx.strokeStyle = palette.accent;
  ctx.lineWidth = 1.5;
  ctx.setLineDash([]);
  const [x0, y0, x1, y1] = extent(input, window, side);
  const right = output.x + column * (output.width / side);
  const middle = output.y + (row + 0.5) * (output.height / side);
  ctx.beginPath();
  for (const y of [y0, y1]) {
    ctx.moveTo(x1, y);
    ctx.lineTo(right, middle);
  }
  ctx.stroke();
  ctx.strokeRect(x0, y0, x1 - x0, y1 - y0);
}

function drawUsers(
  ctx: CanvasRenderingContext2D, input: Rect, output: Rect, layer: Connections, palette: Palette,
): void {
  const { side, users, asks, first } = layer;
  const units = side * side;
  const most = largest(asks);
  for (let k = 0; k < asks.length; k++) {
    const out = users[2 * k] - first;
    if (out < 0 || out >= units) continue;
    const from = middle(input, users[2 * k + 1], side);
    const to = middle(output, out, side);
    const strength = most > 0 ? Math.abs(asks[k]) / most : 0;
    ctx.strokeStyle =
      strength < 0.01 ? palette.grid : css(asks[k] < 0 ? palette.negative : palette.positive, 0.35 + 0.65 * strength);
    ctx.lineWidth = 0.6 + 3 * strength;
    ctx.setLineDash(asks[k] < 0 ? [5, 4] : []);
    ctx.beginPath();
    ctx.moveTo(from[0], from[1]);
    ctx.lineTo(to[0], to[1]);
    ctx.stroke();
  }
  ctx.setLineDash([]);
  const [out, inp] = layer.anchor;
  if (inp >= 0) outlineCell(ctx, input, side, side, Math.floor(inp / side), inp % side, palette.accent);
  if (out >= 0) outlineCell(ctx, output, side, side, Math.floor(out / side), out % side, palette.accent);
}

function middle(rect: Rect, place: number, side: number): [number, number] {
  const cell = rect.width / side;
  return [rect.x + ((place % side) + 0.5) * cell, rect.y + (Math.floor(place / side) + 0.5) * cell];
}

/** The rectangle around all cells of a window. */
function extent(input: Rect, window: ArrayLike<number>, side: number): [number, number, number, number] {
  const cell = input.width / side;
  let [left, top, right, bottom] = [side, side, 0, 0];
  for (let place = 0; place < window.length; place++) {
    if (Number.isNaN(window[place])) continue;
    left = Math.min(left, place % side);
    right = Math.max(right, (place % side) + 1);
    top = Math.min(top, Math.floor(place / side));
    bottom = Math.max(bottom, Math.floor(place / side) + 1);
  }
  return [input.x + left * cell, input.y + top * cell, input.x + right * cell, input.y + bottom * cell];
}

function frame(ctx: CanvasRenderingContext2D, rect: Rect, palette: Palette): void {
  ctx.strokeStyle = palette.faint;
  ctx.lineWidth = 1;
  ctx.strokeRect(rect.x - 0.5, rect.y - 0.5, rect.width + 1, rect.height + 1);
}
