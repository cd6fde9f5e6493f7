#!/usr/bin/env node
// Times the engine and its peers in turn, in one page of headless Chromium: the training step of the
// reference network at 32x32 and batch 64 with its loss read back, and a product of 512 x 512. Also how long it
// takes from a recipe to the first step.
//
//     node bench/browser/run.mjs [--peers tfjs,jaxjs] [--repeats 7] [--rounds 3] [--isolated] [--chromium PATH]
//
// --peers "" leaves them out. --isolated serves the page with the headers that allow shared memory: the
// wasm backends of both peers then use threads; the engine is one thread either way. Builds the engine with the
// `web` profile, and installs the peers and playwright-core into .tools/browser if they are missing.
// wasm-bindgen is found on the path or in .tools/bin. Prints a table and, as the last line, JSON.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { cpus } from "node:os";
import { dirname, extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "..", "..");
const tools = join(root, ".tools", "browser");
const PACKAGES = {
  "playwright-core": "1.65.1",
  "@jax-js/jax": "0.1.25",
  "@tensorflow/tfjs": "4.22.0",
  "@tensorflow/tfjs-backend-wasm": "4.22.0",
  "@tensorflow/tfjs-backend-webgpu": "4.22.0",
};

const { values: args } = parseArgs({
  options: {
    repeats: { type: "string", default: "7" },
    rounds: { type: "string", default: "3" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
    peers: { type: "string", default: "tfjs,jaxjs" },
    isolated: { type: "boolean", default: false },
  },
});
const repeats = Number(args.repeats);
const rounds = Number(args.rounds);
const peers = args.peers.split(",").filter(Boolean);
if (!(repeats >= 1 && rounds >= 1)) throw new Error("--repeats and --rounds must be 1 or more");
if (peers.some((p) => !["tfjs", "jaxjs"].includes(p))) throw new Error("--peers are tfjs and jaxjs");

function install() {
  const missing = Object.entries(PACKAGES).filter(([name]) => !existsSync(join(tools, "node_modules", name)));
  if (missing.length === 0) return;
  mkdirSync(tools, { recursive: true });
  const names = Object.entries(PACKAGES).map(([name, version]) => `${name}@${version}`);
  execFileSync("npm", ["install", "--no-audit", "--no-fund", "--prefix", tools, ...names], { stdio: "inherit" });
}

function build() {
  const target = "wasm32-unknown-unknown";
  const run = (program, list) => execFileSync(program, list, { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  run("cargo", ["build", "-p", "browser-bench", "--profile", "web", "--target", target]);
  const meta = JSON.parse(run("cargo", ["metadata", "--format-version", "1", "--no-deps"]).toString());
  const wasm = join(meta.target_directory, target, "web", "browser_bench.wasm");
  const own = join(root, ".tools", "bin", "wasm-bindgen");
  const out = join(tools, "engine");
  run(existsSync(own) ? own : "wasm-bindgen", ["--target", "web", "--out-dir", out, wasm]);
  return out;
}

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };

/** Serves the page, the engine and the peers, each from its folder. */
function serve(engine) {
  const modules = join(tools, "node_modules");
  const folders = { engine, tfjs: join(modules, "@tensorflow"), jaxjs: join(modules, "@jax-js") };
  const isolation = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };
  const server = createServer((request, response) => {
    const [, first, ...rest] = normalize(new URL(request.url, "http://x").pathname).split("/");
    const path = first in folders ? join(folders[first], ...rest) : join(here, first, ...rest);
    if (!existsSync(path) || !(extname(path) in TYPES)) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { "content-type": TYPES[extname(path)], ...(args.isolated ? isolation : {}) });
    response.end(readFileSync(path));
  });
  return new Promise((done) => server.listen(0, "127.0.0.1", () => done(server)));
}

const median = (list) => {
  const s = [...list].sort((a, b) => a - b);
  return s.length % 2 ? s[(s.length - 1) / 2] : (s[s.length / 2 - 1] + s[s.length / 2]) / 2;
};

const names = { cpu: "wasm cpu", webgpu: "webgpu" };

/** One row a case: what to call in the page, and with what. */
function rows() {
  const step = (backend, n) => ["steps", [backend, "seed-cnn-32", 2, n]];
  const ours = [
    ["step", "chainrule, wasm cpu", ...step("cpu", repeats)],
    ["step", "chainrule, webgpu", ...step("webgpu", repeats)],
    ["matmul 512", "chainrule, wasm cpu", "products", ["cpu", 512, 2, repeats]],
    ["matmul 512", "chainrule, webgpu", "products", ["webgpu", 512, 2, repeats]],
    ...["seed-cnn-32", "cnn-32"].flatMap((recipe) =>
      ["cpu", "webgpu"].map((b) => [`first step of ${recipe}`, `chainrule, ${names[b]}`, "first_steps", [b, recipe, 3]]),
    ),
  ];
  const slow = Math.min(repeats, 5);
  const peer = (name, prefix, backends) =>
    backends.flatMap((b) => [
      ["step", `${name}, ${b}`, `${prefix}Steps`, [b, 1, slow]],
      ["matmul 512", `${name}, ${b}`, `${prefix}Products`, [b, 512, 1, slow]],
    ]);
  const tfjs = peers.includes("tfjs") ? peer("TF.js", "tf", ["webgl", "webgpu", "cpu", "wasm"]) : [];
  const jaxjs = peers.includes("jaxjs") ? peer("jax-js", "jax", ["webgl", "webgpu", "wasm"]) : [];
  return [...ours, ...tfjs, ...jaxjs];
}

install();
const server = await serve(build());
const { chromium } = createRequire(join(tools, "package.json"))("playwright-core");
const browser = await chromium.launch({
  executablePath: args.chromium,
  args: ["--no-sandbox", "--enable-unsafe-webgpu", "--disable-background-networking", "--no-first-run"],
});
const page = await browser.newPage();
page.on("pageerror", (e) => console.error(String(e)));
await page.goto(`http://127.0.0.1:${server.address().port}/page.html`);
await page.waitForFunction(() => window.cases, null, { timeout: 60_000 });

const times = new Map();
for (let round = 0; round < rounds; round++) {
  for (const [what, who, name, list] of rows()) {
    const key = `${what}|${who}`;
    if (times.get(key)?.error) continue;
    const got = await page.evaluate(
      async ([name, list]) => {
        try {
          return { ms: Array.from(await window.cases[name](...list)) };
        } catch (e) {
          return { error: String(e.message ?? e).split("\n")[0] };
        }
      },
      [name, list],
    );
    const known = times.get(key) ?? { what, who, ms: [] };
    times.set(key, got.error ? { ...known, error: got.error } : { ...known, ms: [...known.ms, ...got.ms] });
  }
}
const version = browser.version();
await browser.close();
server.close();

const results = [...times.values()].map(({ what, who, ms, error }) =>
  error ? { what, who, error } : { what, who, median_ms: median(ms), min_ms: Math.min(...ms), runs: ms.length },
);
console.log(`Chromium ${version}; ${cpus()[0].model}, ${cpus().length} cores${args.isolated ? ", isolated" : ""}; medians over ${rounds} rounds in turn`);
console.log("| case | who | ms | least | times ours (wasm cpu) | times ours (webgpu) |\n| --- | --- | ---: | ---: | ---: | ---: |");
for (const r of results) {
  const ours = (backend) => results.find((o) => o.what === r.what && o.who === `chainrule, ${backend}`).median_ms;
  const ratio = (backend) => (r.median_ms / ours(backend)).toFixed(1);
  console.log(
    r.error
      ? `| ${r.what} | ${r.who} | ${r.error} | | | |`
      : `| ${r.what} | ${r.who} | ${r.median_ms.toFixed(1)} | ${r.min_ms.toFixed(1)} | ${ratio("wasm cpu")} | ${ratio("webgpu")} |`,
  );
}
console.log(JSON.stringify({ chromium: version, cpu: cpus()[0].model, isolated: args.isolated, repeats, rounds, results }));
