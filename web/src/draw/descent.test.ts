// The surface from above: places go to pixels and back, bands are narrow at the bottom.

import { expect, it } from "vitest";
import { bandOf, shareAt, surfaceRect, toSurface } from "./descent";

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

it("bands go up with the loss, and are narrow at the bottom", () => {
  const bands = Array.from({ length: 101 }, (_, k) => bandOf(k, 0, 100));
  expect(bands[0]).toBe(0);
  expect(bands[100]).toBe(15);
  expect(bands.every((band, k) => k === 0 || band >= bands[k - 1])).toBe(true);
  expect(bands.lastIndexOf(0)).toBeLessThan(2);
  expect(bandOf(5, 5, 5)).toBe(0);
});
