// The view Audit in a browser: a checkpoint is given by its file, its tie is drawn and told, a wrong file is refused.

import { safetensors } from "./checkpoint.mjs";

const data = Array.from({ length: 12 }, (_, k) => k + 0.5);
const turned = Array.from({ length: 12 }, (_, k) => data[(k % 3) * 4 + Math.floor(k / 3)]);

export async function audit(page, address, wrong) {
  await page.goto(`${address}#audit`);
  await page.waitForSelector(".view.audit");
  const input = page.locator('input[type="file"]');
  const file = { name: "two.safetensors", mimeType: "application/octet-stream" };
  const body = safetensors({ encoder: { shape: [3, 4], data }, decoder: { shape: [4, 3], data: turned } });
  await input.setInputFiles({ ...file, buffer: body });
  await page.waitForSelector(".view.audit canvas", { timeout: 30000 });
  const graph = page.locator('[role="application"]').first();
  await graph.focus();
  await page.keyboard.press("ArrowDown");
  const said = await page.locator(".said").first().innerText();
  if (!/encoder/.test(said) || !/decoder/.test(said)) wrong.push(`audit: the tie is not told: ${said}`);
  const pairs = Array.from({ length: 41 }, (_, k) => data.map((x) => x + k / 8));
  const many = pairs.flatMap((values, k) => [[`a${k}`, { shape: [3, 4], data: values }], [`b${k}`, { shape: [3, 4], data: values }]]);
  await page.locator('input[type="file"]').setInputFiles({ ...file, name: "many.safetensors", buffer: safetensors(Object.fromEntries(many)) });
  await page.getByText("40 of 41 are drawn.").waitFor({ timeout: 30000 }).catch(() => wrong.push("audit: ties that are not drawn are not counted"));
  await page.locator('input[type="file"]').setInputFiles({ ...file, name: "a.safetensors", buffer: Buffer.from("nothing") });
  await page.locator(".note.refused").waitFor({ timeout: 30000 }).catch(() => wrong.push("audit: a damaged file is not told"));
}
