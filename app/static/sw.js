// Makes the page work offline after the first visit, all chapters included. Files with a hash in their name never change
// and come from the cache; everything else comes from the network when there is one. The cache is
// named after the hashed module that index.html asks for, so that a new version starts a new cache
// and removes the old.
const HASHED = /-[0-9a-f]{12,}(_bg)?\.(js|wasm|css|json|woff2)$/;
// The pictures of clothing that chapters compute with.
const PARTS = ["train-0", "train-1", "train-2", "train-3", "train-4", "t10k"];
const PICTURES = PARTS.flatMap((p) => [`data/${p}-images-idx3-ubyte.gz`, `data/${p}-labels-idx1-ubyte.gz`]);

async function version() {
  const page = await fetch("./", { cache: "no-cache" });
  const text = await page.clone().text();
  const files = [...text.matchAll(/(?:href|src|data-js|data-wasm)="([^"#:]+)"/g)].map((m) => m[1]);
  const named = files.find((f) => HASHED.test(f)) ?? "none";
  return { name: `chainrule ${named}`, files: [...new Set(files)] };
}

self.addEventListener("install", (event) => {
  event.waitUntil(
    (async () => {
      const { name, files } = await version();
      const cache = await caches.open(name);
      const chapters = await fetch("prose/index.json", { cache: "no-cache" });
      if (!chapters.ok) throw new Error(`prose/index.json: ${chapters.status}`);
      await cache.addAll(["./", ...files, ...(await chapters.json()), ...PICTURES]);
      await self.skipWaiting();
    })(),
  );
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      const { name } = await version().catch(() => ({ name: null }));
      if (name) {
        for (const key of await caches.keys()) {
          if (key.startsWith("chainrule ") && key !== name) await caches.delete(key);
        }
      }
      await self.clients.claim();
    })(),
  );
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== self.location.origin) return;
  event.respondWith(
    (async () => {
      const hit = () => caches.match(request);
      if (HASHED.test(url.pathname)) {
        const cached = await hit();
        if (cached) return cached;
      }
      try {
        const fresh = await fetch(request);
        if (fresh.ok && !url.pathname.includes("/cifar10/")) {
          const names = await caches.keys();
          const name = names.find((n) => n.startsWith("chainrule "));
          if (name) (await caches.open(name)).put(request, fresh.clone());
        }
        return fresh;
      } catch (error) {
        const cached = (await hit()) ?? (request.mode === "navigate" ? await caches.match("./") : undefined);
        if (cached) return cached;
        throw error;
      }
    })(),
  );
});
