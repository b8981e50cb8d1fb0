import { expect, it } from "vitest";
import { completed, formatPlace, parsePlace } from "./address";
import type { Limit } from "./messages";

const LIMITS: Limit[] = [
  { name: "pattern", kind: "choice", default: "conv", options: ["conv", "tiled"] },
  { name: "rate", kind: "real", default: 0.01, low: 0, high: 1 },
  { name: "hidden", kind: "sizes", default: [4], low: 1, high: 8, most: 3 },
  { name: "file", kind: "text", default: "", most: 400 },
];
const PLACE = { view: "share", subject: "", choices: {}, language: "" };

it("restores what it was written for, defaults left out", () => {
  const place = {
    view: "share", subject: "a run & more", settings: { pattern: "tiled", rate: 1e-5, hidden: [3, 2], file: "a b/c.csv" },
    choices: { weight: [1, 0, 7], colour: "group" }, language: "zh-Hant",
  };
  expect(parsePlace(formatPlace(place, LIMITS))).toEqual(place);
  expect(formatPlace({ ...PLACE, settings: { pattern: "conv", rate: 0.01, hidden: [4] } }, LIMITS)).toBe("#share");
});

it.each(["2020", "[1]", '"x"', "1e5", "-3"])("a file that is called %s stays a text", (file) => {
  const place = { ...PLACE, settings: { file } };
  expect(parsePlace(formatPlace(place, LIMITS))).toEqual(place);
});

it("takes any text for a place without falling", () => {
  expect(parsePlace("")).toEqual({ ...PLACE, view: "", settings: null });
  expect(parsePlace("#share?hidden=[1,&x=%zz")).toEqual({ ...PLACE, settings: { hidden: "[1,", x: "%zz" } });
});

it("a link says all settings: what it does not name is at its default", () => {
  expect(completed({ rate: 0.5 }, LIMITS)).toEqual({ pattern: "conv", rate: 0.5, hidden: [4], file: "" });
});
