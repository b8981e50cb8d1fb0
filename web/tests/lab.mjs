// Starts the lab as a person would, and says where it is.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { safetensors } from "./checkpoint.mjs";

const command = process.env.LAB ?? "../.venv/bin/commonweight";

/** Where views are opened that need something to show. */
export const PLACES = { run: "#run?run=too-fast&beside=calm", audit: "#audit?file=model&at.tie=0" };

/** A folder that is gone when the program ends. */
export async function makeTemporary(prefix) {
  const folder = await mkdtemp(join(tmpdir(), prefix));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A folder with two short runs in it, one at a rate that the diagnosis finds too high; two classes of pictures; a checkpoint
 * whose configuration says that two tensors are one, and they are not. */
export async function makeFolder() {
  const folder = await makeTemporary("lab-");
  const [program, ...first] = command.split(" ");
  for (const [name, rate] of [["calm", "0.1"], ["too-fast", "8"]]) {
    const words = ["train", "digits", "--net", "mlp", "--optimizer", "sgd", "--lr", rate, "--epochs", "3", "--json"];
    const child = spawn(program, [...first, ...words, "--out", join(folder, name)], { stdio: "ignore" });
    const [code] = await once(child, "exit");
    if (code !== 0) throw new Error(`The run ${name} could not be trained (code ${code}).`);
  }
  await makePictures(join(folder, "shades"));
  const [embedding, head] = [0, 1].map((moved) => Array.from({ length: 24 }, (_, k) => Math.sin(k) + (k === 5 ? moved : 0)));
  await mkdir(join(folder, "model"));
  await writeFile(join(folder, "model", "config.json"), JSON.stringify({ model_type: "llama", tie_word_embeddings: true }));
  await writeFile(join(folder, "model", "model.safetensors"), safetensors({
    "model.embed_tokens.weight": { shape: [6, 4], data: embedding },
    "lm_head.weight": { shape: [6, 4], data: head },
    "model.layers.0.weight": { shape: [4, 6], data: embedding.map((x) => x * x) },
    "model.layers.1.weight": { shape: [4, 6], data: embedding.map((x) => x * x) },
  }));
  return folder;
}

/** A folder with two classes of pictures. */
export async function makePictures(folder) {
  for (const [name, level] of [["dark", 60], ["bright", 200]]) {
    await mkdir(join(folder, name), { recursive: true });
    for (let k = 0; k < 12; k++) await writeFile(join(folder, name, `${k}.pgm`), picture(level + k));
  }
  return folder;
}

/** An even grey picture of 8×8 pixels, in the format PGM. */
function picture(level) {
  return Buffer.concat([Buffer.from("P5 8 8 255\n"), Buffer.alloc(64, level)]);
}

/** The address of a lab that was started, and how to end it. */
export async function startLab(...words) {
  const [program, ...first] = command.split(" ");
  const child = spawn(program, [...first, "lab", ...words, "--port", "0", "--no-browser"], { stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface({ input: child.stdout })) {
    const found = /http:\/\/\S+/.exec(line);
    if (found) {
      const end = async () => {
        child.kill("SIGINT");
        await once(child, "exit");
      };
      return { address: found[0], end, child };
    }
  }
  throw new Error("The lab ended before it said where it is.");
}
