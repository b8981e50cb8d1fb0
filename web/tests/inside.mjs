// The view Look inside in a browser: a stroke of the mouse and keys draw, arrows choose another value, its sum is written out.

export async function inside(page, address, wrong) {
  await page.goto(`${address}#inside`);
  await page.waitForSelector(".view.inside canvas");
  const pad = await page.locator(".drawing.drag").boundingBox();
  const at = (x, y) => [pad.x + x * pad.width, pad.y + y * pad.height];
  await page.mouse.move(...at(0.5, 0.2));
  await page.mouse.down();
  await page.mouse.move(...at(0.5, 0.8), { steps: 15 });
  await page.mouse.up();
  await page.waitForFunction(() => /drawing=d0/.test(location.hash), null, { timeout: 20000 })
    .catch(() => wrong.push("inside: the mouse does not draw"));
  const drawn = new URL(page.url()).hash;
  await page.locator(".drawing.drag").focus();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Space");
  await page.waitForFunction((before) => location.hash !== before, drawn, { timeout: 20000 })
    .catch(() => wrong.push("inside: the space bar does not draw"));
  const sum = page.locator(".sum strong").first();
  const before = await page.locator(".sum").innerText();
  await page.locator('[role="application"]').nth(1).focus();
  await page.keyboard.press("ArrowRight"); // downwards the stroke looks the same
  await page.waitForFunction((text) => document.querySelector(".sum").innerText !== text, before, { timeout: 20000 })
    .catch(() => wrong.push("inside: an arrow key does not choose another value"));
  if (!/\d/.test(await sum.innerText())) wrong.push("inside: no sum is written out");
  for (const [label, number, formula] of [["Stride", "2", "⌊(14 + 2 · 2 − 5) ÷ 2⌋ + 1 = 7"], ["Padding", "0", "⌊(14 + 2 · 0 − 5) ÷ 2⌋ + 1 = 5"]]) {
    await page.getByLabel(label, { exact: true }).fill(number);
    await page.getByLabel(label, { exact: true }).press("Tab");
    await page.waitForFunction((text) => document.querySelector(".formula").textContent === text, formula, { timeout: 20000 })
      .catch(() => wrong.push(`inside: the formula does not follow the setting ${label}`));
  }
}
