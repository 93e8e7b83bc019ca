// The page needs no script; this lets the telephone keep it, with the very address that was opened.
if ("serviceWorker" in navigator) {
  navigator.serviceWorker.register("/info/sw.js");
  navigator.serviceWorker.ready.then(async () => {
    const kept = await caches.open("kentongan-information-1");
    await kept.add(location.pathname + location.search);
    document.documentElement.dataset.kept = "yes";
  });
}
