// What a reader does in chapters 1 to 4, by mouse and by keyboard, and the mathematics that must hold then;
// and what holds for all chapters.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, drag, near, numbers, press, settled, sum, times, value, whole } from "./hands.mjs";
import { matrix, site, until } from "./open.mjs";

const visit = site();

// Chapter 1

const curvature = (page, name) =>
  settled(page, `[data-widget=contours] table.numbers [data-name="${name}"] .num`, (all) => all.length === 3, name);

test("normalise: an outlier makes the valley longer, z-score keeps it round", async () => {
  const { page, close } = await visit("/#/normalise");
  const [k0] = await curvature(page, "κ");
  const [limit0] = await curvature(page, "2/λmax");
  const plane = page.locator("[data-widget=contours] .plot > svg").first();
  await drag(page, plane, [0.49, 0.47], [0.96, 0.47]);
  const [limit, , limitZ] = await settled(page, '[data-widget=contours] table.numbers [data-name="2/λmax"] .num',
    ([none]) => none < limit0 / 10, "the largest stable rate falls with the square of the distance");
  const [k, kMinmax, kZ] = await curvature(page, "κ");
  assert.ok(k > 3 * k0, `the contours grow longer: ${k0} to ${k}`);
  assert.ok(kZ < 3 && kZ < kMinmax, `z-score is nearly round: ${kZ}, min-max ${kMinmax}`);
  // κ = (1 + |r|) / (1 - |r|) and 2/λmax = 1 / (1 + |r|)
  const r = (kZ - 1) / (kZ + 1);
  near(limitZ, 1 / (1 + r), 2e-3, "the limit follows from the correlation");
  assert.ok(limit > 0 && limit < 1e-4);

  // The scores of a column have sum 0 and squares that sum to 8; none passes the root of 7.
  const z = await settled(page, '[data-widget=statistics] [data-name="z"] .num', (all) => all.length === 16, "scores");
  const area = z.filter((_, k) => k % 2 === 0);
  near(sum(area), 0, 5e-3, "sum of the scores");
  near(sum(area.map((v) => v * v)), 8, 2e-2, "sum of their squares");
  assert.ok(Math.max(...area) < Math.sqrt(7) && Math.max(...area) > 2.5);
  // One question leads from a score to the value, the mean and the deviation.
  const answer = await ask(page, page.locator('[data-widget=statistics] [data-name="z"]').nth(14));
  near(answer.shown, answer.derived, 1e-5, "its derivation");
  assert.deepEqual(answer.leaves.map((l) => l.replace(/\].*/, "]")), ["x[7, 0]", "mean[0, 0]", "std[0, 0]"]);
  await close();
});

test("normalise: by keyboard; the path breaks out beyond 2/λmax and arrives with the best rate", async () => {
  const { page, close } = await visit("/#/normalise");
  const point = page.locator("[data-widget=contours] .point");
  const [limit] = await curvature(page, "2/λmax");
  await press(page, point, times(4, "Shift+ArrowRight"));
  await settled(page, '[data-widget=contours] table.numbers [data-name="2/λmax"] .num', ([v]) => v < 0.7 * limit, "keys move the flat");
  await page.getByRole("button", { name: "put it back" }).click();
  await settled(page, '[data-widget=contours] table.numbers [data-name="2/λmax"] .num', ([v]) => v === limit, "and it goes back");
  await page.locator("[data-widget=contours]").getByRole("button", { name: "z-score" }).click();
  const rate = page.locator("[data-widget=contours] .rate input");
  await press(page, rate, ["End"]);
  const verdict = page.locator("[data-widget=contours] .surface .note");
  await until(() => verdict.textContent(), (t) => t.includes("breaks out"), "10 is too much");
  await page.getByRole("button", { name: "use the best rate" }).press("Enter");
  await until(() => verdict.textContent(), (t) => t.includes("comes closer"), "the best rate is stable");
  const loss = () => numbers(page, "[data-widget=contours] .surface .readouts .num");
  await until(loss, ([end, least]) => Math.abs(end - least) < 1e-3 * least, "40 steps arrive");
  await close();
});

// Chapter 2

const readout = (page, name, good, what) =>
  settled(page, `[data-widget=neuron] .readouts [data-name="${name}"] .num`, ([v]) => good(v), what).then((all) => all[0]);

test("activations: the gradient dies in the flat part of the sigmoid", async () => {
  const { page, close } = await visit("/#/activations");
  const neuron = page.locator("[data-widget=neuron]");
  await neuron.getByRole("button", { name: "Sigmoid" }).click();
  const point = neuron.locator(".point");
  await until(() => point.getAttribute("transform"), Boolean, "a point on the curve");
  await readout(page, "a", (a) => Math.abs(a - 0.7311) < 1e-3, "sigmoid of 1");
  await drag(page, neuron.locator(".plot > svg").first(), [0.65, 0.3], [0.96, 0.2]);
  const flat = await readout(page, "∂a/∂x", (s) => s < 0.01, "the slope in the flat part");
  const a = await readout(page, "a", (v) => v > 0.99, "the output there");
  near(flat, a * (1 - a), 1e-4, "f' = a (1 - a)");
  // Back to the middle by keys: ten steps of 0.1 with Shift.
  await press(page, point, times(12, "Shift+ArrowLeft"));
  await readout(page, "a", (v) => v < 0.01, "the other end");
  await press(page, point, times(6, "Shift+ArrowRight"));
  await readout(page, "∂a/∂x", (s) => s === 0.25, "a quarter at most, at 0");
  const answer = await ask(page, neuron.locator('.readouts [data-name="∂a/∂x"]'));
  near(answer.slope, 0.25, 1e-6, "the measured slope");
  await close();
});

test("activations: twelve factors vanish, explode or die", async () => {
  const { page, close } = await visit("/#/activations");
  const chain = page.locator("[data-widget=chain]");
  const products = (good, what) => settled(page, "[data-widget=chain] tbody tr td:last-child .num", (all) => all.length === 12 && good(all), what);
  const factors = () => numbers(page, "[data-widget=chain] tbody tr td:nth-child(3) .num");
  const sigmoid = await products((p) => p[11] > 0, "sigmoid");
  assert.ok(sigmoid[11] <= 4 ** -12, `at most a quarter to the twelfth: ${sigmoid[11]}`);
  const all = await factors();
  near(sigmoid[11] / all.reduce((a, b) => a * b), 1, 0.01, "the product of the factors");
  await chain.getByRole("button", { name: "ReLU" }).click();
  await products((p) => p.every((v) => v === 1), "ReLU passes everything");
  await press(page, chain.locator("input[type=range]").nth(1), times(6, "ArrowLeft"));
  await products((p) => p[11] === 0 && p[0] === 0, "a dead neuron ends the product");
  await chain.getByText("0: no gradient").first().waitFor();
  await close();
});

// Chapter 3 (its other tests are in page.test.mjs)

test("softmax: the column of the logit that moved lights up, and is p(δ - p)", async () => {
  const { page, close } = await visit("/#/softmax");
  const bars = page.locator("[data-widget=jacobian] .bars svg");
  await until(() => matrix(page, "J"), (J) => J.length === 4 && J.flat().every(Number.isFinite), "the Jacobian");
  await drag(page, bars, [0.375, 0.4], [0.375, 0.25]);
  await until(() => page.locator("[data-widget=jacobian] td.lit").count(), (n) => n === 5, "a lit column and its sum");
  const p = (await matrix(page, "p", "[data-widget=overflow]"))[0];
  const J = await matrix(page, "J");
  for (let i = 0; i < 4; i++) {
    for (let j = 0; j < 4; j++) near(J[i][j], p[i] * ((i === j) - p[j]), 2e-4, `J[${i}, ${j}]`);
  }
  const lit = await page.locator("[data-widget=jacobian] td.lit button").evaluateAll((b) => b.map((e) => e.dataset.at));
  assert.ok(lit.every((at) => at.endsWith(",1")), `the second column: ${lit}`);
  await close();
});

// Chapter 4

const columns = (page, widget, name) => settled(page, `[data-widget=${widget}] .column[data-name="${name}"] text:not(.name)`, () => true, name);

test("cross-entropy: -log p along its curve, by mouse and keyboard", async () => {
  const { page, close } = await visit("/#/cross-entropy");
  const read = (good, what) => settled(page, "[data-widget=loss] .readouts .num", ([p, loss, slope]) => Math.abs(loss + Math.log(p)) < 2e-3 && Math.abs(slope * p + 1) < 2e-3 && good(p, loss), what);
  await read((p) => p === 0.5, "at one half");
  await drag(page, page.locator("[data-widget=loss] .plot > svg"), [0.5, 0.7], [0.09, 0.3]);
  const [p, loss] = await read((p) => p < 0.03, "far left");
  assert.ok(loss > 3.5, `-log ${p} is large`);
  await press(page, page.locator("[data-widget=loss] .point"), times(40, "ArrowUp"));
  await read((p, loss) => p === 0.001 && loss > 6.9, "the left end, by keys");
  await close();
});

test("cross-entropy: the gradient is p - y, and squared error fades where cross-entropy pulls", async () => {
  const { page, close } = await visit("/#/cross-entropy");
  const holds = async (truth) => {
    const [p, d] = [await columns(page, "gradient", "p"), await columns(page, "gradient", "∂L/∂a")];
    return p.length === 3 && d.every((v, k) => Math.abs(v - (p[k] - (k === truth))) < 2e-4) && Math.abs(sum(d)) < 3e-4;
  };
  await until(() => holds(1), Boolean, "p - y for the second class");
  await page.locator("[data-widget=gradient]").getByRole("button", { name: "3", exact: true }).click();
  await until(() => holds(2), Boolean, "p - y for the third class");
  const bars = page.locator("[data-widget=squared] .bars svg");
  await drag(page, bars, [1 / 6, 0.4], [1 / 6, 0.1]);
  await until(async () => (await columns(page, "squared", "∂L/∂a"))[2], (v) => v < -0.98, "cross-entropy pulls with all its strength");
  const squared = await columns(page, "squared", "∂E/∂a");
  assert.ok(Math.abs(squared[2]) < 0.05, `squared error tells the wrong model least: ${squared[2]}`);
  await press(page, bars.locator("[role=slider]").first(), times(10, "PageDown"));
  await until(async () => (await columns(page, "squared", "∂L/∂a"))[0], (v) => v < 0.01, "keys take the logit down");
  await until(() => holds(2), Boolean, "p - y still");
  await close();
});

// All chapters

test("the address restores what each chapter shows", async () => {
  const pressed = (page, within) => page.locator(`${within} [aria-pressed=true]`).allTextContents();
  const inputs = (page, within) => page.locator(`${within} input`).evaluateAll((all) => all.map((i) => Number(i.value)));
  const cases = [
    ["normalise?way=z-score&flat=300,6&lr=-2", async (page) => [await pressed(page, "[data-widget=contours]"), await page.locator(".point").getAttribute("aria-valuenow"), await inputs(page, ".rate")], [["z-score"], "300", [-2]]],
    ["activations?f=tanh&w=-2&b=0.5&x=-1&row=relu&roww=2", async (page) => [await pressed(page, "main"), (await inputs(page, "main")).slice(0, 4)], [["Tanh", "ReLU"], [-1, -2, 0.5, 2]]],
    ["softmax?a=1,2,3,-4&c=5", async (page) => [await page.locator("[data-widget=bars] [role=slider]").evaluateAll((all) => all.map((s) => Number(s.getAttribute("aria-valuenow")))), await inputs(page, "[data-widget=overflow]")], [[1, 2, 3, -4], [5]]],
    ["cross-entropy?p=0.1&a=0,3,-1&true=3", async (page) => [await pressed(page, "[data-widget=gradient]"), await page.locator(".point").getAttribute("aria-valuenow"), await page.locator("[data-widget=gradient] [role=slider]").evaluateAll((all) => all.map((s) => Number(s.getAttribute("aria-valuenow"))))], [["3"], "0.1", [0, 3, -1]]],
    ["backprop?step=3&x=1,-1&y=2&of=w2-0-1&e=-5", async (page) => [(await page.locator(".sentence").textContent()).split(" ")[0], await page.locator("#weight").inputValue(), await pressed(page, "[data-widget=graph] .pair"), await inputs(page, "main")], ["3", "10", ["2"], [1, -1, -5]]],
    ["matmul?variant=registers&tile=6&c=2,4&a=9,2,3,4,5,6,7,8,9,10,11,12", async (page) => [await pressed(page, "[data-widget=tiles]"), await inputs(page, "[data-widget=tiles]"), await page.locator("#written i").textContent(), (await inputs(page, "[data-widget=cells] [data-name=A]"))[0]], [["tile in a thread's registers"], [6], "C[2, 4]", 9]],
    ["convolution?stride=2&padding=0&at=3,4&target=blur&image=5&w=1,2,3,4,5,6,7,8,9", async (page) => [await inputs(page, "[data-widget=paint] .nine"), (await page.locator("[data-widget=paint] .pick svg").first().getAttribute("aria-valuetext")), await pressed(page, "[data-widget=weight-gradient]")], [[1, 2, 3, 4, 5, 6, 7, 8, 9], "u = 3, v = 4", ["blur"]]],
    ["cnn?cell=6,0", async (page) => [await page.locator("[data-widget=wrong] .eyebrow").textContent().then((t) => t.trim().replace(/\s*all wrong ones/, ""))], ["Shirt → T-shirt/top"]],
  ];
  for (const [path, read, expected] of cases) {
    const { page, close } = await visit(`/#/${path}`);
    await page.locator("figure.widget").first().waitFor();
    await until(() => read(page), (seen) => JSON.stringify(seen) === JSON.stringify(expected), path);
    await close();
  }
});

test("formulas are set in a font of the page's own whose brackets stretch, offline as well", async () => {
  const { page, close } = await visit("/#/softmax");
  const loaded = () => page.evaluate(() => [...document.fonts].some((f) => f.family.includes("Chainrule Math") && f.status === "loaded"));
  await until(loaded, Boolean, "the font");
  const heights = await page.locator("math[display=block] mo").evaluateAll((all) =>
    all.filter((e) => e.textContent === "(").map((e) => e.getBoundingClientRect().height));
  assert.ok(Math.max(...heights) > 2 * Math.min(...heights), `brackets from ${Math.min(...heights)} to ${Math.max(...heights)}`);
  await page.evaluate(() => navigator.serviceWorker.ready);
  const kept = () => page.evaluate(async () => {
    const names = await caches.keys();
    const all = await Promise.all(names.map(async (n) => (await (await caches.open(n)).keys()).map((r) => r.url)));
    return all.flat().some((url) => url.endsWith(".woff2"));
  });
  await until(kept, Boolean, "the font in the cache");
  await page.context().setOffline(true);
  await page.reload();
  await until(loaded, Boolean, "the font without a network");
  await close();
});

test("who asks for less motion gets none", async () => {
  for (const [reducedMotion, moves] of [["reduce", false], ["no-preference", true]]) {
    const { page, close } = await visit("/#/softmax", { reducedMotion });
    const slider = page.locator("[data-widget=jacobian] [role=slider]").first();
    await until(() => matrix(page, "J"), whole, "numbers");
    await page.evaluate(() => {
      globalThis.started = [];
      for (const kind of ["animationstart", "transitionstart"]) document.addEventListener(kind, (e) => started.push(e.type), true);
    });
    await press(page, slider, times(5, "PageUp"));
    await page.waitForTimeout(600);
    assert.equal((await page.evaluate(() => started)).length > 0, moves, reducedMotion);
    await close();
  }
});

test("a control reacts within a second of the code's arrival", async () => {
  const { address, browser } = visit.parts();
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: "en" });
  const page = await context.newPage();
  // Presses a key on the first logit as soon as there is one, and notes when it has moved.
  await page.addInitScript(() => {
    const look = () => {
      const slider = document.querySelector("[data-widget=bars] [role=slider]");
      if (!slider) return requestAnimationFrame(look);
      const before = slider.getAttribute("aria-valuenow");
      new MutationObserver(() => {
        if (slider.getAttribute("aria-valuenow") !== before) globalThis.reacted ??= performance.now();
      }).observe(slider, { attributes: true });
      slider.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowUp", bubbles: true, cancelable: true }));
    };
    requestAnimationFrame(look);
  });
  await page.goto(new URL("/#/softmax", address).href);
  const reacted = await until(() => page.evaluate(() => globalThis.reacted), Boolean, "a reaction");
  const wasm = await page.evaluate(() => {
    const entry = performance.getEntriesByType("resource").find((e) => e.name.endsWith(".wasm"));
    return { end: entry.responseEnd };
  });
  await context.close();
  console.log(`the first reaction came ${(reacted - wasm.end).toFixed(0)} ms after the code`);
  assert.ok(reacted - wasm.end < 1000, `${reacted - wasm.end} ms`);
});
