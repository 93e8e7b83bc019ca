// Keeps the information page on the telephone: the newest when the network answers soon, else what
// was opened last. It reaches pages under /info/ and what they load, nothing else of the site.
const KEPT = "kentongan-information-1";
const FIRST = ["/info/", "/static/community/information.css", "/static/community/information.js"];
const PATIENCE_MS = 2000;

self.addEventListener("install", (event) => {
  const keep = async () => (await caches.open(KEPT)).addAll(FIRST);
  event.waitUntil(keep().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const clear = async () => {
    const old = (await caches.keys()).filter((one) => one.startsWith("kentongan-information-") && one !== KEPT);
    await Promise.all(old.map((one) => caches.delete(one)));
    await self.clients.claim();
  };
  event.waitUntil(clear());
});

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  const ours = url.pathname.startsWith("/info/") || url.pathname.startsWith("/static/community/");
  if (event.request.method === "GET" && url.origin === location.origin && ours) event.respondWith(newest(event.request));
});

async function newest(request) {
  const cache = await caches.open(KEPT);
  const asked = fetch(request).then((answer) => {
    if (answer.ok) cache.put(request, answer.clone());
    return answer;
  });
  const known = await cache.match(request);
  if (!known) return asked.catch(async () => (await cache.match("/info/")) ?? Response.error());
  const patience = new Promise((done) => setTimeout(() => done(known), PATIENCE_MS));
  return Promise.race([asked.catch(() => known), patience]);
}
