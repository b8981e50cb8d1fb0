// The view Run in a browser: a run with its diagnosis, another beside it, and its advice followed with one click.

export async function run(page, address, wrong) {
  await page.goto(`${address}#run?run=too-fast`);
  await page.waitForSelector(".findings li");
  const titles = await page.locator("figure h3").allInnerTexts();
  for (const title of ["Loss", "Accuracy", "Size of the gradient by layer", "Size of the update by layer", "How the weights are spread", "Learning rate"]) {
    if (!titles.includes(title)) wrong.push(`run: there is no figure “${title}”`);
  }
  await page.locator(".panel select").nth(1).selectOption("calm");
  await page.waitForFunction(() => document.querySelectorAll(".about").length === 2, null, { timeout: 30000 }).catch(() => wrong.push("run: two runs are not shown side by side"));
  const keys = await page.locator("figure .keyline").first().innerText();
  if (!/too-fast: training/.test(keys) || !/calm: validation/.test(keys)) wrong.push(`run: the curves do not name both runs: ${keys}`);
  const both = await page.locator("figure h3").allInnerTexts();
  for (const title of ["Size of the gradient by layer", "Size of the update by layer", "How the weights are spread"]) {
    for (const name of ["too-fast", "calm"]) if (!both.includes(`${title}: ${name}`)) wrong.push(`run: the figure “${title}” does not show ${name}`);
  }
  const diagnoses = await page.locator("section h3").allInnerTexts();
  for (const name of ["too-fast", "calm"]) if (!diagnoses.includes(`Diagnosis: ${name}`)) wrong.push(`run: there is no diagnosis of ${name}: ${diagnoses}`);
  const powers = await page.locator("figure", { hasText: "Size of the gradient by layer: calm" }).locator(".said").innerText();
  if (!/hidden1 −?\d.*output −?\d/.test(powers)) wrong.push(`run: the size of the gradients is not told: ${powers}`);
  await page.locator("figure select").selectOption("output");
  await page.waitForFunction(() => /at\.layer=2/.test(location.hash), null, { timeout: 30000 }).catch(() => wrong.push("run: another layer is not chosen"));
  await page.locator(".findings button").first().click();
  await page.waitForFunction(() => /run=too-fast-lower/.test(location.hash) && document.querySelectorAll(".about").length === 2, null, { timeout: 60000 })
    .catch(() => wrong.push("run: the advice is not followed with one click"));
  await page.waitForFunction(() => [...document.querySelectorAll(".about dd")].filter((dd) => dd.textContent === "finished").length === 2, null, { timeout: 90000 })
    .catch(() => wrong.push("run: the run that follows the advice does not end"));
}
