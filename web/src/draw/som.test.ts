// Units of a map in their places: as large as they fit, hexagons half a unit apart, found under a point.

import { expect, it } from "vitest";
import { cellsIn, scaleOf, unitAt } from "./som";

const HEIGHT = Math.sqrt(3) / 2;
const square = { positions: [0, 0, 0, 1, 0, 2, 1, 0, 1, 1, 1, 2], rows: 2, columns: 3, hexagonal: false };
const hexagons = { positions: [0, 0, 0, 1, HEIGHT, 0.5, HEIGHT, 1.5], rows: 2, columns: 2, hexagonal: true };

it("squares fill the rectangle", () => {
  const cells = cellsIn({ x: 10, y: 0, width: 300, height: 200 }, square);
  expect(cells.size).toBe(100);
  expect(cells.centres[0]).toEqual([60, 50]);
  expect(cells.centres[5]).toEqual([260, 150]);
});

it("all hexagons lie inside, each touching the next", () => {
  const cells = cellsIn({ x: 0, y: 0, width: 250, height: 400 }, hexagons);
  expect(cells.size).toBe(100);
  const [first, second, below] = cells.centres;
  expect(Math.hypot(second[0] - first[0], second[1] - first[1])).toBeCloseTo(100);
  expect(Math.hypot(below[0] - first[0], below[1] - first[1])).toBeCloseTo(100);
  expect(below[0] - first[0]).toBeCloseTo(50);
  expect(cells.centres.every(([x]) => x >= 50 && x <= 200)).toBe(true);
});

it("the unit under a point is the nearest, none is far outside", () => {
  const cells = cellsIn({ x: 0, y: 0, width: 300, height: 200 }, square);
  cells.centres.forEach(([x, y], k) => expect(unitAt(cells, x + 20, y - 20)).toBe(k));
  expect(unitAt(cells, 50, 400)).toBe(-1);
});

it("all points fit with a margin, and up is up", () => {
  const to = scaleOf({ x: 0, y: 0, width: 124, height: 124 }, [-1, -1, 1, 1]);
  expect(to(-1, -1)).toEqual([12, 112]);
  expect(to(1, 1)).toEqual([112, 12]);
});
