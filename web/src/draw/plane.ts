// The plane of two features: the ground has the colour of the class that the net answers, the points those of the truth.

import { type Box, fitted, type Rect } from "./box";
import { blend, type Palette } from "./palette";
import { drawPicture } from "./picture";
import { drawCross, drawMark, toPixel } from "./points";

export interface Plane {
  readonly ground: ArrayLike<number>;
  readonly side: number;
  readonly reach: number;
  readonly train: ArrayLike<number>;
  readonly test: ArrayLike<number>;
  /** Where keys would paint, in shares from −1 to 1; null where they do not. */
  readonly cursor: readonly [number, number] | null;
}

export function planeRect(box: Box): Rect {
  return fitted({ x: 1, y: 1, width: box.width - 2, height: box.height - 2 }, 1);
}

export function drawPlane(ctx: CanvasRenderingContext2D, box: Box, plane: Plane, palette: Palette): void {
  const rect = planeRect(box);
  const { side } = plane;
  drawPicture(ctx, rect, plane.ground, side, side, (share) =>
    blend(palette.zero, palette.classes[share > 0.5 ? 1 : 0], 0.12 + 0.5 * Math.abs(2 * share - 1)),
  );
  drawSeam(ctx, rect, plane.ground, side, palette);
  ctx.drawImage(marksOf(plane, box, ctx.getTransform().a, palette), 0, 0, box.width, box.height);
  if (plane.cursor) drawCross(ctx, ...toPixel(rect, 1, ...plane.cursor), palette);
}

interface Marks {
  readonly sheet: ImageBitmap;
  readonly of: readonly unknown[];
}
let marks: Marks | null = null;

/** All points on a sheet of their own, which is kept until something about it changes: the ground moves, they do not. */
function marksOf(plane: Plane, box: Box, scale: number, palette: Palette): ImageBitmap {
  const of = [plane.train, plane.test, plane.reach, box.width, box.height, scale, palette];
  if (marks?.of.every((part, k) => part === of[k])) return marks.sheet;
  const canvas = new OffscreenCanvas(Math.round(box.width * scale), Math.round(box.height * scale));
  const ctx = canvas.getContext("2d");
  if (!ctx) throw new Error("This browser draws nothing.");
  ctx.scale(scale, scale);
  const rect = planeRect(box);
  for (const [points, hollow] of [[plane.train, false], [plane.test, true]] as const) {
    for (let k = 0; k + 2 < points.length; k += 3) {
      const [x, y] = toPixel(rect, plane.reach, points[k], points[k + 1]);
      drawMark(ctx, x, y, points[k + 2], hollow ? 3.4 : 2.6, hollow, palette);
    }
  }
  marks = { sheet: canvas.transferToImageBitmap(), of };
  return marks.sheet;
}

/** The decision boundary: a line between neighbouring cells of different answers. */
function drawSeam(ctx: CanvasRenderingContext2D, rect: Rect, ground: ArrayLike<number>, side: number, palette: Palette): void {
  const cell = rect.width / side;
  ctx.strokeStyle = palette.ink;
  ctx.lineWidth = 1.4;
  ctx.beginPath();
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const here = ground[row * side + column] > 0.5;
      const [x, y] = [rect.x + (column + 1) * cell, rect.y + (row + 1) * cell];
      if (column + 1 < side && here !== ground[row * side + column + 1] > 0.5) {
        ctx.moveTo(x, y - cell);
        ctx.lineTo(x, y);
      }
      if (row + 1 < side && here !== ground[(row + 1) * side + column] > 0.5) {
        ctx.moveTo(x - cell, y);
        ctx.lineTo(x, y);
      }
    }
  }
  ctx.stroke();
}
