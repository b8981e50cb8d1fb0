import { expect, it } from "vitest";
import { pack, Recording, unpack } from "./recording";

const frame = (number: number, size = 100) => new Float32Array(size).fill(number).buffer;
const first = (buffer: ArrayBuffer) => new Float32Array(buffer)[0];

it("comes back as it was packed, each frame with the state and structure of its moment", async () => {
  const recording = new Recording();
  recording.keepState('{"步": 1}');
  recording.keepFrame(frame(0));
  recording.keepStructure(frame(9));
  recording.keepFrame(frame(1));
  recording.keepState("{}");
  recording.keepFrame(frame(2));
  const back = await unpack(await pack(recording.recorded()));
  expect(back.map((moment) => first(moment.frame))).toEqual([0, 1, 2]);
  expect(back.map((moment) => moment.state)).toEqual(['{"步": 1}', '{"步": 1}', "{}"]);
  expect(back.map((moment) => moment.structure && first(moment.structure))).toEqual([null, 9, 9]);
});

it("stays within its bytes however long it runs, spread over the whole time", () => {
  const recording = new Recording(40_000);
  for (let k = 0; k < 100_000; k++) recording.keepFrame(frame(k));
  const numbers = recording.recorded().map((moment) => first(moment.frame));
  expect(numbers.length).toBeLessThanOrEqual(100);
  expect(numbers[0]).toBe(0);
  expect(numbers.at(-1)).toBeGreaterThan(95_000);
});

it("is empty once it is cleared", () => {
  const recording = new Recording();
  recording.keepFrame(frame(1));
  recording.clear();
  expect(recording.recorded()).toHaveLength(0);
});
