// The map: each post at its place, each open alarm above everything, never hidden in a cluster.
import { around, placed } from "./labels.js";
import { mark, manyMark, word } from "./marks.js";

const CLUSTER_BELOW_ZOOM = 14;
const CLUSTER_CELL_PX = 56;
const WARDS_FROM_ZOOM = 14;
const ALARM_ZOOM = 15;

export class CityMap {
  constructor(settings, { onAlarm, onPost }) {
    this.settings = settings;
    this.on = { onAlarm, onPost };
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.map = L.map("map", { zoomControl: true, attributionControl: true, zoomAnimation: !calm, fadeAnimation: !calm, markerZoomAnimation: !calm, minZoom: 5, maxZoom: 19, keyboard: false });
    this.map.attributionControl.setPrefix("Leaflet");
    this.home();
    this.posts = new Map(); // key -> layer, for quiet posts and clusters
    this.alarms = new Map(); // alarm id -> {marker, look}
    this.quiet = L.layerGroup().addTo(this.map);
    this.map.on("zoomend", () => this.drawPosts());
    this.map.on("zoomend moveend resize", () => this.placeNames());
    if (settings.tiles) {
      L.tileLayer(settings.tiles, { attribution: settings.attribution, maxZoom: 19 }).addTo(this.map);
    }
    if (settings.areas) this.loadAreas(settings.areas, !settings.tiles);
    new ResizeObserver(() => this.map.invalidateSize({ animate: false })).observe(document.getElementById("map"));
  }

  home() {
    this.map.setView([this.settings.latitude, this.settings.longitude], this.settings.zoom, { animate: false });
  }

  async loadAreas(url, named) {
    const answer = await fetch(url);
    if (!answer.ok) return;
    const areas = await answer.json();
    const approximate = areas.approximate === true;
    // Over a real map something approximate would only mislead.
    if (approximate && !named) return;
    L.geoJSON(areas, {
      interactive: false,
      filter: (one) => one.geometry.type !== "Point",
      style: (one) => {
        if (one.geometry.type === "LineString") return { className: "border" };
        return { className: approximate ? "area" : "area real", fill: named };
      },
    }).addTo(this.map);
    if (!named) return;
    const [districts, wards] = [L.layerGroup().addTo(this.map), L.layerGroup()];
    for (const one of areas.features) {
      const { name, lat, lon, ward } = one.properties ?? {};
      if (typeof lat !== "number") continue;
      const label = document.createElement("span");
      label.className = ward ? "area-name ward" : "area-name";
      label.textContent = name;
      L.marker([lat, lon], { icon: L.divIcon({ html: label, className: "", iconSize: [0, 0] }), interactive: false, keyboard: false, zIndexOffset: -1000 }).addTo(ward ? wards : districts);
    }
    const showWards = () => (this.map.getZoom() >= WARDS_FROM_ZOOM ? wards.addTo(this.map) && districts.remove() : districts.addTo(this.map) && wards.remove());
    this.map.on("zoomend", showWards);
    showWards();
    if (approximate) document.getElementById("map-note").textContent = gettext("Kecamatan borders are approximate (drawn from centroids)");
  }

  // `alarms`: [{id, meaning, label, lat, lon, chosen}]; `posts`: [{id, meaning, label, lat, lon}].
  show(alarms, posts) {
    const here = new Set(alarms.map((one) => one.id));
    for (const [id, held] of this.alarms) {
      if (!here.has(id)) {
        held.marker.remove();
        this.alarms.delete(id);
      }
    }
    for (const one of alarms) this.drawAlarm(one);
    this.quietPosts = posts;
    this.drawPosts();
    this.placeNames();
  }

  drawAlarm(one) {
    const look = JSON.stringify([one.meaning, one.label, one.lat, one.lon, one.chosen]);
    const held = this.alarms.get(one.id);
    if (held?.look === look) return;
    held?.marker.remove();
    const box = document.createElement("div");
    box.className = one.chosen ? "map-mark chosen" : "map-mark";
    const [name, lead] = [document.createElement("span"), document.createElement("span")];
    [name.className, lead.className, lead.hidden] = ["map-name", "map-lead", true];
    name.textContent = one.label;
    box.append(lead, mark(one.meaning), name);
    const size = one.meaning === "calling" ? 44 : 30;
    const marker = L.marker([one.lat, one.lon], {
      icon: L.divIcon({ html: box, className: "", iconSize: [size, size] }),
      zIndexOffset: (one.meaning === "calling" ? 10000 : 5000) + (one.chosen ? 2000 : 0),
    }).addTo(this.map);
    const element = marker.getElement();
    element.dataset.alarm = one.id;
    element.setAttribute("aria-label", `${one.label}: ${word(one.meaning)}`);
    marker.on("click", () => this.on.onAlarm(one.id));
    marker.on("keypress", (event) => event.originalEvent.key === "Enter" && this.on.onAlarm(one.id));
    this.alarms.set(one.id, { ...one, marker, look, name, lead, r: size / 2 + (one.chosen ? 7 : 3) });
  }

  // Who calls has its name read, whatever stands around it; another's is left out where no room is.
  placeNames() {
    const unanswered = (one) => one.meaning === "calling";
    const order = [...this.alarms.values()].sort((a, b) => unanswered(b) - unanswered(a) || Boolean(b.chosen) - Boolean(a.chosen));
    const written = new Set();
    const shown = [];
    for (const one of order) {
      // Calls of one post lie upon each other: one name for them all.
      const place = JSON.stringify([one.label, one.lat, one.lon]);
      one.name.hidden = written.has(place);
      one.lead.hidden = true;
      if (!one.name.hidden) shown.push(one);
      written.add(place);
    }
    for (const one of shown) {
      const { x, y } = this.map.latLngToContainerPoint([one.lat, one.lon]);
      one.width ??= one.name.offsetWidth;
      one.height ??= one.name.offsetHeight;
      Object.assign(one, { x, y, must: unanswered(one) });
    }
    const frame = this.map.getContainer().getBoundingClientRect();
    const onTop = [...this.map.getContainer().querySelectorAll(".leaflet-control"), document.getElementById("map-note")].map((element) => {
      const { left, top, right, bottom } = element.getBoundingClientRect();
      return { left: left - frame.left, top: top - frame.top, right: right - frame.left, bottom: bottom - frame.top };
    });
    const quiet = [...this.posts.values()].map((layer) => around({ ...this.map.latLngToContainerPoint(layer.getLatLng()), r: 14 }));
    const { x: width, y: height } = this.map.getSize();
    placed(shown, onTop, quiet, { width, height }).forEach((spot, n) => {
      const { name, lead, x, y } = shown[n];
      name.hidden = spot === null;
      if (!spot) return;
      name.style.transform = `translate(${spot.left - x}px, ${spot.top - y}px)`;
      lead.hidden = !spot.far;
      const [across, down] = [(spot.left + spot.right) / 2 - x, (spot.top + spot.bottom) / 2 - y];
      lead.style.width = `${Math.hypot(across, down)}px`;
      lead.style.transform = `rotate(${Math.atan2(down, across)}rad)`;
    });
  }

  drawPosts() {
    const posts = this.quietPosts ?? [];
    const groups = new Map();
    const apart = this.map.getZoom() >= CLUSTER_BELOW_ZOOM;
    for (const one of posts) {
      const at = this.map.project([one.lat, one.lon]);
      const cell = apart ? one.id : `${Math.floor(at.x / CLUSTER_CELL_PX)}/${Math.floor(at.y / CLUSTER_CELL_PX)}`;
      if (!groups.has(cell)) groups.set(cell, []);
      groups.get(cell).push(one);
    }
    const wanted = new Map();
    for (const members of groups.values()) {
      const key = JSON.stringify([this.map.getZoom(), members.map((one) => [one.id, one.meaning, one.label, one.lat, one.lon])]);
      wanted.set(key, members);
    }
    for (const [key, layer] of this.posts) {
      if (!wanted.has(key)) {
        layer.remove();
        this.posts.delete(key);
      }
    }
    for (const [key, members] of wanted) {
      if (!this.posts.has(key)) this.posts.set(key, this.groupMarker(members).addTo(this.quiet));
    }
  }

  groupMarker(members) {
    if (members.length === 1) {
      const [one] = members;
      const healthy = one.meaning === "online";
      const size = healthy ? 20 : 28;
      const marker = this.plain(mark(one.meaning), [one.lat, one.lon], size, `${one.label}: ${word(one.meaning)}`);
      marker.options.zIndexOffset = healthy ? 0 : 1000;
      return marker.on("click", () => this.on.onPost(one.id));
    }
    const centre = members.reduce(([lat, lon], one) => [lat + one.lat / members.length, lon + one.lon / members.length], [0, 0]);
    const ill = members.filter((one) => one.meaning !== "online").length;
    const label = ill ? interpolate(gettext("%s posts, %s with a fault or silent"), [members.length, ill]) : interpolate(gettext("%s posts"), [members.length]);
    const box = document.createElement("div");
    box.className = "map-mark";
    box.append(manyMark(members.length));
    if (ill) {
      const name = document.createElement("span");
      name.className = "map-count";
      name.textContent = `⚠ ${ill}`;
      box.append(name);
    }
    return this.plain(box, centre, 34, label).on("click", () => this.map.fitBounds(L.latLngBounds(members.map((one) => [one.lat, one.lon])), { padding: [60, 60], maxZoom: ALARM_ZOOM }));
  }

  plain(content, place, size, label) {
    let box = content;
    if (content instanceof SVGElement) {
      box = document.createElement("div");
      box.className = "map-mark";
      box.append(content);
    }
    box.querySelector("svg").style.width = `${size}px`;
    box.querySelector("svg").style.height = `${size}px`;
    // Reached by the search field; a tab stop for each of a thousand posts would bury the rest.
    return L.marker(place, { icon: L.divIcon({ html: box, className: "", iconSize: [size, size] }), title: label, keyboard: false });
  }

  zoomTo(lat, lon) {
    this.map.setView([lat, lon], Math.max(this.map.getZoom(), ALARM_ZOOM), { animate: false });
  }

  zoomToAll(places) {
    if (places.length) this.map.fitBounds(L.latLngBounds(places), { padding: [70, 70], maxZoom: ALARM_ZOOM, animate: false });
  }
}
