// Starts the one wasm module of the page, on either side: as a script of the page with the files'
// names in its attributes, or as the engine's worker with them in its address. A file of its own,
// because the Content-Security-Policy allows no inline script.
const script = globalThis.document?.querySelector("script[data-js]");
const query = new URL(globalThis.location.href).searchParams;
const js = script?.dataset.js ?? query.get("js");
const wasm = script?.dataset.wasm ?? query.get("wasm");
const base = script ? document.baseURI : new URL(".", globalThis.location.href).href;

// Messages that come before the module has its own handler wait here.
const early = [];
if (!script) globalThis.onmessage = (event) => early.push(event);

const module = await import(new URL(js, base).href);
await module.default({ module_or_path: new URL(wasm, base).href });
for (const event of early) globalThis.onmessage?.(event);

if (script && "serviceWorker" in navigator) {
  navigator.serviceWorker.register(new URL("sw.js", base).href).catch(() => {
    // Without it the page needs the network at each visit, and nothing else changes.
  });
}
