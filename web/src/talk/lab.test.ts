import { beforeEach, describe, expect, it, vi } from "vitest";
import { Lab } from "./lab.svelte";

vi.mock("../words/speech.svelte", () => ({ speech: {} })); // which asks the browser for its language

/** A frame of one kind with one value, as the server sends it. */
function frame(kind: string, loss: number): ArrayBuffer {
  let text = JSON.stringify({ kind, step: 0, values: { loss }, arrays: [] });
  text += " ".repeat((4 - (text.length % 4)) % 4);
  const bytes = new TextEncoder().encode(`CWF1\0\0\0\0${text}`);
  new DataView(bytes.buffer).setUint32(4, text.length, true);
  return bytes.buffer;
}

const state = (view: string): string => JSON.stringify({ type: "state", view, subject: "", settings: {}, limits: [], facts: {}, running: false });

describe("what the page has heard", () => {
  let hear: (data: string | ArrayBuffer) => void;
  let draw: () => void;
  let lab: Lab;

  beforeEach(() => {
    const drawings: (() => void)[] = [];
    vi.stubGlobal("matchMedia", () => ({ matches: false }));
    vi.stubGlobal("requestAnimationFrame", (drawing: () => void) => drawings.push(drawing));
    vi.stubGlobal("WebSocket", class {
      static readonly OPEN = 1;
      readyState = 0;
      onmessage = (_: { data: string | ArrayBuffer }) => {};
      constructor() {
        hear = (data) => this.onmessage({ data });
      }
    });
    draw = () => drawings.splice(0).forEach((drawing) => drawing());
    lab = new Lab("ws://here", null);
    hear(state("play"));
    hear(frame("structure", 1));
    hear(frame("live", 2));
    draw();
  });

  it("is the newest frame of the open view", () => {
    expect([lab.structure?.values.loss, lab.live?.values.loss]).toEqual([1, 2]);
    hear(frame("live", 3));
    hear(frame("live", 4));
    draw();
    expect(lab.live?.values.loss).toBe(4);
  });

  it("is nothing of the view before, however late its frames come", () => {
    lab.open({ view: "map", subject: "", settings: null, choices: {}, language: "" });
    hear(frame("live", 3)); // sent before the server heard of it
    draw();
    hear(frame("structure", 4));
    hear(frame("live", 5));
    hear(state("map"));
    draw();
    expect([lab.structure, lab.live]).toEqual([null, null]);
    hear(frame("live", 6));
    draw();
    expect(lab.live?.values.loss).toBe(6);
  });
});
