// What the page gives to the lab: docs/lab_protocol.md says what becomes of it.

import type { Texts } from "../words/speech.svelte";

export type Answer = { readonly subject: string } | { readonly text: Texts };

/** Of a folder of pictures; the server has the same bounds. */
export const MOST_PICTURES = 5000;
export const MOST_BYTES = 1 << 28;

/** A file of a folder, with its path from there: CLASS/FILE for a picture of a class. */
export interface Found {
  readonly path: string;
  readonly file: File;
}

/** Give a file to the lab: the subject to open it by, or why it was not taken. */
export const upload = (file: File) => send("./uploads", file.name, file);

/** Give the pictures of a folder to the lab. */
export const uploadPictures = (name: string, pictures: readonly Found[]) => send("./uploads/pictures", name, packed(pictures));

async function send(place: string, name: string, body: Blob): Promise<Answer> {
  const answer = await fetch(`${place}?name=${encodeURIComponent(name)}`, { method: "POST", body });
  return (await answer.json()) as Answer;
}

/** The list of the pictures behind its length, then the bytes of all. */
export function packed(pictures: readonly Found[]): Blob {
  const list = new TextEncoder().encode(JSON.stringify(pictures.map(({ path, file }) => [path, file.size])));
  const length = new DataView(new ArrayBuffer(4));
  length.setUint32(0, list.byteLength, true);
  return new Blob([length, list, ...pictures.map(({ file }) => file)]);
}

const ENDS = /\.(png|jpe?g|gif|bmp|webp|tiff?|p[bgpn]m)$/i;

/** Those that are pictures of a class: other files, hidden ones and those of deeper folders are left out. */
export function picturesOf(files: readonly Found[]): Found[] {
  return files.filter(({ path }) => path.split("/").length === 2 && !/(^|\/)\./.test(path) && ENDS.test(path));
}

/** What is in a folder that was dropped, two folders deep; no more than can be given, and one. */
export async function filesIn(folder: FileSystemDirectoryEntry, path = ""): Promise<Found[]> {
  const found: Found[] = [];
  const reader = folder.createReader();
  for (let some = await entries(reader); some.length > 0 && found.length <= MOST_PICTURES; some = await entries(reader)) {
    for (const entry of some) {
      if (entry.isDirectory && path === "") found.push(...(await filesIn(entry as FileSystemDirectoryEntry, `${entry.name}/`)));
      else if (entry.isFile) found.push({ path: path + entry.name, file: await fileOf(entry as FileSystemFileEntry) });
    }
  }
  return found;
}

/** The next of the entries: a reader gives some at a time, and none at its end. */
const entries = (reader: FileSystemDirectoryReader) => new Promise<FileSystemEntry[]>((done, failed) => reader.readEntries(done, failed));
const fileOf = (entry: FileSystemFileEntry) => new Promise<File>((done, failed) => entry.file(done, failed));
