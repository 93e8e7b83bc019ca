// The form of a visit: its fields, photo, signature, place and follow-ups, into a visit and back.
import { Signature, Unusable, shrunk } from "./picture.js";

const WEEK_DAYS = 7;
const PLACE_WAIT_MS = 30_000;

export class Form {
  // `onChange()`: something was entered; `onWrong(text)`: something cannot be used, "" when it can.
  constructor(form, config, { onChange, onWrong }) {
    this.form = form;
    this.config = config;
    this.on = { onChange, onWrong };
    this.photo = null;
    this.place = null;
    // What is still being made small, and the place that is still looked for: null when no longer
    // wanted, so that neither comes into the form of the next visit.
    this.shrinking = null;
    this.placing = null;
    this.signature = new Signature(form.querySelector("#signature"), onChange);
    this.preview = form.querySelector("#preview");
    this.tasks = form.querySelector("#tasks");
    form.addEventListener("input", (event) => {
      // The page may have been open since yesterday: a visit is now, unless its officer says when.
      if (!this.isBegun && event.target.name !== "visited") form.elements.visited.value = local(Date.now());
      this.isBegun = true;
      onChange();
    });
    form.elements.kelurahan.addEventListener("change", () => this.showPosts());
    form.elements.photo.addEventListener("change", () => this.takePhoto());
    form.elements.consent.addEventListener("change", () => this.takePlace());
    form.querySelector("#sign-again").addEventListener("click", () => {
      this.signature.clear();
      onChange();
    });
    form.querySelector("#without-photo").addEventListener("click", () => {
      this.showPhoto(null);
      onChange();
    });
    form.querySelector("#add-task").addEventListener("click", () => {
      this.addTask("", local(Date.now() + WEEK_DAYS * 86_400_000).slice(0, 10)).querySelector("input").focus();
      onChange();
    });
    this.clear();
  }

  clear() {
    this.form.reset();
    // Whether something has been entered that is not kept yet.
    this.isBegun = false;
    this.form.elements.visited.value = local(Date.now());
    this.tasks.replaceChildren();
    this.signature.clear();
    this.shrinking = this.placing = null;
    this.showPhoto(null);
    this.place = null;
    this.sayPlace("");
    this.showPosts();
  }

  // When the photo that was chosen is in the form. Throws Unusable, in words, when it cannot be.
  async settled() {
    while (this.shrinking) await this.shrinking;
  }

  // What was entered, to be put back as it was.
  async kept() {
    const fields = [...new FormData(this.form)].filter(([, value]) => typeof value === "string");
    return { fields, photo: this.photo, signature: await this.signature.blob(), place: this.place };
  }

  async put({ fields, photo, signature, place }) {
    this.clear();
    const dues = fields.filter(([name]) => name === "due");
    fields.filter(([name]) => name === "task").forEach(([, text], n) => this.addTask(text, dues[n]?.[1] ?? ""));
    const single = fields.filter(([name]) => name !== "task" && name !== "due");
    const set = ([name, value]) => {
      const element = this.form.elements[name];
      if (element?.type === "checkbox") element.checked = true;
      else if (element && "value" in element) element.value = value;
    };
    single.forEach(set);
    // The posts are those of the kelurahan, which has just been set.
    this.showPosts();
    single.filter(([name]) => name === "post").forEach(set);
    this.showPhoto(photo);
    this.place = place ?? null;
    if (this.place) this.sayPlace(this.placeWords());
    this.isBegun = true;
    // The last: a picture may be what the browser cannot read any more.
    await this.signature.put(signature);
  }

  // The visit as the server wants it (mcc/visits/intake.py), without its key and author. Throws
  // Unusable, in words, when something is missing.
  visit() {
    // Half an emoji, where a field was full, is no text for anybody.
    const whole = (text) => text.trim().toWellFormed?.() ?? text.trim();
    const value = (name) => whole(this.form.elements[name].value);
    const said = (name) => ({ yes: true, no: false })[value(name)] ?? null;
    const tasks = [...this.tasks.children].map((row) => ({ text: whole(row.querySelector("[name=task]").value), due: row.querySelector("[name=due]").value }));
    const post = value("post");
    const seen = { pressed: said("pressed"), lamp: said("lamp"), poster: said("poster") };
    if (post && Object.values(seen).every((one) => one === null)) throw new Unusable(gettext("Say what you saw at the guard post, or choose that none was checked."));
    return {
      kelurahan: value("kelurahan"),
      visited_ms: new Date(value("visited")).getTime(),
      kind: value("kind"),
      purpose: value("purpose"),
      name: value("name"),
      phone: value("phone"),
      address: value("address"),
      findings: value("findings"),
      place: this.form.elements.consent.checked && this.place ? { ...this.place, consent: true } : null,
      check: post ? { post, ...seen } : null,
      follow_ups: tasks.filter((one) => one.text),
    };
  }

  addTask(text, due) {
    const row = this.form.querySelector("#task").content.firstElementChild.cloneNode(true);
    row.querySelector("[name=task]").value = text;
    row.querySelector("[name=due]").value = due;
    row.querySelector("button").addEventListener("click", () => {
      row.remove();
      this.on.onChange();
    });
    if (this.tasks.children.length < this.config.follow_ups_max) this.tasks.append(row);
    else this.on.onWrong(interpolate(gettext("A visit has at most %s follow-ups."), [this.config.follow_ups_max]));
    return row;
  }

  showPosts() {
    const select = this.form.elements.post;
    const here = this.config.posts.filter((one) => one.kelurahan === this.form.elements.kelurahan.value);
    select.replaceChildren(select.options[0], ...here.map((one) => new Option(one.name, one.id)));
    select.value = "";
  }

  async takePhoto() {
    const [file] = this.form.elements.photo.files;
    this.form.elements.photo.value = "";
    if (!file) return;
    const shrinking = shrunk(file, this.config.side_pixels, this.config.file_bytes_max);
    this.shrinking = shrinking;
    try {
      const photo = await shrinking;
      // Another one was chosen meanwhile, or it is another visit's form by now.
      if (this.shrinking !== shrinking) return;
      this.showPhoto(photo);
      this.on.onWrong("");
      this.on.onChange();
    } catch (error) {
      if (this.shrinking === shrinking) this.on.onWrong(error.message);
    } finally {
      if (this.shrinking === shrinking) this.shrinking = null;
    }
  }

  showPhoto(blob) {
    this.photo = blob ?? null;
    URL.revokeObjectURL(this.preview.src);
    this.preview.hidden = this.form.querySelector("#without-photo").hidden = !blob;
    if (blob) this.preview.src = URL.createObjectURL(blob);
    else this.preview.removeAttribute("src");
  }

  takePlace() {
    this.place = this.placing = null;
    this.sayPlace("");
    if (!this.form.elements.consent.checked) return;
    const placing = {};
    this.placing = placing;
    this.sayPlace(gettext("Looking for the place …"));
    const found = ({ coords }) => {
      if (this.placing !== placing) return;
      this.place = { lat: coords.latitude, lon: coords.longitude, accuracy_m: coords.accuracy };
      this.sayPlace(this.placeWords());
      this.on.onChange();
    };
    const failed = () => this.placing === placing && this.sayPlace(gettext("The place is not known; the visit is kept without it."));
    if (navigator.geolocation) navigator.geolocation.getCurrentPosition(found, failed, { enableHighAccuracy: true, timeout: PLACE_WAIT_MS });
    else failed();
  }

  placeWords() {
    const { lat, lon, accuracy_m } = this.place;
    return `${lat.toFixed(5)}, ${lon.toFixed(5)} (± ${Math.round(accuracy_m)} m)`;
  }

  sayPlace(text) {
    this.form.querySelector("#place").textContent = text;
  }
}

// A moment as the fields for day and time want it, by this telephone's clock.
export function local(at_ms) {
  const at = new Date(at_ms);
  return new Date(at_ms - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
