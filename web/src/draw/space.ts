// The hidden layer's space: the samples where the layers have brought them, and a grid of inputs as they bent it.

import type { Box } from "./box";
import type { Palette } from "./palette";
import { stampMarks } from "./points";

export interface Space {
  readonly points: ArrayLike<number>;
  readonly classes: ArrayLike<number>;
  readonly lattice: ArrayLike<number>;
}

export function drawSpace(ctx: CanvasRenderingContext2D, box: Box, space: Space, palette: Palette): void {
  const scale = scaled(box, space.points);
  drawLattice(ctx, space.lattice, scale, palette);
  const count = Math.floor(space.points.length / 2);
  const marks = Array.from({ length: count }, (_, k) => [...scale(space.points[2 * k], space.points[2 * k + 1]), space.classes[k]] as const);
  stampMarks(ctx, marks, 3, palette);
}

function scaled(box: Box, points: ArrayLike<number>): (x: number, y: number) => [number, number] {
  const [left, right] = ends(points, 0);
  const [low, high] = ends(points, 1);
  const scale = Math.min((box.width - 20) / (right - left), (box.height - 20) / (high - low));
  return (x, y) => [box.width / 2 + (x - (left + right) / 2) * scale, box.height / 2 - (y - (low + high) / 2) * scale];
}

/** The least and the largest of every second number. */
function ends(points: ArrayLike<number>, first: number): [number, number] {
  let [low, high] = [points[first] ?? 0, points[first] ?? 0];
  for (let k = first; k < points.length; k += 2) [low, high] = [Math.min(low, points[k]), Math.max(high, points[k])];
  return high > low ? [low, high] : [low - 1e-6, low + 1e-6];
}

function drawLattice(
  ctx: CanvasRenderingContext2D, lattice: ArrayLike<number>, scale: (x: number, y: number) => [number, number],
  palette: Palette,
): void {
  const side = Math.round(Math.sqrt(lattice.length / 2));
  ctx.strokeStyle = palette.grid;
  ctx.lineWidth = 1;
  ctx.beginPath();
  for (let line = 0; line < side; line++) {
    for (let k = 0; k < side; k++) {
      const across = 2 * (line * side + k);
      const down = 2 * (k * side + line);
      const to = scale(lattice[across], lattice[across + 1]);
      k === 0 ? ctx.moveTo(...to) : ctx.lineTo(...to);
      if (k > 0) {
        ctx.moveTo(...scale(lattice[down - 2 * side], lattice[down - 2 * side + 1]));
        ctx.lineTo(...scale(lattice[down], lattice[down + 1]));
        ctx.moveTo(...to);
      }
    }
  }
  ctx.stroke();
}
