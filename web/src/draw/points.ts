// Points of classes, each class by its colour and its shape; test points hollow.

import type { Rect } from "./box";
import { css, type Palette } from "./palette";

type Canvas = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;

interface Stamp {
  readonly cells: ImageBitmap;
  readonly of: readonly unknown[];
}
const stamps = new Map<number, Stamp>();

/** Draw many filled marks of one size: each class is drawn once, then stamped, which takes a fraction of the time. */
export function stampMarks(
  ctx: CanvasRenderingContext2D, places: Iterable<readonly [x: number, y: number, label: number]>, size: number, palette: Palette,
): void {
  const scale = ctx.getTransform().a;
  const reach = Math.ceil(2 * size);
  ctx.imageSmoothingEnabled = true;
  for (const [x, y, label] of places) {
    let stamp = stamps.get(label);
    if (!stamp || stamp.of[0] !== size || stamp.of[1] !== scale || stamp.of[2] !== palette) {
      const cells = new OffscreenCanvas(2 * reach * scale, 2 * reach * scale);
      const within = cells.getContext("2d");
      if (!within) throw new Error("This browser draws nothing.");
      within.scale(scale, scale);
      drawMark(within, reach, reach, label, size, false, palette);
      stamp = { cells: cells.transferToImageBitmap(), of: [size, scale, palette] };
      stamps.set(label, stamp);
    }
    ctx.drawImage(stamp.cells, x - reach, y - reach, 2 * reach, 2 * reach);
  }
}

/** Draw one mark; the classes have ten colours, and disc, square, triangle and diamond in turn. */
export function drawMark(
  ctx: Canvas, x: number, y: number, label: number, size: number, hollow: boolean, palette: Palette,
): void {
  const colour = css(palette.classes[label % palette.classes.length]);
  ctx.beginPath();
  if (label % 4 === 0) ctx.arc(x, y, size, 0, 7);
  else if (label % 4 === 1) ctx.rect(x - size * 0.9, y - size * 0.9, size * 1.8, size * 1.8);
  else {
    const corners = label % 4 === 2 ? [[0, -1.2], [1.1, 0.9], [-1.1, 0.9]] : [[0, -1.3], [1.3, 0], [0, 1.3], [-1.3, 0]];
    corners.forEach(([dx, dy], k) => (k === 0 ? ctx.moveTo(x + dx * size, y + dy * size) : ctx.lineTo(x + dx * size, y + dy * size)));
    ctx.closePath();
  }
  ctx.lineWidth = hollow ? 1.6 : 0.8;
  ctx.fillStyle = hollow ? palette.page : colour;
  ctx.strokeStyle = hollow ? colour : palette.page;
  ctx.fill();
  ctx.stroke();
}

/** Where something is pointed at, or begins. */
export function drawCross(ctx: CanvasRenderingContext2D, x: number, y: number, palette: Palette): void {
  ctx.strokeStyle = palette.accent;
  ctx.lineWidth = 2.5;
  ctx.beginPath();
  ctx.moveTo(x - 8, y);
  ctx.lineTo(x + 8, y);
  ctx.moveTo(x, y - 8);
  ctx.lineTo(x, y + 8);
  ctx.stroke();
}

/** From coordinates in a square of ±reach to pixels of a rectangle; up is up. */
export function toPixel(rect: Rect, reach: number, x: number, y: number): [number, number] {
  return [rect.x + ((x / reach + 1) / 2) * rect.width, rect.y + ((1 - y / reach) / 2) * rect.height];
}
