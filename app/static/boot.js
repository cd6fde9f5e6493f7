// Starts the one wasm module of the page, on either side: as a script of the page with the files'
// names in its attributes, or as the engine's worker with them as the worker's name. (Not in its
// address: offline it comes from a cache, under the address it was stored with.) A file of its own,
// because the Content-Security-Policy allows no inline script.
const script = globalThis.document?.querySelector("script[data-js]");
const [js, wasm] = script ? [script.dataset.js, script.dataset.wasm] : globalThis.name.split(" ");
const base = script ? document.baseURI : new URL(".", globalThis.location.href).href;

// Messages that come before the module has its own handler wait here.
const early = [];
if (!script) globalThis.onmessage = (event) => early.push(event);

const module = await import(new URL(js, base).href);
await module.default({ module_or_path: new URL(wasm, base).href });
for (const event of early) globalThis.onmessage?.(event);

if (script && "serviceWorker" in navigator) {
  // It fetches all chapters: only once the page has computed something, so that nothing waits for
  // them, or after a while.
  const computed = () =>
    [["#steps", "steps"], ["#run-status", "step"]].some(([id, key]) => Number(document.querySelector(id)?.dataset[key]) > 0);
  for (let k = 0; k < 40 && !computed(); k++) await new Promise((done) => setTimeout(done, 250));
  navigator.serviceWorker.register(new URL("sw.js", base).href).catch(() => {
    // Without it the page needs the network at each visit, and nothing else changes.
  });
}
