// What a reader does in each chapter, by mouse and by keyboard, and the mathematics that must hold then.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, matrix, open, serve, until } from "./open.mjs";

let address, stop, browser;
before(async () => {
  [address, stop] = await serve();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await stop?.();
});

const visit = (path, options) => open(browser, address, path, options);
const value = (text) => Number(text.trim().replaceAll("−", "-"));
const near = (a, b, by, what) => assert.ok(Math.abs(a - b) <= by, `${what}: ${a} and ${b}`);
const sum = (all) => all.reduce((a, b) => a + b, 0);

/** The numbers of all elements that a selector finds. */
const numbers = (page, selector) => page.locator(selector).allTextContents().then((all) => all.map(value));

/** Waits for numbers that are all there and that `good` accepts. */
const settled = (page, selector, good, what) =>
  until(() => numbers(page, selector), (all) => all.length > 0 && all.every(Number.isFinite) && good(all), what);

/** Presses at one place of an element and lets go at another, in shares of its width and height. */
async function drag(page, element, from, to) {
  await element.scrollIntoViewIfNeeded();
  const box = await element.boundingBox();
  const at = ([x, y]) => [box.x + x * box.width, box.y + y * box.height];
  await page.mouse.move(...at(from));
  await page.mouse.down();
  await page.mouse.move(...at(to), { steps: 8 });
  await page.mouse.up();
}

async function press(page, element, keys) {
  await element.focus();
  for (const key of keys) await page.keyboard.press(key);
}
const times = (n, key) => Array(n).fill(key);

/** Asks for the number of a button: the panel's value, what the definition gives, and its words. */
async function ask(page, button) {
  await button.click();
  const answer = page.locator("#derivation .answer");
  await answer.waitFor();
  const { value: shown, derived } = await answer.evaluate((e) => ({ ...e.dataset }));
  const text = await answer.textContent();
  const check = page.locator("#derivation .check output");
  const slope = (await check.count()) > 0 ? value(await check.textContent()) : undefined;
  const leaves = await page.locator("#derivation .leaf").allTextContents();
  await page.keyboard.press("Escape");
  return { shown: Number(shown), derived: Number(derived), text, slope, leaves };
}

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

// Chapter 5

const node = (page, name) => numbers(page, `[data-widget=graph] [data-node="${name}"] .digit`);

test("backprop: steps through the graph; gradients are local times upstream, and measured", async () => {
  const { page, close } = await visit("/#/backprop");
  await until(() => node(page, "z"), (z) => z.length === 3 && z.every(Number.isFinite), "the first step is taken");
  assert.ok((await node(page, "h")).every(Number.isNaN), "the second is not");
  await page.locator("#graph-step").click();
  await until(() => node(page, "h"), (h) => h.every(Number.isFinite), "one step by mouse");
  await press(page, page.locator("#graph-step"), ["Enter"]);
  await until(() => node(page, "a"), (a) => a.every(Number.isFinite), "one step by key");
  await page.locator("#graph-back").press("Enter");
  await until(() => node(page, "a"), (a) => a.every(Number.isNaN), "one step back");
  await page.locator("#graph-all").click();
  await until(() => node(page, "d w1"), (d) => d.length === 6 && d.every(Number.isFinite), "all gradients");
  const [x, z, logP, da, dh, dz, dw1, w2] = await Promise.all(["x", "z", "log p", "d a", "d h", "d z", "d w1", "w2"].map((n) => node(page, n)));
  logP.forEach((l, k) => near(da[k], Math.exp(l) - (k === 0), 3e-4, "the gradient at the logits is p - y"));
  assert.ok(z.some((v) => v < 0), "a hidden unit is off");
  dh.forEach((d, k) => near(d, da[0] * w2[k] + da[1] * w2[3 + k], 3e-4, "a sum over both paths"));
  dz.forEach((d, k) => near(d, z[k] > 0 ? dh[k] : 0, 1e-6, "ReLU passes or stops"));
  dw1.forEach((d, k) => near(d, dz[k >> 1] * x[k % 2], 3e-4, "input times upstream"));
  const answer = await ask(page, page.locator('[data-widget=graph] [data-node="d w1"] .digit').first());
  near(answer.shown, answer.slope, 1e-4, "the numerical check");
  await close();
});

test("backprop: the error of the difference quotient is least in the middle", async () => {
  const { page, close } = await visit("/#/backprop");
  const row = (format) => page.locator(`[data-widget=check] tr[data-format=${format}] td`).allTextContents();
  const least = async (format) => {
    const cells = await until(() => row(format), (c) => /e = /.test(c[2] ?? ""), `${format}: a curve`);
    const [, error, e] = cells[2].match(/(\S+) \(e = (\S+)\)/);
    return [value(error), value(e)];
  };
  const slider = page.locator("[data-widget=check] input[type=range]");
  await slider.scrollIntoViewIfNeeded();
  const ends = {};
  for (const key of ["Home", "End"]) {
    const shown = () => page.locator("[data-widget=check] .slider output").textContent();
    await press(page, slider, [key]);
    await until(shown, (t) => value(t) === (key === "Home" ? 1e-8 : 1), "the end of the slider");
    await page.waitForTimeout(500);
    for (const format of ["f64", "f32"]) (ends[format] ??= []).push(value((await row(format))[1]));
  }
  for (const [format, lowest, highest] of [["f64", 1e-7, 1e-3], ["f32", 1e-4, 3e-1]]) {
    const [error, e] = await least(format);
    assert.ok(e > lowest && e < highest, `${format}: the best step is ${e}`);
    assert.ok(ends[format].every((v) => v > 10 * error), `${format}: ${ends[format]} at the ends, ${error} at best`);
  }
  // The same slider by mouse.
  await drag(page, slider, [0.98, 0.5], [0.5, 0.5]);
  await until(() => page.locator("[data-widget=check] .slider output").textContent(), (t) => value(t) > 1e-5 && value(t) < 1e-3, "the middle");
  await close();
});

// Chapter 6

test("matmul: an element of C is its row times its column, by mouse and keyboard, also after typing", async () => {
  const { page, close } = await visit("/#/matmul");
  const given = (name) => page.locator(`table[data-name=${name}] input`).evaluateAll((all) => all.map((i) => Number(i.value)));
  const cell = (m, n) => page.locator(`table[data-name=C] [data-at="${m},${n}"]`);
  const right = async (m, n) => {
    const [A, B] = [await given("A"), await given("B")];
    const expected = sum([0, 1, 2].map((k) => A[3 * m + k] * B[5 * k + n]));
    await until(async () => value(await cell(m, n).textContent()), (v) => Math.abs(v - expected) < 1e-5, `C[${m}, ${n}]`);
    await until(async () => value(await page.locator("#written .total").textContent()), (v) => Math.abs(v - expected) < 1e-5, "the sum written out");
  };
  await cell(0, 1).hover();
  await right(0, 1);
  assert.equal(await page.locator("table[data-name=A] td.lit").count(), 3, "a row of A");
  assert.equal(await page.locator("table[data-name=B] td.lit").count(), 3, "a column of B");
  await press(page, cell(0, 1), ["ArrowDown", "ArrowRight"]);
  await right(1, 2);
  await page.locator("table[data-name=A] input").nth(4).fill("7.5");
  await right(1, 2);
  await close();
});

test("matmul: reads of main memory fall with the side of the tile; every variant is measured", { timeout: 240_000 }, async () => {
  const { page, close } = await visit("/#/matmul");
  const reads = async () => value(await page.locator("#count output").textContent());
  assert.equal(await until(reads, Number.isFinite, "naive"), 48);
  await page.getByRole("button", { name: "tile shared by a workgroup" }).click();
  const slider = page.locator("[data-widget=tiles] input[type=range]");
  await press(page, slider, ["Home"]);
  const seen = [48];
  for (const side of [2, 3, 4]) {
    seen.push(await until(reads, (v) => v === 48 / side, `side ${side}`));
    await page.keyboard.press("ArrowRight");
  }
  assert.deepEqual(seen, [48, 24, 16, 12]);
  await drag(page, slider, [0.2, 0.5], [0.99, 0.5]);
  await until(reads, (v) => v === 4, "side 12, by mouse");
  const c = page.locator("[data-widget=tiles] .target");
  const before = await c.getAttribute("aria-valuenow");
  await c.hover({ position: { x: 5, y: 5 } });
  assert.notEqual(await c.getAttribute("aria-valuenow"), before, "the element under the mouse");
  await press(page, c, ["ArrowDown"]);
  assert.equal(await c.getAttribute("aria-valuenow"), "24");
  await page.locator("#race").click();
  const rows = () => page.locator(".race tbody tr").evaluateAll((all) => all.map((r) => [...r.cells].map((c) => c.textContent)));
  const done = await until(rows, (all) => all.every((r) => /\d/.test(r[2]) && /e−/.test(r[4])), "four measurements", 200_000);
  done.forEach((r) => assert.ok(value(r[4]) < 1e-4, `${r[0]}: error ${r[4]}`));
  await close();
});

// Chapter 7

const lit = (page) => numbers(page, "[data-widget=im2col] tr.lit td .digit");
const whole = (all) => all.length > 0 && all.flat().every(Number.isFinite);

test("convolution: the window, its row in the patch matrix and the output are the same numbers", async () => {
  const { page, close } = await visit("/#/convolution");
  const same = async () => {
    const [window, row] = [(await matrix(page, "window")).flat(), await lit(page)];
    const w = await page.locator("[data-widget=paint] .nine input").evaluateAll((all) => all.map((i) => Number(i.value)));
    if (!whole(window) || row.length !== 10) return false;
    const y = sum(window.map((v, k) => v * w[k]));
    return window.every((v, k) => Math.abs(v - row[k]) < 1e-4) && Math.abs(row[9] - y) < 2e-3 && window.some((v) => v > 0);
  };
  await until(same, Boolean, "the row is the window");
  const first = await lit(page);
  await drag(page, page.locator("[data-widget=paint] .pick svg").first(), [0.45, 0.47], [0.7, 0.6]);
  await until(async () => (await lit(page)).join() !== first.join() && (await same()), Boolean, "the window by mouse");
  const second = await lit(page);
  await press(page, page.locator("[data-widget=paint] .pick svg").first(), times(3, "ArrowLeft"));
  await until(async () => (await lit(page)).join() !== second.join() && (await same()), Boolean, "the window by keys");
  const paint = page.locator("[data-widget=paint]");
  await paint.getByRole("group", { name: "Brush" }).getByRole("button", { name: "2", exact: true }).click();
  await drag(page, paint.locator(".nine"), [0.1, 0.15], [0.9, 0.15]);
  assert.deepEqual(await paint.locator(".nine input").evaluateAll((all) => all.slice(0, 3).map((i) => Number(i.value))), [2, 2, 2]);
  await until(same, Boolean, "with the painted kernel");
  await paint.getByRole("group", { name: "stride S" }).getByRole("button", { name: "2" }).press("Enter");
  await until(() => page.locator("#size").textContent(), (t) => t.endsWith("= 14"), "stride 2 halves the size");
  // The window stood beyond the smaller output; from its corner back into the picture.
  await press(page, page.locator("[data-widget=paint] .pick svg").first(), [...times(6, "ArrowUp"), ...times(6, "ArrowLeft")]);
  await until(same, Boolean, "with stride 2");
  await close();
});

test("convolution: the gradient of the kernel is what a small change does, and a step against it helps", async () => {
  const { page, close } = await visit("/#/convolution");
  const loss = async () => value(await page.locator('[data-widget=weight-gradient] [data-name="L"]').textContent());
  const first = await until(loss, (v) => v > 0.01, "a loss");
  await until(() => matrix(page, "d w"), whole, "a gradient");
  const answer = await ask(page, page.locator('[data-widget=weight-gradient] table[data-name="d w"] button').nth(4));
  near(answer.shown, answer.derived, 1e-5, "the sum over all windows");
  near(answer.slope, answer.shown, 1e-4, "the difference quotient");
  await page.locator("#descend").click();
  const second = await until(loss, (v) => v < first, "one step against the gradient");
  await page.locator("#descend-many").press("Enter");
  await until(loss, (v) => v < 0.5 * second, "twenty more");
  await page.locator("#descend-many:not([disabled])").waitFor();
  // The output equals the target when the kernel does: nothing is left to correct.
  await page.locator("[data-widget=paint]").getByRole("button", { name: "sharpen" }).click();
  await until(loss, (v) => v === 0, "no loss");
  assert.ok((await matrix(page, "d w")).flat().every((v) => v === 0), "all nine are 0");
  await close();
});

// Chapter 8

test("cnn: training lowers the loss; the slider goes back; a wrong image says why", { timeout: 300_000 }, async () => {
  const { page, close } = await visit("/#/cnn");
  const step = () => page.locator("#run-status").getAttribute("data-step").then(Number);
  await page.locator("#train:not([disabled])").click();
  await until(step, (n) => n >= 60, "sixty steps", 200_000);
  await page.locator("#train").press("Enter");
  await page.locator("#train", { hasText: "Train" }).waitFor();
  const loss = await until(() => numbers(page, "[data-widget=train] .curve:first-child .legend b"), whole, "losses");
  assert.ok(loss[0] < 1.5, `from 2.303 down to ${loss[0]}`);
  const filters = () => page.locator("[data-widget=filters] canvas").evaluateAll((all) => all.map((c) => c.toDataURL()).join());
  const trained = await filters();
  const moment = page.locator("#moment");
  await press(page, moment, ["Home"]);
  await until(() => page.locator("[data-widget=filters] output").textContent(), (t) => t === "step 0", "back to the noise");
  assert.notEqual(await filters(), trained);
  await press(page, moment, ["End"]);
  await until(filters, (f) => f === trained, "and forward again");

  // What is shown belongs to the weights as they are now.
  const told = () => page.locator("[data-widget=confusion] p.quiet").last().textContent();
  const last = await step();
  await until(told, (t) => t.includes(`step ${last}:`), "scored after the last step", 60_000);
  const counts = () => numbers(page, "table.confusion button");
  const confusion = await until(counts, (all) => all.length === 100, "a confusion matrix", 60_000);
  const right = sum(confusion.filter((_, k) => k % 11 === 0));
  const summary = await told();
  assert.ok(summary.includes(`${((100 * right) / sum(confusion)).toFixed(1)}%`), `${right} of ${sum(confusion)}: ${summary}`);
  const worst = confusion.reduce((best, n, k) => (k % 11 !== 0 && n > confusion[best] ? k : best), 1);
  await page.locator("table.confusion button").nth(worst).click();
  await until(() => page.locator(".gallery button").count(), (n) => n === Math.min(24, confusion[worst]), "its images");
  await page.locator(".gallery button").first().press("Enter");
  await until(() => matrix(page, "logits"), (l) => whole(l) && l[0].length === 10, "its logits", 60_000);
  const logits = (await matrix(page, "logits"))[0];
  assert.equal(logits.indexOf(Math.max(...logits)), worst % 10, "the largest logit is the answer it gave");
  const answer = await ask(page, page.locator('.why table[data-name="logits"] button').nth(worst % 10));
  near(answer.shown, answer.derived, 1e-3, "the logit's derivation");
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

test("a control reacts within a second of the code's arrival", async (t) => {
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
    return { end: entry.responseEnd, bytes: entry.decodedBodySize };
  });
  await context.close();
  if (wasm.bytes > 20_000_000) return t.skip("a debug build");
  console.log(`the first reaction came ${(reacted - wasm.end).toFixed(0)} ms after the code`);
  assert.ok(reacted - wasm.end < 1000, `${reacted - wasm.end} ms`);
});
