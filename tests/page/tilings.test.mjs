// How kernels are cut into tiles on WebGPU: measured on request and by the way, saved with a run, and kept by
// whoever goes on with it.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync, cpSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { folder, native, unpack } from "./files.mjs";
import { killGpuProcess, site, until } from "./open.mjs";

const visit = site();

const RECIPE = `[data]
set = "fashion-sample"
limit = 96
validation = 0
[model]
layers = ["flatten", "linear 24", "relu", "linear classes"]
[train]
batch = 32
epochs = EPOCHS
[optimizer]
kind = "sgd"
lr = 0.05
`;

const step = (page) => page.locator("#run-status").getAttribute("data-step").then(Number);
const line = (page) => page.locator("#tiles span").textContent();
/** Measured classes and those unlike the table. */
const counts = (text) => text.match(/measured for (\d+) classes of products, (\d+) unlike/)?.slice(1).map(Number);

async function onWebGpu(page) {
  await page.locator("#device[data-backend=cpu]").waitFor();
  await page.getByRole("button", { name: "Use WebGPU" }).click();
  await page.locator("#device[data-backend=gpu]").waitFor();
}

async function build(page, epochs, recipe = RECIPE) {
  await page.locator("#recipe-text").fill(recipe.replace("EPOCHS", epochs));
  await page.locator("#build:not([disabled])").click();
  await page.locator("#step:not([disabled])").waitFor({ timeout: 60_000 });
}

/** Saves the run: its folder, unpacked. */
async function save(page) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.locator("#save-run").click()]);
  const path = join(folder(), download.suggestedFilename());
  await download.saveAs(path);
  return unpack(path);
}

/** A copy of a run's folder whose `kernels.json` is another. */
function changed(run, text) {
  const copy = join(folder(), "run");
  cpSync(run, copy, { recursive: true });
  writeFileSync(join(copy, "kernels.json"), text);
  return copy;
}

/** Opens a run's folder on WebGPU, trains to its end, and saves: the line of its tiles, the notices, the weights. */
async function goOn(run) {
  const { page, close } = await visit("/#/lab", { acceptDownloads: true });
  await onWebGpu(page);
  await page.locator("#open-folder").setInputFiles(run);
  await page.locator("#tiles").waitFor({ timeout: 60_000 });
  const [tiles, notices] = [await line(page), (await page.locator(".notice").allTextContents()).join()];
  await page.locator("#extend").click();
  await page.locator("#train").click();
  await until(() => page.locator("#train").isDisabled(), (d) => d, "the end of the epoch", 120_000);
  assert.equal(await line(page), tiles, "trials after it was opened");
  const weights = readFileSync(join(await save(page), "last.safetensors"));
  await close();
  return { tiles, notices, weights };
}

test("kernels measured on request, saved with the run, and kept", { timeout: 900_000 }, async () => {
  const { page, close } = await visit("/#/lab", { acceptDownloads: true });
  await page.locator("#device[data-backend=cpu]").waitFor();
  await build(page, 400);
  assert.equal(await page.locator("#tiles").count(), 0, "the CPU has no tiles");
  await onWebGpu(page);
  await page.locator("#tiles").filter({ hasText: "by the built-in table" }).waitFor();
  await page.locator("#train").click();
  const button = page.locator("#tiles button");
  await button.focus();
  await page.keyboard.press("Enter");
  await page.locator("#tiles").filter({ hasText: "measuring tiles" }).waitFor();
  const [first, text] = [await step(page), await until(() => line(page), counts, "measured", 300_000)];
  const [all, unlike] = counts(text);
  assert.ok(all >= 4 && unlike <= all, text);
  const then = await step(page);
  assert.ok(then > first, "training goes on beside the trials");
  await until(() => step(page), (s) => s > then + 3, "training goes on after them", 60_000);
  // Stopped, a search keeps what it has found.
  await button.click();
  await page.locator("#tiles").filter({ hasText: "measuring tiles" }).waitFor();
  await button.filter({ hasText: "Stop" }).click();
  assert.equal(counts(await until(() => line(page), counts, "stopped"))[0], all);
  await page.locator("#train").click();
  await page.locator("#train").filter({ hasText: "Train" }).waitFor();
  const run = await save(page);
  await close();

  const record = JSON.parse(readFileSync(join(run, "kernels.json"), "utf8"));
  assert.equal(record.adapter, "google swiftshader");
  assert.equal(Object.keys(record.choices).length, all);
  // The recipe as long as the run is, so that one epoch more is short.
  const recipe = readFileSync(join(run, "recipe.toml"), "utf8");
  const steps = JSON.parse(readFileSync(join(run, "checkpoints", readFileSync(join(run, "checkpoints/current"), "utf8").split(" ")[0], "cursor.json"), "utf8")).step;
  writeFileSync(join(run, "recipe.toml"), recipe.replace(/epochs = 400/, `steps = ${steps}`));

  // Choices that are surely not the table's are taken, and give the same bits each time.
  const choices = Object.fromEntries(Object.keys(record.choices).map((c) => [c, "rows 1x1 by 16"]));
  const own = changed(run, JSON.stringify({ ...record, choices }));
  const [a, b] = [await goOn(own), await goOn(own)];
  assert.ok(counts(a.tiles)[0] === all && counts(a.tiles)[1] > all / 2, a.tiles);
  assert.equal(a.notices, "");
  assert.ok(a.weights.equals(b.weights), "the same choices, other bits");

  // Another adapter's, and a damaged file: the table, and a word about it.
  const other = await goOn(changed(run, JSON.stringify({ ...record, choices, adapter: "acme fast" })));
  assert.match(other.notices, /acme fast → google swiftshader/);
  const damaged = await goOn(changed(run, JSON.stringify(record).slice(0, 40)));
  assert.match(damaged.notices, /it is damaged/);
  assert.match(other.tiles + damaged.tiles, /(by the built-in table.*){2}/s);
  assert.ok(other.weights.equals(damaged.weights), "the table's bits");
  assert.ok(!other.weights.equals(a.weights), "choices change the order of sums");

  // Natively the adapter is another one: it goes on by the table.
  await native("train", "--resume", own, "--set", `train.steps=${steps + 3}`, "--backend", "gpu");
});

test("a device that dies while kernels are measured takes no training with it", { timeout: 300_000 }, async () => {
  const { page, close } = await visit("/#/lab");
  await onWebGpu(page);
  await build(page, 400);
  await page.locator("#train").click();
  await until(() => step(page), (s) => s > 2, "training");
  await page.locator("#tiles button").click();
  await page.locator("#tiles").filter({ hasText: "measuring tiles" }).waitFor();
  assert.ok(killGpuProcess() > 0, "a GPU process to kill");
  await page.locator(".notice").filter({ hasText: "The device failed" }).waitFor({ timeout: 120_000 });
  const at = await step(page);
  await until(() => step(page), (s) => s > at + 3, "training goes on", 120_000);
  if ((await page.locator("#tiles").count()) > 0) assert.doesNotMatch(await line(page), /measuring/);
  await close();
});

test("on a GPU that is not software a run measures a few kernels by the way", { timeout: 300_000 }, async () => {
  const { address, browser } = visit.parts();
  const context = await browser.newContext({ locale: "en", serviceWorkers: "block" });
  // Before anything else the engine's worker gives the emulated adapter another name, and a clock that moves as it is
  // read: a step takes 33 ms and a sample 11, on however slow a machine.
  const disguise = `if (!globalThis.document) {
    for (const [key, value] of Object.entries({ vendor: "acme", architecture: "fast", isFallbackAdapter: false }))
      Object.defineProperty(GPUAdapterInfo.prototype, key, { get: () => value });
    let now = 0;
    performance.now = () => (now += 11);
  }\n`;
  // Products alike, none of which is much of a step.
  const even = RECIPE.replace('"flatten", "linear 24"', `"max-pool 4", "flatten", "linear 48"${', "relu", "linear 48"'.repeat(4)}`);
  await context.route("**/boot.js", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: disguise + (await response.text()) });
  });
  const page = await context.newPage();
  await page.goto(new URL("/#/lab", address).href);
  await page.locator("#device[data-backend=gpu]").waitFor();
  await build(page, 4000, even);
  await page.locator("#tiles").filter({ hasText: "by the built-in table" }).waitFor();
  await page.locator("#train").click();
  const text = await until(() => line(page), counts, "measured by the way", 240_000);
  assert.deepEqual(counts(text), [4, 0], "by this clock all take the same time");
  assert.ok((await step(page)) > 100, "spread over steps");
  assert.equal(await page.locator("[role=alert]").allTextContents().then((t) => t.join()), "");
  const at = await step(page);
  await until(() => step(page), (s) => s > at + 3, "training goes on", 60_000);
  // A new run on this page begins with what is known.
  await page.locator("#train").click();
  await build(page, 4, even);
  assert.deepEqual(counts(await until(() => line(page), counts, "known")), counts(text));
  await context.close();
});
