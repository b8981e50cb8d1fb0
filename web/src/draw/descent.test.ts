// The surface from above: places go to pixels and back, contour lines are close at the bottom.

import { expect, it } from "vitest";
import { levelsOf, shareAt, surfaceRect, toSurface } from "./descent";

const plane = { middle: [1, -2], reach: [2, 4] };

it("a place goes to pixels and back", () => {
  const rect = surfaceRect({ width: 460, height: 336 });
  expect(rect).toEqual({ x: 52, y: 6, width: 400, height: 300 });
  expect(toSurface(rect, plane, 1, -2)).toEqual([252, 156]);
  expect(toSurface(rect, plane, -1, 2)).toEqual([52, 6]);
  expect(shareAt(rect, 252, 156)).toEqual([0, 0]);
  expect(shareAt(rect, 452, 6)).toEqual([1, 1]);
  expect(shareAt(rect, 20, 100)).toBeNull();
});

it("contour lines are close together at the bottom", () => {
  const levels = levelsOf(100, 356);
  expect(levels.slice(0, 3)).toEqual([101, 104, 109]);
  expect([levels.length, levels.at(-1)]).toEqual([15, 325]);
});
