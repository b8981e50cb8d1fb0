// A function of two variables, seen from above: its ground in colours that go over into each other, and its contour lines.

import type { Rect } from "./box";
import type { Paint } from "./picture";

let kept: OffscreenCanvas | null = null;

/** Draw side × side samples, the first row at the bottom, so that the outer ones lie on the edges of the rectangle. */
export function drawGround(ctx: CanvasRenderingContext2D, rect: Rect, values: ArrayLike<number>, side: number, paint: Paint): void {
  if (kept?.width !== side) kept = new OffscreenCanvas(side, side);
  const within = kept.getContext("2d", { alpha: false });
  if (!within) return;
  const image = new ImageData(side, side);
  for (let place = 0; place < side * side; place++) {
    const pixel = 4 * ((side - 1 - Math.floor(place / side)) * side + (place % side));
    image.data.set([...paint(values[place], place), 255], pixel);
  }
  within.putImageData(image, 0, 0);
  ctx.imageSmoothingEnabled = true;
  ctx.drawImage(kept, 0.5, 0.5, side - 1, side - 1, rect.x, rect.y, rect.width, rect.height);
}

/** From one point to another, each a column and a row between samples. */
export type Segment = readonly [column: number, row: number, toColumn: number, toRow: number];

/** Where side × side samples, with straight lines between neighbours, have these levels, which rise: marching squares. */
export function contours(values: ArrayLike<number>, side: number, levels: readonly number[]): Segment[] {
  const found: Segment[] = [];
  for (let row = 0; row + 1 < side; row++) {
    for (let column = 0; column + 1 < side; column++) {
      const corners = [[column, row], [column + 1, row], [column + 1, row + 1], [column, row + 1]] as const;
      const heights = corners.map(([x, y]) => values[y * side + x]);
      const [least, most] = [Math.min(...heights), Math.max(...heights)];
      for (const level of levels) if (level > least && level <= most) found.push(...through(corners, heights, level));
    }
  }
  return found;
}

type Place = readonly [number, number];

/** The lines of a level through a square: one, or two where opposite corners are on the same side of it. */
function through(corners: readonly Place[], heights: readonly number[], level: number): Segment[] {
  const crossed = corners.flatMap(([x, y], k): Place[] => {
    const [one, other] = [heights[k], heights[(k + 1) % 4]];
    if (one < level === other < level) return [];
    const share = (level - one) / (other - one);
    const [toX, toY] = corners[(k + 1) % 4];
    return [[x + share * (toX - x), y + share * (toY - y)]];
  });
  const middle = heights.reduce((sum, height) => sum + height / 4, 0);
  const ends = crossed.length === 4 && middle < level !== heights[0] < level ? [...crossed.slice(1), crossed[0]] : crossed;
  return Array.from({ length: ends.length / 2 }, (_, k) => [...ends[2 * k], ...ends[2 * k + 1]] as Segment);
}
