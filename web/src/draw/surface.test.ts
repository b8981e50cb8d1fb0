import { expect, it } from "vitest";
import { contours } from "./surface";

const SIDE = 41;
const bowl = Array.from({ length: SIDE * SIDE }, (_, k) => Math.hypot((k % SIDE) - 20, Math.floor(k / SIDE) - 20));

it("the contours of a bowl are circles, and closed", () => {
  const lines = contours(bowl, SIDE, [9.9]);
  const away = lines.flatMap(([x, y, toX, toY]) => [Math.hypot(x - 20, y - 20), Math.hypot(toX - 20, toY - 20)]);
  expect(Math.max(...away.map((radius) => Math.abs(radius - 9.9)))).toBeLessThan(0.02);
  const length = lines.reduce((sum, [x, y, toX, toY]) => sum + Math.hypot(toX - x, toY - y), 0);
  expect(length).toBeCloseTo(2 * Math.PI * 9.9, 0);
  const ends = lines.flatMap(([x, y, toX, toY]) => [`${x.toFixed(6)} ${y.toFixed(6)}`, `${toX.toFixed(6)} ${toY.toFixed(6)}`]);
  for (const end of ends) expect(ends.filter((other) => other === end)).toHaveLength(2);
});

it("two lines pass through a saddle, beside the corners that differ from its middle", () => {
  expect(contours([0, 1, 1, 0], 2, [0.6])).toEqual([[0.6, 0, 1, 0.4], [0.4, 1, 0, 0.6]]);
  expect(contours([0, 1, 1, 0], 2, [0.4])).toEqual([[1, 0.6, 0.6, 1], [0, 0.4, 0.4, 0]]);
});

it("a plain has none", () => {
  expect(contours(new Float32Array(9), 3, [0, 1])).toEqual([]);
});
