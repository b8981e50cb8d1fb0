import { describe, expect, it } from "vitest";
import { decodeFrame, list, numbers, value } from "./frame";

/** A frame written out by hand, byte by byte, as docs/lab_protocol.md says. */
function bytes(description: object, floats: number[], magic = "CWF1"): ArrayBuffer {
  let text = JSON.stringify(description);
  text += " ".repeat((4 - (text.length % 4)) % 4);
  const buffer = new ArrayBuffer(8 + text.length + 4 * floats.length);
  const view = new DataView(buffer);
  [...magic].forEach((letter, place) => view.setUint8(place, letter.charCodeAt(0)));
  view.setUint32(4, text.length, true);
  [...text].forEach((letter, place) => view.setUint8(8 + place, letter.charCodeAt(0)));
  floats.forEach((number, place) => view.setFloat32(8 + text.length + 4 * place, number, true));
  return buffer;
}

const ABOUT = {
  kind: "live", step: 7, values: { loss: 0.5, word: "x", both: [1, 2], lost: null },
  arrays: [{ name: "w", shape: [2, 2] }, { name: "one", shape: [] }],
};

describe("a frame", () => {
  it("has its numbers where its description says", () => {
    const frame = decodeFrame(bytes(ABOUT, [1, -2, 3.5, 0, 9]));
    expect(frame.step).toBe(7);
    expect([...numbers(frame, "w")]).toEqual([1, -2, 3.5, 0]);
    expect([...numbers(frame, "one")]).toEqual([9]);
    expect(numbers(frame, "none")).toHaveLength(0);
    expect([value(frame, "loss"), value(frame, "word"), value(frame, "lost")]).toEqual([0.5, NaN, NaN]);
    expect(list(frame, "both")).toEqual([1, 2]);
  });

  it("is refused in another version and when it is cut off", () => {
    expect(() => decodeFrame(bytes(ABOUT, [1, 2, 3, 4, 5], "CWF2"))).toThrow('begins with CWF1; got "CWF2"');
    expect(() => decodeFrame(bytes(ABOUT, [1, 2, 3]))).toThrow("The array w of a frame is cut off");
    expect(() => decodeFrame(new ArrayBuffer(3))).toThrow("begins with CWF1");
    expect(() => decodeFrame(bytes(ABOUT, []).slice(0, 20))).toThrow("is cut off");
  });
});
