// What is found under a point of a drawing, and rhythms that tell groups apart without colour.

import { expect, it } from "vitest";
import { inRhythm } from "./matrix";
import { columns, unitAt } from "./network";
import { tileAt, tilesHeight } from "./tiles";

const layer = (inputs: number, outputs: number) => ({ name: "", inputs, allInputs: inputs, outputs, weight: new Float32Array(inputs * outputs) });

it("a unit is found under its own box, and none on an input", () => {
  const box = { width: 600, height: 300 };
  const layers = [layer(2, 3), layer(3, 2)];
  columns(box, layers).forEach((units, column) =>
    units.forEach((rect, unit) => {
      const found = unitAt(box, layers, rect.x + rect.width / 2, rect.y + rect.height / 2);
      expect(found).toEqual(column === 0 ? null : [column - 1, unit]);
    }),
  );
  expect(unitAt(box, layers, 1, 1)).toBeNull();
});

it("tiles fill their rows, and each is found under a point", () => {
  const box = { width: 200, height: 0 };
  expect(tilesHeight(200, 7)).toBe(3 * 64 + 4);
  expect([tileAt(box, 7, 10, 10), tileAt(box, 7, 130, 70), tileAt(box, 7, 10, 130)]).toEqual([0, 5, 6]);
  expect([tileAt(box, 7, 195, 10), tileAt(box, 7, 100, 130), tileAt(box, 7, 10, 400)]).toEqual([-1, -1, -1]);
});

it("neighbouring groups differ in their rhythm, and each is drawn somewhere", () => {
  const rhythm = (group: number) => Array.from({ length: 60 }, (_, row) => (inRhythm(group, row) ? "#" : "-")).join("");
  const seen = new Set([0, 1, 2, 3, 4, 5, 6].map(rhythm));
  expect(seen.size).toBe(7);
  for (const one of seen) expect(one).toContain("#");
});
