import { expect, it } from "vitest";
import { formatPlace, parsePlace } from "./address";
import type { Limit } from "./messages";

const LIMITS: Limit[] = [
  { name: "pattern", kind: "choice", default: "conv", options: ["conv", "tiled"] },
  { name: "rate", kind: "real", default: 0.01, low: 0, high: 1 },
  { name: "hidden", kind: "sizes", default: [4], low: 1, high: 8, most: 3 },
];

it("restores what it was written for, defaults left out", () => {
  const settings = { pattern: "tiled", rate: 1e-5, hidden: [3, 2] };
  const fragment = formatPlace("share", "a run & more", settings, LIMITS);
  expect(parsePlace(fragment)).toEqual({ view: "share", subject: "a run & more", settings });
  expect(formatPlace("share", "", { pattern: "conv", rate: 0.01, hidden: [4] }, LIMITS)).toBe("#share");
});

it("takes any text for a place without falling", () => {
  expect(parsePlace("")).toEqual({ view: "", subject: "", settings: null });
  expect(parsePlace("#share?hidden=[1,&x=%zz")).toEqual({ view: "share", subject: "", settings: { hidden: "[1,", x: "%zz" } });
});
