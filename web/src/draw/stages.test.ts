// The way through a net: a value is found under its own cell, a pen is soft, terms add up.

import { expect, it } from "vitest";
import { largestTerms, termsOf } from "./arithmetic";
import { pressed, spotAt, tileOf, written } from "./stages";

const stage = (maps: number, side: number) => ({ title: "", values: [], maps, rows: side, columns: side });

it("a value is found under its own cell, and none on the picture", () => {
  const box = { width: 1000, height: 480 };
  const stages = [stage(1, 14), stage(6, 14), stage(10, 1)];
  for (const [place, map, row, column] of [[1, 0, 0, 0], [1, 5, 13, 7], [2, 9, 0, 0]] as const) {
    const tile = tileOf(box, stages, place, map);
    const x = tile.x + ((column + 0.5) / stages[place].columns) * tile.width;
    const y = tile.y + ((row + 0.5) / stages[place].rows) * tile.height;
    expect(spotAt(box, stages, x, y)).toEqual([place, map, row, column]);
  }
  const picture = tileOf(box, stages, 0, 0);
  expect(spotAt(box, stages, picture.x + 5, picture.y + 5)).toBeNull();
});

it("a pen is soft, and says when nothing changes", () => {
  const blank = new Float32Array(9);
  const once = pressed(blank, 3, 1, 1);
  expect(written(once)).toBe("d0606f6060");
  expect(pressed(once, 3, 1, 1)).toBe(once);
  expect(written(pressed(blank, 3, 0, 0))).toBe("df60600000");
});

it("terms add up to the sum, whichever are shown", () => {
  const terms = termsOf({ values: [1, 2, 0, 4], weights: [3, -1, 9, 0.25], rows: 1, columns: 2 });
  expect(terms[3]).toEqual({ map: 1, row: 0, column: 1, value: 4, weight: 0.25, product: 1 });
  const { shown, others, rest } = largestTerms(terms, 2);
  expect(shown.map((term) => term.product)).toEqual([3, -2]);
  expect([others, rest]).toEqual([1, 1]);
});
