// A folder of pictures on its way to the lab: which of its files go, and as which bytes.

import { expect, it } from "vitest";
import { filesIn, packed, picturesOf } from "./upload";

const found = (path: string, text = "") => ({ path, file: new File([text], path.split("/").at(-1) ?? "") });

it("only pictures go, each of a class", () => {
  const paths = ["a/1.png", "a/2.JPG", "b/x.pgm", "1.png", "a/b/1.png", "a/.hidden.png", ".git/1.png", "a/notes.txt"];
  expect(picturesOf(paths.map((path) => found(path))).map(({ path }) => path)).toEqual(["a/1.png", "a/2.JPG", "b/x.pgm"]);
});

it("they are packed behind their list, whose length comes first", async () => {
  const bytes = new Uint8Array(await packed([found("a/1.png", "xyz"), found("色/2.png", "12")]).arrayBuffer());
  const length = bytes[0] + 256 * bytes[1];
  const list = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  expect(list).toEqual([["a/1.png", 3], ["色/2.png", 2]]);
  expect(new TextDecoder().decode(bytes.subarray(4 + length))).toBe("xyz12");
});

/** An entry of a folder, as a browser gives it: a reader tells some at a time. */
function folder(name: string, inside: readonly object[]): object {
  const createReader = () => {
    const left = [...inside];
    return { readEntries: (done: (some: readonly object[]) => void) => done(left.splice(0, 2)) };
  };
  return { name, isDirectory: true, isFile: false, createReader };
}
const file = (name: string) => ({ name, isDirectory: false, isFile: true, file: (done: (one: File) => void) => done(new File([], name)) });

it("a dropped folder is read two folders deep, however many entries come at a time", async () => {
  const shades = folder("shades", [
    folder("dark", [file("1.png"), file("2.png"), file("3.png"), folder("deeper", [file("4.png")])]),
    file("notes.txt"), folder("bright", [file("1.png")]),
  ]);
  const paths = (await filesIn(shades as FileSystemDirectoryEntry)).map(({ path }) => path);
  expect(paths).toEqual(["dark/1.png", "dark/2.png", "dark/3.png", "notes.txt", "bright/1.png"]);
});
