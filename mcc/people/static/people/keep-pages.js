// What the service workers of this site share: pages that stay on the telephone. The newest when the
// network answers soon, else what was kept last. A worker says what it reaches; nothing else of the
// site is touched, and no answer is kept that leads elsewhere, such as to the page for signing in.
const PATIENCE_MS = 2000;

// `family` and `version` name the cache; `first`: what is kept from the beginning; `home`: what is
// shown for a page of which nothing is kept; `reaches(path)`: whether a path is this worker's.
function keepPages({ family, version, first, home, reaches }) {
  const kept = `${family}${version}`;

  self.addEventListener("install", (event) => {
    const keep = async () => {
      // All of it or nothing: a worker that could keep half stays away, and the one before it stays.
      const answers = await Promise.all(first.map((path) => fetch(path, { redirect: "error", cache: "no-cache" })));
      if (answers.some((one) => !one.ok)) throw new Error("not everything can be kept");
      const cache = await caches.open(kept);
      await Promise.all(answers.map((one, n) => cache.put(first[n], one)));
    };
    event.waitUntil(keep().then(() => self.skipWaiting()));
  });

  self.addEventListener("activate", (event) => {
    const clear = async () => {
      const old = (await caches.keys()).filter((one) => one.startsWith(family) && one !== kept);
      await Promise.all(old.map((one) => caches.delete(one)));
      await self.clients.claim();
    };
    event.waitUntil(clear());
  });

  self.addEventListener("fetch", (event) => {
    const url = new URL(event.request.url);
    const ours = url.origin === location.origin && reaches(url.pathname);
    if (event.request.method === "GET" && ours) event.respondWith(newest(event.request));
  });

  async function newest(request) {
    const cache = await caches.open(kept);
    // One page for everybody who uses this telephone: a cookie does not make it another.
    const known = await cache.match(request, { ignoreVary: true });
    const asked = fetch(request).then((answer) => {
      if (answer.ok && !answer.redirected) cache.put(request, answer.clone());
      return answer;
    });
    if (!known) return asked.catch(async () => (await cache.match(home, { ignoreVary: true })) ?? Response.error());
    const patience = new Promise((done) => setTimeout(() => done(known), PATIENCE_MS));
    return Promise.race([asked.catch(() => known), patience]);
  }
}
