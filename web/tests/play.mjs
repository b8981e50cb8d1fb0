// The view Play in a browser: points are painted by mouse and keys, units and weights are walked, one's own pictures learned.

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
  const network = page.locator('[role="application"]').first();
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
  await page.locator("summary").click();
  await page.locator(".field", { hasText: "Dropout" }).locator("select").selectOption("0.3");
  await page.locator(".field", { hasText: "Batch norm" }).locator("select").selectOption("yes");
  await page.locator(".field", { hasText: "L1" }).locator("select").selectOption("0.001");
  await holds(() => /l1=0\.001/.test(location.hash) && /dropout=0\.3/.test(location.hash) && /batch_norm=yes/.test(location.hash), "regularisation is not set");
}
