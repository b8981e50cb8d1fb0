// Starts the lab as a person would, and says where it is.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const command = process.env.LAB ?? "../.venv/bin/commonweight";

/** A folder with a small run in it, trained at a rate that the diagnosis finds too high. */
export async function trainRun() {
  const folder = await mkdtemp(join(tmpdir(), "lab-"));
  const [program, ...first] = command.split(" ");
  const words = ["train", "digits", "--net", "mlp", "--optimizer", "sgd", "--lr", "8", "--epochs", "3", "--json"];
  const child = spawn(program, [...first, ...words, "--out", join(folder, "too-fast")], { stdio: "ignore" });
  await once(child, "exit");
  return folder;
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
