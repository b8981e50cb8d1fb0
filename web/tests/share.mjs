// The view Share in a browser: every pattern can be chosen; what twins and time steps add is walked by keys; the ladder stays.

export async function share(page, address, wrong) {
  const holds = (test, what, given = null) => page.waitForFunction(test, given, { timeout: 60000 }).catch(() => wrong.push(`share: ${what}`));
  await page.goto(`${address}#share?maps=2`);
  await page.waitForSelector(".view.share canvas");
  const weights = page.locator(".ladder .weights dd");
  const pattern = page.locator(".controls select").first();
  for (const [name, count] of [["tiled", "200"], ["local", "5,832"], ["dense", "41,472"], ["circulant", "288"], ["symmetric", "20,880"], ["codebook", "8"], ["single", "1"], ["conv", "50"]]) {
    await pattern.selectOption(name);
    await holds((text) => document.querySelector(".ladder .weights dd").textContent === text, `${name} has not ${count} weights, but ${await weights.innerText()}`, count);
  }
  const layer = await page.locator("figure", { hasText: "The layer as connections" }).locator("canvas").boundingBox();
  for (const [share, row] of [[0.3, "row [3-5],"], [0.6, "row [7-9],"]]) {
    await page.mouse.move(layer.x + 0.85 * layer.width, layer.y + share * layer.height);
    await holds((text) => new RegExp(`${text} column \\d+ looks at 25 inputs`).test(document.querySelector("figure .said").textContent), "the window of the kernel does not slide with the mouse", row);
  }
  await page.getByRole("button", { name: "Colour: value" }).click();
  await holds(() => /at\.colour=group/.test(location.hash), "the matrix is not coloured by who shares");
  const bars = page.locator("figure", { hasText: "What each use adds: recurrent" }).locator('[role="application"]');
  await bars.focus();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowRight");
  await holds(() => /at\.recurrent=%5B1%2C1%5D/.test(location.hash), "arrow keys do not walk the weights of a net");
  await page.goto(`${address}#share?maps=2&out=40&inp=40`);
  await holds(() => /out=40&inp=40/.test(location.hash), "a connection is not restored");
  await page.waitForTimeout(1000); // its users come with the next frame
  const users = page.locator("figure", { hasText: "What each user adds to the gradient" }).locator('[role="application"]');
  await users.focus();
  await page.keyboard.press("ArrowRight");
  await holds(() => !/out=40&inp=40/.test(location.hash), "arrow keys do not walk the users");
  await page.keyboard.press("ArrowLeft");
  await holds(() => /out=40&inp=40/.test(location.hash), "arrow keys do not walk back to the user where they began");
  await page.mouse.wheel(0, 3000);
  await page.waitForTimeout(300);
  if (!(await page.locator(".ladder dl").isVisible()) || (await page.locator(".ladder dl").boundingBox()).y < 0) wrong.push("share: the ladder is not always in view");
}
