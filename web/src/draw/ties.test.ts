// The graph of ties: what a verdict is drawn as, where groups are, names that fit.

import { expect, it } from "vitest";
import { elided, groupAt, heightOf, kindOf, places, type Tied } from "./ties";

const group = (names: string[], more = ""): Tied => ({ names, more, verdict: "equal bits", kind: "apart", marked: false });

it("a verdict is one weight, equal ones apart, or a broken tie", () => {
  expect(["same object", "same storage"].map(kindOf)).toEqual(["one", "one"]);
  expect(["equal bits", "equal up to a transform", "close"].map(kindOf)).toEqual(["apart", "apart", "apart"]);
  expect(["missing", "diverged", "not compared", "never initialised"].map(kindOf)).toEqual(Array(4).fill("broken"));
});

it("each group has a line for each alias, and is found under its lines", () => {
  const groups = [group(["a", "b"]), group(["c", "d", "e"], "and 2 more"), group(["f"])];
  const found = places(groups);
  expect(found.map(({ height }) => height)).toEqual([26, 78, 26]);
  expect(heightOf(groups)).toBe(26 + 78 + 26 + 3 * 14);
  found.forEach(({ top, height }, k) => expect(groupAt(groups, top + height / 2)).toBe(k));
  expect(groupAt(groups, heightOf(groups) + 1)).toBe(-1);
  expect(heightOf([])).toBe(0);
});

it("a long name loses its middle, never its ends", () => {
  const fits = (most: number) => (text: string) => text.length <= most;
  expect(elided("encoder.layers.0.weight", fits(40))).toBe("encoder.layers.0.weight");
  expect(elided("encoder.layers.0.weight", fits(11))).toBe("encod…eight");
  expect(elided("encoder", fits(1))).toBe("…");
});
