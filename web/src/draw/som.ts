// A self-organising map: its units as cells in their places on the grid, and as a net among the data.

import type { Rect } from "./box";
import { css, type Palette } from "./palette";
import { drawPicture } from "./picture";
import { drawMark } from "./points";
import { short } from "./short";

type Colour = readonly [number, number, number];

export interface Units {
  readonly positions: ArrayLike<number>;
  readonly rows: number;
  readonly columns: number;
  readonly hexagonal: boolean;
}

export interface Cells {
  /** Pixels from one unit to the next. */
  readonly size: number;
  readonly centres: readonly (readonly [number, number])[];
}

const HEIGHT = Math.sqrt(3) / 2;
/** Of the ends of a scale, below a drawing. */
const SCALE = 18;

/** Where the units of a grid are in a rectangle, as large as they fit. */
export function cellsIn(rect: Rect, units: Units): Cells {
  const across = units.columns + (units.hexagonal && units.rows > 1 ? 0.5 : 0);
  const down = units.hexagonal ? (units.rows - 1) * HEIGHT + 2 / Math.sqrt(3) : units.rows;
  const size = Math.min(rect.width / across, rect.height / down);
  const left = rect.x + (rect.width - across * size) / 2;
  const top = rect.y + (rect.height - down * size) / 2;
  const half = units.hexagonal ? 1 / Math.sqrt(3) : 0.5;
  const centres = Array.from({ length: units.positions.length / 2 }, (_, k) => [
    left + (units.positions[2 * k + 1] + 0.5) * size,
    top + (units.positions[2 * k] + half) * size,
  ] as const);
  return { size, centres };
}

/** The unit under a point; -1 for none. */
export function unitAt(cells: Cells, x: number, y: number): number {
  let [nearest, least] = [-1, (0.6 * cells.size) ** 2];
  cells.centres.forEach(([cx, cy], k) => {
    const squared = (x - cx) ** 2 + (y - cy) ** 2;
    if (squared < least) [nearest, least] = [k, squared];
  });
  return nearest;
}

function outline(ctx: CanvasRenderingContext2D, x: number, y: number, size: number, hexagonal: boolean): void {
  ctx.beginPath();
  if (!hexagonal) {
    ctx.rect(x - size / 2, y - size / 2, size, size);
    return;
  }
  for (let corner = 0; corner < 6; corner++) {
    const angle = (Math.PI / 3) * corner + Math.PI / 6;
    const radius = size / Math.sqrt(3);
    ctx.lineTo(x + radius * Math.cos(angle), y + radius * Math.sin(angle));
  }
  ctx.closePath();
}

export interface Painted {
  readonly colour: Colour;
  /** Of the cell's side, from 0 to 1. */
  readonly share?: number;
  readonly text?: string;
}

/** Draw each unit as a cell; the chosen one has a thick edge, the winner of the sample a star. */
export function drawCells(
  ctx: CanvasRenderingContext2D, rect: Rect, units: Units, chosen: number, winner: number, palette: Palette,
  paint: (unit: number) => Painted,
): void {
  const cells = cellsIn(rect, units);
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  ctx.font = `${Math.max(9, Math.min(cells.size * 0.42, 16))}px system-ui, sans-serif`;
  cells.centres.forEach(([x, y], k) => {
    const { colour, share = 1, text } = paint(k);
    if (share < 1) {
      outline(ctx, x, y, cells.size * 0.96, units.hexagonal);
      ctx.fillStyle = css(palette.empty);
      ctx.fill();
    }
    outline(ctx, x, y, cells.size * 0.96 * share, units.hexagonal);
    ctx.fillStyle = css(colour);
    ctx.fill();
    if (text && cells.size > 11) {
      ctx.fillStyle = 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2] > 140 && share > 0.5 ? "#10151c" : share > 0.5 ? "#ffffff" : palette.ink;
      ctx.fillText(text, x, y + 0.5);
    }
  });
  markUnits(ctx, cells, units, chosen, winner, palette);
  ctx.textBaseline = "alphabetic";
  ctx.textAlign = "left";
}

function markUnits(
  ctx: CanvasRenderingContext2D, cells: Cells, units: Units, chosen: number, winner: number, palette: Palette,
): void {
  const [edge, star] = [cells.centres[chosen], cells.centres[winner]];
  if (edge) {
    outline(ctx, edge[0], edge[1], cells.size, units.hexagonal);
    ctx.strokeStyle = palette.accent;
    ctx.lineWidth = 3;
    ctx.stroke();
  }
  if (star) drawStar(ctx, star[0], star[1], Math.max(cells.size * 0.26, 5), palette);
}

function drawStar(ctx: CanvasRenderingContext2D, x: number, y: number, size: number, palette: Palette): void {
  ctx.beginPath();
  for (let k = 0; k < 10; k++) {
    const angle = (Math.PI / 5) * k - Math.PI / 2;
    const radius = k % 2 === 0 ? size : 0.45 * size;
    ctx.lineTo(x + radius * Math.cos(angle), y + radius * Math.sin(angle));
  }
  ctx.closePath();
  ctx.fillStyle = palette.accent;
  ctx.strokeStyle = palette.page;
  ctx.lineWidth = 1.2;
  ctx.fill();
  ctx.stroke();
}

/** The weights of all units as pictures, in their places, so that the sheet shows how they go over into each other. */
export function drawPictures(
  ctx: CanvasRenderingContext2D, rect: Rect, units: Units, sheet: ArrayLike<number>, image: readonly [number, number],
  chosen: number, winner: number, palette: Palette, paint: (value: number) => Colour,
): void {
  const cells = cellsIn(rect, units);
  const [height, width] = image;
  const pixels = height * width;
  for (let row = 0; row < units.rows; row++) {
    const strip = new Float32Array(pixels * units.columns);
    for (let place = 0; place < strip.length; place++) {
      const [y, x] = [Math.floor(place / (width * units.columns)), place % (width * units.columns)];
      strip[place] = sheet[(row * units.columns + Math.floor(x / width)) * pixels + y * width + (x % width)];
    }
    const [x, y] = cells.centres[row * units.columns] ?? [0, 0];
    const side = cells.size;
    const tall = units.hexagonal ? side * HEIGHT : side;
    const area = { x: x - side / 2, y: y - tall / 2, width: side * units.columns, height: tall };
    drawPicture(ctx, area, strip, height, width * units.columns, paint);
  }
  markUnits(ctx, cells, { ...units, hexagonal: false }, chosen, winner, palette);
}

export interface Sheet {
  readonly points: ArrayLike<number>;
  readonly labels: ArrayLike<number>;
  readonly units: ArrayLike<number>;
  readonly edges: ArrayLike<number>;
  readonly chosen: number;
  readonly sample: ArrayLike<number>;
}

/** From the plane of the data to pixels: all points with a margin, one scale for both axes. */
export function scaleOf(rect: Rect, points: ArrayLike<number>): (x: number, y: number) => [number, number] {
  const low = [Infinity, Infinity];
  const high = [-Infinity, -Infinity];
  for (let k = 0; k < points.length; k++) {
    low[k % 2] = Math.min(low[k % 2], points[k]);
    high[k % 2] = Math.max(high[k % 2], points[k]);
  }
  const scale = Math.min((rect.width - 24) / (high[0] - low[0] || 1), (rect.height - 24) / (high[1] - low[1] || 1));
  const [x0, y0] = [rect.x + rect.width / 2, rect.y + rect.height / 2];
  return (x, y) => [x0 + (x - (low[0] + high[0]) / 2) * scale, y0 - (y - (low[1] + high[1]) / 2) * scale];
}

export function drawSheet(ctx: CanvasRenderingContext2D, rect: Rect, sheet: Sheet, palette: Palette): void {
  if (sheet.points.length === 0) return;
  const to = scaleOf(rect, sheet.points);
  ctx.globalAlpha = 0.55;
  for (let k = 0; k < sheet.labels.length; k++) {
    drawMark(ctx, ...to(sheet.points[2 * k], sheet.points[2 * k + 1]), sheet.labels[k], 2.4, false, palette);
  }
  ctx.globalAlpha = 1;
  const unit = (k: number) => to(sheet.units[2 * k], sheet.units[2 * k + 1]);
  ctx.strokeStyle = palette.ink;
  ctx.lineWidth = 1.1;
  ctx.beginPath();
  for (let k = 0; k < sheet.edges.length; k += 2) {
    ctx.moveTo(...unit(sheet.edges[k]));
    ctx.lineTo(...unit(sheet.edges[k + 1]));
  }
  ctx.stroke();
  ctx.fillStyle = palette.ink;
  for (let k = 0; 2 * k < sheet.units.length; k++) {
    const [x, y] = unit(k);
    ctx.fillRect(x - 2, y - 2, 4, 4);
  }
  if (sheet.chosen >= 0 && 2 * sheet.chosen < sheet.units.length) {
    ctx.strokeStyle = palette.accent;
    ctx.lineWidth = 3;
    ctx.beginPath();
    ctx.arc(...unit(sheet.chosen), 7, 0, 7);
    ctx.stroke();
  }
  if (sheet.sample.length === 2) drawStar(ctx, ...to(sheet.sample[0], sheet.sample[1]), 8, palette);
}

/** Two rows of numbers side by side, feature by feature on one scale: a disc for the one, a ring for the other. */
export function drawPair(
  ctx: CanvasRenderingContext2D, rect: Rect, names: readonly string[], one: ArrayLike<number>, other: ArrayLike<number>,
  palette: Palette,
): void {
  const all = [...Array.from(one), ...Array.from(other)];
  const [low, high] = [Math.min(...all, 0), Math.max(...all)];
  const row = (rect.height - SCALE) / Math.max(names.length, 1);
  const left = rect.x + rect.width * 0.42;
  const x = (value: number) => left + ((value - low) / (high - low || 1)) * (rect.width * 0.54);
  ctx.font = "12px system-ui, sans-serif";
  ctx.textBaseline = "middle";
  names.forEach((name, k) => {
    const y = rect.y + (k + 0.5) * row;
    ctx.fillStyle = palette.ink;
    ctx.fillText(name, rect.x, y, rect.width * 0.4);
    ctx.strokeStyle = palette.grid;
    ctx.lineWidth = 1;
    ctx.beginPath();
    ctx.moveTo(left, y);
    ctx.lineTo(left + rect.width * 0.54, y);
    ctx.stroke();
    ctx.strokeStyle = palette.accent;
    ctx.fillStyle = palette.accent;
    ctx.lineWidth = 2;
    ctx.beginPath();
    ctx.arc(x(one[k]), y, 4, 0, 7);
    ctx.fill();
    ctx.strokeStyle = palette.ink;
    ctx.beginPath();
    ctx.arc(x(other[k]), y, 6, 0, 7);
    ctx.stroke();
  });
  ctx.textBaseline = "alphabetic";
  ctx.fillStyle = palette.faint;
  ctx.fillText(short(low), left, rect.y + rect.height - 4);
  ctx.textAlign = "right";
  ctx.fillText(short(high), left + rect.width * 0.54, rect.y + rect.height - 4);
  ctx.textAlign = "left";
}
