// Ties as a graph: for each group the tensor that owns the weight at the left, and lines to those that are one with it.

import type { Box } from "./box";
import { css, type Palette } from "./palette";

export interface Tied {
  readonly names: readonly string[];
  readonly more: string;
  readonly verdict: string;
  readonly kind: "one" | "apart" | "broken";
  readonly marked: boolean;
}

export interface Place {
  readonly top: number;
  readonly height: number;
}

const ROW = 26;
const GAP = 14;

/** Whether a verdict means one weight, equal ones stored apart, or something that is meant to be one and is not. */
export function kindOf(verdict: string): Tied["kind"] {
  if (verdict.startsWith("same")) return "one";
  return verdict.startsWith("equal") || verdict === "close" ? "apart" : "broken";
}

/** How many lines a group takes: one for each alias, and one for those that are not shown. */
function lines(group: Tied): number {
  return Math.max(group.names.length - 1, 1) + (group.more ? 1 : 0);
}

/** Where each group is, from top to bottom. */
export function places(groups: readonly Tied[]): Place[] {
  let top = GAP / 2;
  return groups.map((group) => {
    const place = { top, height: lines(group) * ROW };
    top += place.height + GAP;
    return place;
  });
}

/** The height of the whole drawing. */
export function heightOf(groups: readonly Tied[]): number {
  const last = places(groups).at(-1);
  return last ? last.top + last.height + GAP / 2 : 0;
}

/** The group under a point; -1 for none. */
export function groupAt(groups: readonly Tied[], y: number): number {
  return places(groups).findIndex(({ top, height }) => y >= top - GAP / 2 && y < top + height + GAP / 2);
}

/** A name that fits: its middle is left out. */
export function elided(name: string, fits: (text: string) => boolean): string {
  if (fits(name)) return name;
  for (let kept = name.length - 1; kept > 2; kept--) {
    const text = `${name.slice(0, Math.floor(kept / 2))}…${name.slice(name.length - Math.ceil(kept / 2))}`;
    if (fits(text)) return text;
  }
  return "…";
}

export function drawTies(
  ctx: CanvasRenderingContext2D, box: Box, groups: readonly Tied[], chosen: number, palette: Palette,
): void {
  const width = box.width * 0.36;
  ctx.textBaseline = "middle";
  places(groups).forEach((place, k) => {
    const group = groups[k];
    if (k === chosen) {
      ctx.fillStyle = css(palette.empty);
      ctx.fillRect(0, place.top - GAP / 2, box.width, place.height + GAP);
    }
    const aliases = group.names.slice(1);
    const middle = place.top + place.height / 2;
    const right = box.width - width - 2;
    aliases.forEach((name, row) => {
      const y = place.top + (row + 0.5) * ROW;
      drawTie(ctx, [width + 2, middle], [right, y], group, palette);
      drawName(ctx, right, y, width, name, false, palette);
    });
    if (group.more) {
      ctx.fillStyle = palette.faint;
      ctx.textAlign = "left";
      ctx.fillText(group.more, right + 8, place.top + (lines(group) - 0.5) * ROW);
    }
    drawName(ctx, 2, middle, width, group.names[0], group.marked, palette);
    drawVerdict(ctx, box.width / 2, middle, box.width - 2 * width - 24, group.verdict, k === chosen, palette);
  });
  ctx.textBaseline = "alphabetic";
  ctx.textAlign = "left";
}

const DASH = { one: [], apart: [7, 4], broken: [2, 4] } as const;

function drawTie(
  ctx: CanvasRenderingContext2D, from: readonly [number, number], to: readonly [number, number], group: Tied,
  palette: Palette,
): void {
  const middle = (from[0] + to[0]) / 2;
  ctx.strokeStyle = group.kind === "broken" ? palette.accent : css(palette.classes[group.kind === "one" ? 2 : 1]);
  ctx.lineWidth = group.kind === "one" ? 3 : 2;
  ctx.setLineDash([...DASH[group.kind]]);
  ctx.beginPath();
  ctx.moveTo(from[0], from[1]);
  ctx.bezierCurveTo(middle, from[1], middle, to[1], to[0], to[1]);
  ctx.stroke();
  ctx.setLineDash([]);
  if (group.kind !== "broken") return;
  const x = to[0] - 12;
  ctx.beginPath();
  for (const slope of [-1, 1]) {
    ctx.moveTo(x - 4, to[1] - 4 * slope);
    ctx.lineTo(x + 4, to[1] + 4 * slope);
  }
  ctx.stroke();
}

function drawName(
  ctx: CanvasRenderingContext2D, x: number, y: number, width: number, name: string, marked: boolean, palette: Palette,
): void {
  ctx.font = "12px ui-monospace, monospace";
  ctx.fillStyle = palette.page;
  ctx.strokeStyle = marked ? palette.accent : palette.faint;
  ctx.lineWidth = marked ? 2 : 1;
  ctx.beginPath();
  ctx.roundRect(x, y - 10, width, 20, 5);
  ctx.fill();
  ctx.stroke();
  ctx.fillStyle = palette.ink;
  ctx.textAlign = "left";
  const text = marked ? `! ${name}` : name;
  ctx.fillText(elided(text, (tried) => ctx.measureText(tried).width <= width - 12), x + 6, y + 0.5);
}

function drawVerdict(
  ctx: CanvasRenderingContext2D, x: number, y: number, width: number, verdict: string, chosen: boolean, palette: Palette,
): void {
  ctx.font = "12px system-ui, sans-serif";
  ctx.textAlign = "center";
  const text = elided(verdict, (tried) => ctx.measureText(tried).width <= width - 8);
  const half = ctx.measureText(text).width / 2 + 4;
  ctx.fillStyle = chosen ? css(palette.empty) : palette.page;
  ctx.fillRect(x - half, y - 9, 2 * half, 18);
  ctx.fillStyle = palette.ink;
  ctx.fillText(text, x, y + 0.5);
}
