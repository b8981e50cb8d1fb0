import { expect, it } from "vitest";
import { inRows } from "./saving";

it("keys stand side by side as long as there is room, and each has a row at least", () => {
  expect(inRows([40, 50, 30, 200, 10], 100)).toEqual([[0, 0], [40, 0], [0, 1], [0, 2], [0, 3]]);
  expect(inRows([], 100)).toEqual([]);
});
