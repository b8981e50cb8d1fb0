// A picture of numbers: one cell for each, coloured, without smoothing.

import { type Box, fitted, type Rect } from "./box";
import { css, hatched, largest, type Palette } from "./palette";

export type Paint = (value: number, place: number) => readonly [number, number, number];

interface Sheet {
  readonly image: ImageData;
  readonly pixels: Uint32Array;
  readonly cells: OffscreenCanvas;
  readonly ctx: OffscreenCanvasRenderingContext2D;
}
const sheets = new Map<string, Sheet>();
const MOST_SHEETS = 32;

/** A canvas of as many pixels as there are numbers, the same one each time: many pictures are drawn in each frame. */
function sheetOf(rows: number, columns: number): Sheet {
  const size = `${rows}×${columns}`;
  const known = sheets.get(size);
  if (known) return known;
  const cells = new OffscreenCanvas(columns, rows);
  const ctx = cells.getContext("2d", { alpha: false });
  if (!ctx) throw new Error("This browser draws nothing.");
  if (sheets.size >= MOST_SHEETS) sheets.clear();
  const image = new ImageData(columns, rows);
  const sheet = { image, pixels: new Uint32Array(image.data.buffer), cells, ctx };
  sheets.set(size, sheet);
  return sheet;
}

/** Draw rows × columns numbers into a rectangle. */
export function drawPicture(
  ctx: CanvasRenderingContext2D, rect: Rect, values: ArrayLike<number>, rows: number, columns: number, paint: Paint,
): void {
  if (values.length < rows * columns || rows * columns === 0) return;
  const { image, pixels, cells, ctx: within } = sheetOf(rows, columns);
  for (let place = 0; place < rows * columns; place++) {
    const [red, green, blue] = paint(values[place], place);
    pixels[place] = 0xff000000 | (blue << 16) | (green << 8) | red;
  }
  within.putImageData(image, 0, 0);
  ctx.imageSmoothingEnabled = false;
  ctx.drawImage(cells, rect.x, rect.y, rect.width, rect.height);
}

/** Draw signed numbers: each negative one bears a bar, each positive one a cross; where cells are small, what is negative is hatched. */
export function drawSigned(
  ctx: CanvasRenderingContext2D, rect: Rect, values: ArrayLike<number>, rows: number, columns: number, limit: number,
  palette: Palette,
): void {
  const large = rect.width / columns >= 8;
  const row = (place: number) => (large ? 0 : Math.floor(place / columns));
  drawPicture(ctx, rect, values, rows, columns, (value, place) => hatched(value, limit, row(place), palette));
  if (!large || values.length < rows * columns) return;
  const [width, height] = [rect.width / columns, rect.height / rows];
  const arm = Math.max(Math.min(width, height) * 0.16, 2);
  ctx.lineWidth = 1.2;
  for (const strong of [false, true]) {
    ctx.strokeStyle = css(strong ? palette.zero : [128, 128, 128], 0.9);
    ctx.beginPath();
    for (let place = 0; place < rows * columns; place++) {
      const share = limit > 0 ? Math.abs(values[place]) / limit : 0;
      if (share < 0.08 || share > 0.35 !== strong) continue;
      const [x, y] = [rect.x + ((place % columns) + 0.5) * width, rect.y + (Math.floor(place / columns) + 0.5) * height];
      traceSign(ctx, x, y, arm, values[place] < 0);
    }
    ctx.stroke();
  }
}

/** Draw one picture of signed numbers, as large as it fits, in a frame. */
export function drawOne(
  ctx: CanvasRenderingContext2D, box: Box, values: ArrayLike<number>, rows: number, columns: number, palette: Palette,
): void {
  const rect = fitted({ x: 2, y: 2, width: box.width - 4, height: box.height - 4 }, columns / rows);
  drawSigned(ctx, rect, values, rows, columns, largest(values), palette);
  ctx.strokeStyle = palette.faint;
  ctx.lineWidth = 1;
  ctx.strokeRect(rect.x, rect.y, rect.width, rect.height);
}

/** A bar for a negative number, a cross for a positive one. */
export function drawSign(ctx: CanvasRenderingContext2D, x: number, y: number, arm: number, negative: boolean, colour: string): void {
  ctx.strokeStyle = colour;
  ctx.beginPath();
  traceSign(ctx, x, y, arm, negative);
  ctx.stroke();
}

/** Add a sign to the path: many of one colour are drawn with one stroke. */
function traceSign(ctx: CanvasRenderingContext2D, x: number, y: number, arm: number, negative: boolean): void {
  ctx.moveTo(x - arm, y);
  ctx.lineTo(x + arm, y);
  if (negative) return;
  ctx.moveTo(x, y - arm);
  ctx.lineTo(x, y + arm);
}

/** Outline one cell of a grid. */
export function outlineCell(
  ctx: CanvasRenderingContext2D, rect: Rect, rows: number, columns: number, row: number, column: number, colour: string,
  width = 2,
): void {
  const w = rect.width / columns;
  const h = rect.height / rows;
  ctx.strokeStyle = colour;
  ctx.lineWidth = width;
  ctx.strokeRect(rect.x + column * w - 0.5, rect.y + row * h - 0.5, Math.max(w + 1, 4), Math.max(h + 1, 4));
}
