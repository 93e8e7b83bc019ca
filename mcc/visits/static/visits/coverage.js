// The map of the coverage: on each kelurahan the days since somebody was there, nearer also on posts.
const POSTS_FROM_ZOOM = 15;

const config = JSON.parse(document.getElementById("config").textContent);
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const map = L.map("map", { zoomAnimation: !calm, fadeAnimation: !calm, markerZoomAnimation: !calm, minZoom: 5, maxZoom: 19 });
map.attributionControl.setPrefix("Leaflet");
map.setView([config.latitude, config.longitude], config.zoom, { animate: false });
if (config.wards.length) map.fitBounds(config.wards.map((one) => [one.lat, one.lon]), { padding: [20, 20], animate: false });
if (config.tiles) L.tileLayer(config.tiles, { attribution: config.attribution, maxZoom: 19 }).addTo(map);
else drawAreas();
const posts = L.layerGroup(config.posts.map((one) => marked(one, "days post")));
for (const one of config.wards) marked(one, "days").addTo(map);
const showPosts = () => (map.getZoom() >= POSTS_FROM_ZOOM ? posts.addTo(map) : posts.remove());
map.on("zoomend", showPosts);
showPosts();

// The number says what the colour says.
function marked(one, look) {
  const label = document.createElement("span");
  label.className = one.is_due ? `${look} due` : look;
  label.textContent = one.days ?? "∅";
  const since = one.days === null ? gettext("never visited") : interpolate(gettext("last visit %s days ago"), [one.days]);
  // The lists below are what keys and screen readers go through.
  return L.marker([one.lat, one.lon], { icon: L.divIcon({ html: label, className: "", iconSize: [0, 0] }), title: `${one.name}: ${since}`, keyboard: false });
}

async function drawAreas() {
  const answer = await fetch(config.areas);
  if (!answer.ok) return;
  L.geoJSON(await answer.json(), { interactive: false, filter: (one) => one.geometry.type !== "Point", style: (one) => ({ className: one.geometry.type === "LineString" ? "border" : "area" }) }).addTo(map);
}
