// The page in a real Chromium, served by the real server, watched for everything that must not
// happen: a request to another origin, a violation of the Content-Security-Policy, an error on the
// console, a panic.
//
// CHAINRULE_BIN is the program, CHAINRULE_DIST the built page; ./check sets both.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, readdirSync } from "node:fs";
import { createInterface } from "node:readline";
import { after, before } from "node:test";
import { chromium } from "playwright-core";

const need = (name) => {
  assert.ok(process.env[name], `${name} is not set: run ./check`);
  return process.env[name];
};

/** Starts `chainrule serve` on a free port: [address, stop]. */
async function serve() {
  const args = ["serve", "--dist", need("CHAINRULE_DIST"), "--port", "0", "--json"];
  const child = spawn(need("CHAINRULE_BIN"), args, { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(createInterface({ input: child.stdout }), "line");
  const stop = async () => {
    child.kill("SIGINT");
    if (child.exitCode === null) await once(child, "exit");
  };
  return [JSON.parse(line).address, stop];
}

const launch = () =>
  chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--enable-unsafe-webgpu", "--disable-background-networking", "--disable-component-update",
      "--disable-sync", "--no-first-run", "--disable-quic"],
  });

/** A page of its own at `path`, and what went wrong on it so far. */
async function open(browser, address, path, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: "en", ...options });
  const page = await context.newPage();
  const wrong = [];
  page.on("console", (m) => {
    if (m.type() === "error") wrong.push(`console: ${m.text()}`);
  });
  page.on("pageerror", (e) => wrong.push(`panic or error: ${e.message}`));
  page.on("request", (r) => {
    const url = new URL(r.url());
    if (!["data:", "blob:"].includes(url.protocol) && url.origin !== new URL(address).origin) {
      wrong.push(`a request to ${url.origin}`);
    }
  });
  await page.addInitScript(() => {
    globalThis.violations = [];
    globalThis.longTasks = [];
    document.addEventListener("securitypolicyviolation", (e) => violations.push(`${e.violatedDirective} ${e.blockedURI}`));
    new PerformanceObserver((list) => longTasks.push(...list.getEntries().map((e) => e.duration)))
      .observe({ type: "longtask", buffered: true });
  });
  await page.goto(new URL(path, address).href);
  const close = async () => {
    wrong.push(...(await page.evaluate(() => violations)).map((v) => `policy: ${v}`));
    await context.close();
    assert.deepEqual(wrong, []);
  };
  return { page, close };
}

/** For a file of tests: the served page in a browser, and a way to visit it. */
export function site() {
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
  /** The two by themselves, for a test that brings its own context. */
  visit.parts = () => ({ address, browser });
  return visit;
}

/** Session steps so far: what the page shows was computed. */
export const steps = (page) => page.locator("#steps").evaluate((e) => Number(e.dataset.steps));

/** The numbers of a matrix, row by row. */
export const matrix = (page, name, within = "main") =>
  page.locator(`${within} table.matrix[data-name="${name}"]`).first().evaluate((table) =>
    [...table.querySelectorAll("tbody tr")].map((row) =>
      [...row.querySelectorAll("button")].map((b) => Number(b.textContent.trim().replaceAll("−", "-")))));

/** Waits until `read` gives something that `good` accepts. */
export async function until(read, good, what, ms = 30_000) {
  const end = Date.now() + ms;
  let last;
  while (Date.now() < end) {
    last = await read();
    if (good(last)) return last;
    await new Promise((r) => setTimeout(r, 100));
  }
  assert.fail(`${what}: last seen ${JSON.stringify(last)}`);
}

/** Kills the browser's GPU process, as a crash of its driver would: how many there were. */
export function killGpuProcess() {
  const read = (path) => {
    try {
      return readFileSync(path, "utf8");
    } catch {
      return ""; // It ended meanwhile.
    }
  };
  const parent = (pid) => Number(read(`/proc/${pid}/stat`).split(") ").at(-1)?.split(" ")[1]);
  const ours = (pid) => {
    for (let p = Number(pid); p > 1; p = parent(p)) if (p === process.pid) return true;
    return false;
  };
  const found = readdirSync("/proc").filter((p) => /^\d+$/.test(p))
    .filter((p) => read(`/proc/${p}/cmdline`).includes("--type=gpu-process") && ours(p));
  for (const pid of found) process.kill(Number(pid), "SIGKILL");
  return found.length;
}
