// Drawing, checked against what it must say: colours of known numbers, cells under a point, bars under a point.

import { describe, expect, it } from "vitest";
import { barAt } from "./bars";
import { cellAt, fitted } from "./box";
import { blend, DARK, grey, group, largest, LIGHT, signed } from "./palette";
import { short } from "./short";

describe("colours", () => {
  it.each([["light", LIGHT], ["dark", DARK]] as const)("%s: zero is the page, the ends are orange and blue", (_, palette) => {
    expect(signed(0, 1, palette)).toEqual([...palette.zero]);
    expect(signed(5, 5, palette)).toEqual([...palette.positive]);
    expect(signed(-5, 5, palette)).toEqual([...palette.negative]);
    expect(signed(-50, 5, palette)).toEqual([...palette.negative]);
    expect(signed(1, 0, palette)).toEqual([...palette.zero]);
    expect(grey(0, 1, palette)).toEqual([...palette.zero]);
  });

  it("differ between neighbouring groups", () => {
    const seen = new Set(Array.from({ length: 60 }, (_, number) => group(number, LIGHT).join()));
    expect(seen.size).toBe(60);
  });

  it("lie between their ends", () => {
    expect(blend([0, 0, 0], [100, 200, 50], 0.5)).toEqual([50, 100, 25]);
  });
});

it("the largest size passes over what is not finite", () => {
  expect(largest([1, -3, NaN, 2])).toBe(3);
  expect(largest([-Infinity, 2])).toBe(2);
  expect(largest([])).toBe(0);
});

it("a cell is found under a point, and none outside", () => {
  const rect = fitted({ x: 0, y: 0, width: 200, height: 100 }, 1);
  expect(rect).toEqual({ x: 50, y: 0, width: 100, height: 100 });
  expect(cellAt(rect, 10, 10, 50, 0)).toEqual([0, 0]);
  expect(cellAt(rect, 10, 10, 149.9, 55)).toEqual([5, 9]);
  expect(cellAt(rect, 10, 10, 40, 50)).toBeNull();
});

it("a bar is found under a point, and none under the sum", () => {
  const box = { width: 184, height: 100 };
  expect(barAt(box, 10, 0)).toBe(0);
  expect(barAt(box, 10, 99)).toBe(9);
  expect(barAt(box, 10, 120)).toBe(-1);
});

it("numbers beside drawings have two figures and a minus sign", () => {
  expect([0.4, -1, 12.34, -0.0567, 0].map(short)).toEqual(["0.4", "−1", "12", "−0.057", "0"]);
});
