// The view Play in a browser: points are painted by mouse and keys, units and weights are walked, one's own pictures learned,
// given by a folder that is chosen or dropped.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { makePictures, makeTemporary } from "./lab.mjs";

export async function play(page, address, wrong) {
  const holds = (test, what) => page.waitForFunction(test, null, { timeout: 30000 }).catch(() => wrong.push(`play: ${what}`));
  await page.goto(`${address}#play?data=painted`);
  await page.waitForSelector(".view.play .drawing.drag canvas");
  const plane = page.locator(".drawing.drag");
  await plane.scrollIntoViewIfNeeded();
  const box = await plane.boundingBox();
  await page.mouse.move(box.x + 0.2 * box.width, box.y + 0.2 * box.height);
  await page.mouse.down();
  await page.mouse.move(box.x + 0.6 * box.width, box.y + 0.3 * box.height, { steps: 12 });
  await page.mouse.up();
  await holds(() => /points=/.test(location.hash), "the mouse does not paint");
  await page.waitForTimeout(1000);
  const painted = new URL(page.url()).hash.length;
  await page.getByRole("button", { name: /class 1/ }).click();
  await plane.focus();
  for (let k = 0; k < 6; k++) await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Space");
  await page.waitForFunction((length) => location.hash.length > length, painted, { timeout: 30000 }).catch(() => wrong.push("play: the space bar does not paint"));
  await page.getByRole("button", { name: "As at first" }).click();
  await holds(() => !/points=/.test(location.hash), "painted points do not go");
  await plane.focus();
  await page.keyboard.press("Space");
  await holds(() => /points=/.test(location.hash), "the space bar does not paint anew");
  if (new URL(page.url()).hash.length >= painted) wrong.push("play: points that were taken back return with the next one");
  const network = page.locator('[role="application"]').first();
  const lines = await network.boundingBox();
  const said = () => page.locator("figure .said").first().innerText();
  const read = new Set();
  for (let share = 0.2; share < 0.8; share += 0.02) {
    await page.mouse.move(lines.x + 0.25 * lines.width, lines.y + share * lines.height);
    await page.waitForTimeout(200); // words change eight times a second
    read.add(await said());
  }
  if ([...read].filter((text) => /hidden\d: from \d to \d, weight −?[\d.]+/.test(text)).length < 3) wrong.push(`play: the mouse does not read weights: ${[...read]}`);
  await network.focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowDown");
  await holds(() => /at\.weight=/.test(location.hash), "arrow keys do not choose a weight");
  const large = page.locator("figure", { hasText: "One unit, large" }).locator('[role="application"]');
  await large.focus();
  await page.keyboard.press("ArrowDown");
  await holds(() => /at\.unit=%5B0%2C1%5D/.test(location.hash), "arrow keys do not choose a unit");
  await page.locator(".controls select").first().selectOption("own");
  await holds(() => /file=shades/.test(location.hash), "pictures of one's own are not found");
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await holds(() => Number(document.querySelector(".steps strong").textContent.replace(/\D/g, "")) > 60, "pictures of one's own are not learned");
  await page.getByRole("button", { name: "Pause" }).click();
  await page.locator("summary", { hasText: "More settings" }).click();
  await page.locator(".field", { hasText: "Dropout" }).locator("select").selectOption("0.3");
  await page.locator(".field", { hasText: "Batch norm" }).locator("select").selectOption("yes");
  await page.locator(".field", { hasText: "L1" }).locator("select").selectOption("0.001");
  await holds(() => /l1=0\.001/.test(location.hash) && /dropout=0\.3/.test(location.hash) && /batch_norm=yes/.test(location.hash), "regularisation is not set");
  await page.getByRole("button", { name: "One step" }).click();
  await stepped(page, wrong);
  await given(page, wrong);
}

/** After a step by hand, loss and accuracy are those of the present net: another loss after each step. */
async function stepped(page, wrong) {
  const loss = page.locator("figure", { hasText: "Loss" }).locator(".said").first();
  const before = await loss.innerText();
  await page.getByRole("button", { name: "One step" }).click();
  await page.waitForFunction(
    (text) => [...document.querySelectorAll("figure")].find((one) => one.querySelector("h3").textContent === "Loss").querySelector(".said").textContent !== text,
    before, { timeout: 30000 },
  ).catch(() => wrong.push("play: a step by hand tells no new loss"));
}

/** A folder of pictures by the input that keys reach, and dropped; one without classes is refused in a sentence. */
async function given(page, wrong) {
  const folder = await makePictures(join(await makeTemporary("given-"), "my shades"));
  const opened = (what) =>
    page.waitForFunction(() => /subject=upload-/.test(location.hash) && /file=my\+shades/.test(location.hash), null, { timeout: 30000 })
      .catch(() => wrong.push(`play: a folder of pictures that is ${what} is not learned from`));
  await page.locator("input[webkitdirectory]").setInputFiles(folder);
  await opened("chosen");
  await page.evaluate(() => (location.hash = "#play"));
  await page.waitForFunction(() => !/subject/.test(location.hash));
  await page.waitForSelector(".view.play .drop", { state: "attached" });
  const devtools = await page.context().newCDPSession(page);
  const drop = async (path) => {
    for (const type of ["dragEnter", "dragOver", "drop"]) {
      await devtools.send("Input.dispatchDragEvent", { type, x: 600, y: 400, data: { items: [], files: [path], dragOperationsMask: 1 } });
    }
  };
  await drop(folder);
  await opened("dropped");
  const empty = join(folder, "..", "notes");
  await mkdir(empty);
  await writeFile(join(empty, "notes.txt"), "nothing");
  const told = page.locator(".note.refused", { hasText: "notes does not hold pictures by class" });
  for (let tries = 0; tries < 5 && !(await told.count()); tries++) {
    await drop(empty); // what falls while the view opens anew is lost, as for a person
    await told.first().waitFor({ timeout: 5000 }).catch(() => {});
  }
  if (!(await told.count())) wrong.push(`play: a folder without pictures is not told at ${page.url()}`);
}
