// Starts the lab as a person would, and says where it is.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

const command = process.env.LAB ?? "../.venv/bin/commonweight";

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
