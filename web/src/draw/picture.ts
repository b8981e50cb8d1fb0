// A picture of numbers: one cell for each, coloured, without smoothing.

import { type Box, fitted, type Rect } from "./box";
import { css, hatched, largest, type Palette } from "./palette";

export type Paint = (value: number, place: number) => readonly [number, number, number];

interface Sheet {
  readonly image: ImageData;
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
  const sheet = { image: new ImageData(columns, rows), cells, ctx };
  sheets.set(size, sheet);
  return sheet;
}

/** Draw rows × columns numbers into a rectangle. */
export function drawPicture(
  ctx: CanvasRenderingContext2D, rect: Rect, values: ArrayLike<number>, rows: number, columns: number, paint: Paint,
): void {
  if (values.length < rows * columns || rows * columns === 0) return;
  const { image, cells, ctx: within } = sheetOf(rows, columns);
  for (let place = 0; place < rows * columns; place++) {
    const [red, green, blue] = paint(values[place], place);
    image.data[4 * place] = red;
    image.data[4 * place + 1] = green;
    image.data[4 * place + 2] = blue;
    image.data[4 * place + 3] = 255;
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
  for (let place = 0; place < rows * columns; place++) {
    const share = limit > 0 ? Math.abs(values[place]) / limit : 0;
    if (share < 0.08) continue;
    const [x, y] = [rect.x + ((place % columns) + 0.5) * width, rect.y + (Math.floor(place / columns) + 0.5) * height];
    drawSign(ctx, x, y, arm, values[place] < 0, css(share > 0.35 ? palette.zero : [128, 128, 128], 0.9));
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
  ctx.moveTo(x - arm, y);
  ctx.lineTo(x + arm, y);
  if (!negative) {
    ctx.moveTo(x, y - arm);
    ctx.lineTo(x, y + arm);
  }
  ctx.stroke();
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
