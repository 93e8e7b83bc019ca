// The console of an operator: the picture in, marks and tones out, what the operator does back.
import { Desk, meaningOf, meaningOfPost } from "./desk.js";
import { faultRows, stateOf } from "./faults.js";
import { Link, post, postJson } from "./link.js";
import { CityMap } from "./map.js";
import { mark, word } from "./marks.js";
import { Sound } from "./sound.js";
import { actionWord, clock, connectionWord, day, faultWord, kindWord, make, outcomeWord, resultWord, roleWord, span, stateWord } from "./words.js";

const config = JSON.parse(document.getElementById("config").textContent);
const el = (id) => document.getElementById(id);
const screen = (sessionStorage.screen ??= crypto.randomUUID());
const SCREEN_EVERY_MS = 5000;
const SAID_MS = 9000;
// Its pulse comes every 2 s.
const INGEST_SILENT_S = 12;

const desk = new Desk();
let pulse = null; // the site's last word about its neighbours
let pulseAt = 0;
let offset = 0; // the site's clock minus this one, in ms
let chosen = null; // {alarm} or {post}
let card = null; // what was looked up for the chosen one
let silenced = new Map(); // alarm id -> the number of rings that was silenced
let seenRings = new Map(); // alarm id -> the number of rings that was shown
let shift = null; // who is on shift
let isSignedOut = false;
let signedIn = config; // in this browser: another tab may have changed who
let pictured = false;

const now = () => Date.now() + offset;
const may = (action) => config.actions.includes(action);

const map = new CityMap(config.map, { onAlarm: (id) => choose({ alarm: id }), onPost: (id) => choose({ post: id }) });
const sound = new Sound(() => draw());
const link = new Link(config.user_id, {
  onPicture: (picture) => take(picture),
  onStep: (steps) => steps.forEach(step),
  onPulse: (said) => {
    [pulse, pulseAt] = [said, performance.now()];
    offset = said.at_ms - Date.now();
    desk.gateways = said.gateways;
    draw();
  },
  onRefused: () => {
    isSignedOut = true;
    draw();
  },
});
link.onSilence = (entries) => {
  silenced = new Map(entries);
  draw();
};

// --- what comes in --------------------------------------------------------------------------

function take(picture) {
  const wasPictured = pictured;
  pictured = true;
  isSignedOut = false;
  offset = picture.at_ms - Date.now();
  desk.alarms = new Map(picture.alarms.map((one) => [one.alarm_id, one]));
  desk.posts = new Map(picture.posts.map((one) => [one.post, one]));
  desk.gateways = picture.gateways;
  desk.faults = picture.faults;
  desk.units = picture.units;
  desk.reason = picture.reason;
  desk.leftOut = picture.alarms_left_out;
  for (const one of desk.alarms.values()) noticed(one, false);
  listPosts();
  if (!wasPictured) {
    const calling = desk.calling;
    if (calling.length) choose({ alarm: calling[0].alarm_id }, { zoom: true });
  }
  lookUp();
  lookUpShift();
  draw();
}

function step({ kind, key, value }) {
  if (kind === "alarm") {
    if (value) {
      desk.alarms.set(key, value);
      noticed(value, true);
    } else desk.alarms.delete(key);
    if (chosen?.alarm === key || desk.alarms.get(chosen?.alarm)?.post === value?.post) lookUp();
  } else if (kind === "post") {
    if (value) desk.posts.set(key, value);
    else desk.posts.delete(key);
    listPosts();
    if (chosen?.post === key) lookUp();
  } else if (kind === "gateway") desk.gateways = value;
  else if (kind === "fault") {
    if (value.length > (desk.faults?.length ?? 0)) sound.chime("fault");
    desk.faults = value;
  } else if (kind === "store") desk.reason = value.reason;
  else if (kind === "shift") lookUpShift();
  draw();
}

// What an alarm's new state means for ear and eye; `live`: it has just become so.
function noticed(alarm, live) {
  const id = alarm.alarm_id;
  for (const action of desk.asked.get(id) ?? []) {
    // What was asked for is in the picture now, as sent, done or refused.
    const said = [...alarm.sending, ...alarm.refusals].some((one) => one.action === action);
    if (said || isDone(alarm, action)) desk.unask(id, action);
  }
  for (const refusal of alarm.refusals) {
    const key = `refused ${refusal.command_id}`;
    if (!seenRings.has(key)) {
      seenRings.set(key, 1);
      if (refusal.operator === config.user) {
        const who = refusal.first_operator ? ` — ${refusal.first_operator}, ${clock(refusal.first_at_ms)}` : "";
        say(`${actionWord(refusal.action)}: ${refusedWord(refusal)}${who}`, true);
      }
    }
  }
  const before = seenRings.get(id);
  const isNew = before === undefined || alarm.rings > before;
  seenRings.set(id, alarm.rings);
  if (!live || !isNew || meaningOf(alarm) === "over") return;
  const name = alarm.post_name ?? desk.nameOf(alarm.post);
  if (alarm.kind === "test") sound.chime("test");
  if (meaningOf(alarm) === "calling") {
    if (before !== undefined) sound.chime("repeat");
    document.title = `⚠ ${name}`;
    // Whoever is busy with a call is not torn away from it.
    const busy = chosen?.alarm && desk.alarms.get(chosen.alarm) && meaningOf(desk.alarms.get(chosen.alarm)) !== "over";
    if (!busy && !document.querySelector("dialog[open]")) choose({ alarm: id }, { zoom: true });
  }
}

function refusedWord({ refused, why }) {
  return {
    unknown: gettext("the gateway does not know this alarm"),
    already: gettext("somebody was first"),
    kind_changed: gettext("the alarm has become of another kind: look again"),
    too_old: gettext("came too late at the gateway"),
    not_receiver: gettext("the gateway takes orders from another command centre"),
    busy: gettext("the gateway has too much to do"),
    not_allowed: gettext("the gateway does not allow it"),
  }[refused] ?? why;
}

function isDone(alarm, action) {
  if (action === "acknowledge") return alarm.is_answered;
  if (action === "dispatch") return alarm.reached.dispatched !== null || alarm.state === "resolved";
  if (action === "resolve") return alarm.state === "resolved";
  if (action === "panic") return alarm.kind === "panic";
  return true;
}

// --- what is looked up ----------------------------------------------------------------------

let lookingUp = 0;
async function lookUp() {
  const mine = ++lookingUp;
  const post = chosen?.post ?? desk.alarms.get(chosen?.alarm)?.post;
  if (!post) return;
  const get = async (address) => {
    try {
      const answer = await fetch(address, { cache: "no-store" });
      return answer.ok ? await answer.json() : null;
    } catch {
      return null;
    }
  };
  const [found, history] = await Promise.all([
    get(`/post/${encodeURIComponent(post)}`),
    chosen?.alarm ? get(`/case/${encodeURIComponent(chosen.alarm)}`) : null,
  ]);
  if (mine !== lookingUp) return;
  card = { post: found, history: history?.history ?? null };
  draw();
}

async function lookUpShift() {
  try {
    const answer = await fetch("/shift/", { headers: { Accept: "application/json" }, cache: "no-store" });
    if (answer.ok) shift = await answer.json();
  } catch {
    // It is asked again with the next picture.
  }
  draw();
}

function choose(wanted, { zoom = false, focus = false } = {}) {
  const same = JSON.stringify(wanted) === JSON.stringify(chosen);
  chosen = wanted;
  if (!same) {
    card = null;
    lookUp();
  }
  draw();
  if (wanted && zoom) zoomToChosen();
  if (wanted && focus) el("case").focus();
}

function zoomToChosen() {
  const alarm = desk.alarms.get(chosen?.alarm);
  const post = desk.posts.get(chosen?.post);
  if (alarm) map.zoomTo(...desk.placeOf(alarm));
  else if (post && post.lat !== null) map.zoomTo(post.lat, post.lon);
}

// --- what is done ---------------------------------------------------------------------------

async function send(action, fields, { alarm } = {}) {
  if (alarm) {
    desk.ask(alarm.alarm_id, action);
    draw();
  }
  let answer;
  try {
    answer = await postJson("/do", { action, screen, ...fields });
  } catch {
    if (alarm) desk.unask(alarm.alarm_id, action);
    say(`${actionWord(action)}: ${gettext("NOT SENT: the site does not answer. Try again.")}`, true);
    draw();
    return false;
  }
  if (answer.ok) {
    // An entry of the own record is there at once; an order is there when the picture shows it.
    return true;
  }
  if (alarm) desk.unask(alarm.alarm_id, action);
  if (answer.isSignedOut) {
    isSignedOut = true;
    say(`${actionWord(action)}: ${gettext("NOT SENT: you are signed out. Log in again.")}`, true);
    draw();
    return false;
  }
  const why = answer.headers.get("Content-Type")?.includes("json") ? await answer.json() : { why: `${answer.status}` };
  const when = why.first_at_ms ? ` (${clock(why.first_at_ms)})` : "";
  say(`${actionWord(action)}: ${why.why}${when}`, true);
  draw();
  return false;
}

const FAULT_KEYS = [["fault_acknowledge", "K"], ["fault_shelve", "V"], ["fault_unshelve", "V"]];
const orders = { acknowledge: "A", dispatch: "D", resolve: "R", panic: "P" };

function canDo(action, alarm) {
  if (!alarm || !may(action) || alarm.closed_here_ms) return false;
  if (desk.sending(alarm).includes(action)) return false;
  if (action === "acknowledge") return !alarm.is_answered;
  if (action === "dispatch") return alarm.is_open && alarm.reached.dispatched === null;
  if (action === "resolve") return alarm.is_open;
  if (action === "panic") return alarm.is_open && alarm.kind === "test";
  return true;
}

function perform(action) {
  const alarm = desk.alarms.get(chosen?.alarm);
  const post = chosen?.post ?? alarm?.post;
  if (action === "note" && chosen?.post) return askNote("note", { post });
  if (action === "open_test") return post && may(action) ? askMinutes(post) : say(gettext("Choose a post first."));
  if (action === "close_test") return send(action, { post });
  if (!alarm) return say(gettext("Choose an alarm first."));
  if (!canDo(action, alarm)) return say(interpolate(gettext("Not possible here: %s"), [actionWord(action)]));
  // An answer is to the calls that stand on the screen now.
  const seen = { alarm_id: alarm.alarm_id, repeats: alarm.repeats, kind: alarm.kind };
  if (action === "acknowledge") return send(action, seen, { alarm });
  if (action === "panic") return send(action, { alarm_id: alarm.alarm_id }, { alarm });
  if (action === "dispatch") return askUnit(alarm, seen);
  if (action === "resolve") return askOutcome(alarm, seen);
  if (action === "ask_assist") return askAssist(alarm);
  if (action === "confirm_by_phone") return askPhone(alarm);
  if (action === "on_scene" || action === "on_the_way" || action === "take_over") return send(action, { alarm_id: alarm.alarm_id });
  return askNote(action, { alarm_id: alarm.alarm_id });
}

function ask(title, fields, label, onDone) {
  const dialog = el("ask");
  const heading = make("h2", "", title);
  heading.id = "ask-title";
  const form = make("form", "", heading, ...fields);
  const stop = make("button", "", gettext("Cancel"));
  stop.type = "button";
  stop.onclick = () => dialog.close();
  form.append(make("div", "row", stop, make("button", "strong", label)));
  form.onsubmit = (event) => {
    event.preventDefault();
    onDone(new FormData(form));
    dialog.close();
  };
  dialog.replaceChildren(form);
  dialog.showModal();
  form.querySelector("select, input:checked, textarea")?.focus();
}

function labelled(text, input, name) {
  input.name = name;
  return make("label", "", text, input);
}

function askUnit(alarm, seen) {
  const select = make("select");
  for (const one of desk.units) {
    const option = make("option", "", one.name);
    option.value = one.unit;
    option.selected = one.unit === alarm.default_unit;
    select.append(option);
  }
  if (!alarm.default_unit) {
    const none = make("option", "", gettext("— choose —"));
    none.value = "";
    none.selected = true;
    select.prepend(none);
  }
  select.required = true;
  const why = alarm.default_unit ? gettext("Chosen from the post's registered kelurahan.") : gettext("The post is registered in no kelurahan: choose.");
  ask(gettext("Send a unit"), [labelled(gettext("Unit"), select, "unit"), make("p", "", why)], gettext("Send"), (form) =>
    send("dispatch", { ...seen, unit: form.get("unit") }, { alarm }));
}

function askOutcome(alarm, seen) {
  const set = make("fieldset", "", make("legend", "", gettext("What was it?")));
  ["real", "false", "test", "prank"].forEach((outcome, n) => {
    const input = make("input");
    [input.type, input.name, input.value, input.required] = ["radio", "outcome", outcome, true];
    input.checked = alarm.kind === "test" && outcome === "test";
    set.append(make("label", "", input, make("span", "key", n + 1), ` ${outcomeWord(outcome)}`));
  });
  set.onkeydown = (event) => {
    const input = set.querySelectorAll("input")[Number(event.key) - 1];
    if (input) {
      input.checked = true;
      input.focus();
    }
  };
  const note = make("textarea");
  note.maxLength = 200;
  ask(gettext("Resolve"), [set, labelled(gettext("Note (may stay empty)"), note, "note")], gettext("Resolve"), (form) =>
    send("resolve", { ...seen, outcome: form.get("outcome"), note: form.get("note").replace(/\s+/g, " ").trim() }, { alarm }));
  (set.querySelector("input:checked") ?? set.querySelector("input")).focus();
}

function askAssist(alarm) {
  const select = make("select");
  for (const one of desk.units) {
    if (one.unit === alarm.default_unit) continue;
    const option = make("option", "", one.name);
    option.value = one.unit;
    select.append(option);
  }
  ask(actionWord("ask_assist"), [labelled(gettext("Unit"), select, "unit"), make("p", "", gettext("It sees this case until it is over. The unit that was sent stays sent."))], gettext("Ask it"), (form) =>
    send("ask_assist", { alarm_id: alarm.alarm_id, unit: form.get("unit") }));
}

// That nobody is registered is said only when it is known.
function contactsOf() {
  if (!card) return gettext("Looking up whom to call …");
  if (!card.post) return gettext("The contacts could not be looked up.");
  return card.post.contacts || gettext("No contact is registered for this post.");
}

// Beside the dispatch, never before it: nothing waits for this answer.
function askPhone(alarm) {
  const set = make("fieldset", "", make("legend", "", gettext("What was heard?")));
  ["real", "false", "unclear", "no_answer"].forEach((result, n) => {
    const input = make("input");
    [input.type, input.name, input.value, input.required] = ["radio", "result", result, true];
    set.append(make("label", "", input, make("span", "key", n + 1), ` ${resultWord(result)}`));
  });
  set.onkeydown = (event) => {
    const input = set.querySelectorAll("input")[Number(event.key) - 1];
    if (input) {
      input.checked = true;
      input.focus();
    }
  };
  const note = make("textarea");
  note.maxLength = 200;
  const warning = gettext("Whoever answers may be forced to say that all is well: this closes nothing and calls nobody back.");
  ask(actionWord("confirm_by_phone"), [make("p", "contacts", contactsOf()), set, labelled(gettext("Note (may stay empty)"), note, "note"), make("p", "", warning)], gettext("Write it down"), (form) =>
    send("confirm_by_phone", { alarm_id: alarm.alarm_id, result: form.get("result"), note: form.get("note").replace(/\s+/g, " ").trim() }));
  set.querySelector("input").focus();
}

function askNote(action, about) {
  const note = make("textarea");
  [note.maxLength, note.required] = [200, true];
  ask(actionWord(action), [labelled(gettext("What is to be noted"), note, "note")], gettext("Write it down"), (form) =>
    send(action, { ...about, note: form.get("note").replace(/\s+/g, " ").trim() }));
}

function askMinutes(post) {
  const select = make("select");
  for (const minutes of [5, 10, 15]) {
    const option = make("option", "", interpolate(gettext("%s minutes"), [minutes]));
    option.value = minutes;
    option.selected = minutes === 10;
    select.append(option);
  }
  ask(actionWord("open_test"), [make("p", "", desk.nameOf(post)), labelled(gettext("Until then every call of this post is practice."), select, "minutes")], gettext("Open it"), (form) =>
    send("open_test", { post, minutes: Number(form.get("minutes")) }));
}

function silence() {
  const calling = desk.calling;
  if (!calling.length) return say(gettext("Nothing sounds."));
  silenced = new Map(calling.map((one) => [one.alarm_id, one.rings]));
  link.tell("silence", [...silenced]);
  send("silence", {});
  say(gettext("Silenced here until the next call. NOT acknowledged."));
  draw();
}

function say(text, refused = false) {
  const line = make("p", refused ? "refused" : "", text);
  el("said").append(line);
  setTimeout(() => line.remove(), SAID_MS);
}

// --- what is shown --------------------------------------------------------------------------

let drawing = 0;
function draw() {
  if (drawing) return;
  // A hidden page draws no frames, but its tone has to follow all the same.
  ring();
  drawing = requestAnimationFrame(() => {
    drawing = 0;
    drawNow();
  });
}

function drawNow() {
  drawBanners();
  drawList();
  drawFaults();
  drawMap();
  drawCase();
  const contacts = document.querySelector("#ask[open] .contacts");
  if (contacts) contacts.textContent = contactsOf();
  tick();
}

function ring() {
  const unheard = desk.calling.filter((one) => (silenced.get(one.alarm_id) ?? -1) < one.rings);
  if (!unheard.length) sound.play(null);
  else sound.play(unheard.some((one) => now() - one.raised_ms > config.second_tone_s * 1000) ? "late" : "panic");
  if (!desk.calling.length) document.title = "Kentongan";
}

function drawBanners() {
  const lines = [];
  if (isSignedOut) {
    const again = make("a", "", gettext("Log in again"));
    again.href = "/login/";
    lines.push(make("p", "", gettext("SIGNED OUT: this screen shows nothing new."), again));
  }
  if (signedIn.user_id !== config.user_id) {
    const again = make("a", "", gettext("Load anew"));
    again.href = "/";
    lines.push(make("p", "", interpolate(gettext("In this browser %s has signed in: what is done here stands in the record as theirs, not as %s's."), [signedIn.user, config.user]), again));
  }
  if (!sound.isRunning) {
    const button = make("button", "", gettext("Turn sound on"));
    button.onclick = soundOn;
    button.id = "sound-on";
    lines.push(make("p", "sound-off", gettext("SOUND OFF: nobody will hear a call at this console."), button));
  }
  for (const one of desk.faults ?? []) lines.push(make("p", "", `${faultWord(one.name)} (${clock(one.since_ms)}) ${one.detail}`));
  if (desk.reason) lines.push(make("p", "", `${gettext("Orders do not get through:")} ${desk.reason}`));
  if (desk.leftOut) lines.push(make("p", "", interpolate(gettext("%s more open alarms do not fit on this screen."), [desk.leftOut])));
  const look = lines.map((one) => one.textContent).join("|");
  const on = shift?.on_shift.map((one) => one.name).join(", ");
  el("on-shift").textContent = shift ? `${gettext("On shift:")} ${on || gettext("nobody")}` : "";
  el("shift").hidden = !may("shift_began") || !shift || shift.is_on_shift;
  if (el("banners").dataset.look !== look) {
    el("banners").dataset.look = look;
    el("banners").replaceChildren(...lines);
  }
}

async function soundOn() {
  await sound.enable();
  sound.chime("hello");
  tellScreen();
}

// Sound on, and from now on this person answers for what comes in.
async function startShift() {
  await soundOn();
  let why = gettext("NOT SENT: the site does not answer. Try again.");
  try {
    const answer = await post("/shift/begin", new URLSearchParams({ screen }), { Accept: "application/json" });
    if (answer.ok) return lookUpShift();
    if (answer.isSignedOut) why = gettext("NOT SENT: you are signed out. Log in again.");
    else why = answer.headers.get("Content-Type")?.includes("json") ? (await answer.json()).why : `${answer.status}`;
  } catch {
    // `why` says it.
  }
  say(`${actionWord("shift_began")}: ${why}`, true);
}

async function tellScreen() {
  try {
    const answer = await postJson("/screen", { screen, sound: sound.isRunning });
    const before = [isSignedOut, signedIn.user_id].join();
    if (answer.ok) signedIn = await answer.json();
    if (answer.ok || answer.isSignedOut) isSignedOut = answer.isSignedOut;
    if ([isSignedOut, signedIn.user_id].join() !== before) draw();
  } catch {
    // The chain in the bar shows that the site does not answer.
  }
}

function drawList() {
  const rows = [];
  for (const group of desk.open) {
    if (group.near) rows.push(nearRow(group.near));
    rows.push(...group.alarms.map(alarmRow));
  }
  keep(el("alarms"), rows);
  const calling = desk.calling.length;
  const open = desk.open.reduce((sum, one) => sum + one.alarms.length, 0);
  el("count").textContent = open ? interpolate(gettext("%s open, %s unanswered"), [open, calling]) : "";
  el("quiet").hidden = open > 0 || !pictured;
  const over = desk.over;
  keep(el("over"), el("over-box").open ? over.map(alarmRow) : []);
  el("over-count").textContent = over.length;
}

// Keeps the elements that have not changed, so that the focus stays where it is.
function keep(list, rows) {
  const held = new Map([...list.children].map((one) => [one.dataset.key, one]));
  const wanted = rows.map(({ key, look, build }) => {
    const old = held.get(key);
    if (old?.dataset.look === look) return old;
    const fresh = build();
    [fresh.dataset.key, fresh.dataset.look] = [key, look];
    if (old?.contains(document.activeElement)) queueMicrotask(() => fresh.querySelector("button")?.focus());
    return fresh;
  });
  const gone = new Set(wanted);
  for (const one of [...list.children]) if (!gone.has(one)) one.remove();
  wanted.forEach((one, n) => list.children[n] !== one && list.insertBefore(one, list.children[n] ?? null));
}

function nearRow(names) {
  const text = interpolate(gettext("%s posts near each other are calling: %s"), [names.length, names.join(", ")]);
  return { key: `near ${names.join()}`, look: text, build: () => make("li", "near", text) };
}

function alarmRow(alarm) {
  const isChosen = chosen?.alarm === alarm.alarm_id;
  const meaning = meaningOf(alarm);
  const post = desk.posts.get(alarm.post);
  const look = JSON.stringify([alarm, isChosen, desk.sending(alarm), post?.name, post?.kelurahan, post?.connection]);
  return {
    key: alarm.alarm_id,
    look,
    build() {
      const age = make("span", "age");
      age.dataset.since = alarm.raised_ms;
      if (meaning === "calling") age.dataset.target = config.targets.acknowledge_s;
      const button = make("button", "alarm", mark(meaning), make("span", "place", placeName(alarm)), meaning === "over" ? make("span", "age", clock(alarm.raised_ms)) : age, make("span", "what", what(alarm, meaning)), tags(alarm));
      button.type = "button";
      button.setAttribute("aria-current", isChosen);
      button.dataset.alarm = alarm.alarm_id;
      button.onclick = () => choose({ alarm: alarm.alarm_id }, { zoom: true });
      return make("li", "", button);
    },
  };
}

function placeName(alarm) {
  return alarm.post_name ?? desk.nameOf(alarm.post);
}

function what(alarm, meaning) {
  const where = desk.posts.get(alarm.post)?.kelurahan;
  const area = where ? `${where.name} · ` : "";
  const who = { acknowledged: alarm.reached.acknowledged?.operator, dispatched: alarm.unit, over: alarm.outcome && outcomeWord(alarm.outcome) }[meaning];
  return `${area}${word(meaning)}${who ? `: ${who}` : ""}`;
}

function tags(alarm) {
  const box = make("span", "more");
  const tag = (text, kind = "") => box.append(make("span", `tag ${kind}`, text));
  if (alarm.kind !== "panic") tag(kindWord(alarm.kind));
  if (alarm.repeats) tag(interpolate(ngettext("repeated %s time", "repeated %s times", alarm.repeats), [alarm.repeats]), alarm.is_answered ? "" : "loud");
  if (alarm.late_repeats) tag(gettext("called again after the answer"), "loud");
  if (alarm.follows) tag(interpolate(gettext("follows the call of %s"), [desk.alarms.has(alarm.follows) ? clock(desk.alarms.get(alarm.follows).raised_ms) : "…"]));
  if (alarm.is_late) tag(interpolate(gettext("raised %s min before it was heard here"), [Math.round(alarm.late_s / 60)]), "loud");
  if (alarm.cancel_requested_ms) tag(interpolate(gettext("post asks to cancel (%s): not closed"), [clock(alarm.cancel_requested_ms)]));
  const connection = desk.posts.get(alarm.post)?.connection;
  if (connection === "silent") tag(gettext("post silent now"), "loud");
  for (const one of desk.sending(alarm)) tag(interpolate(gettext("sending: %s …"), [actionWord(one)]), "going");
  if (alarm.on_scene.length) tag(interpolate(gettext("on scene %s"), [clock(alarm.on_scene[0].at_ms)]));
  else if (alarm.on_the_way.length) tag(interpolate(gettext("on the way %s"), [clock(alarm.on_the_way[0].at_ms)]));
  for (const one of alarm.assists) tag(interpolate(gettext("asked to help: %s"), [one.unit_name]));
  const heard = alarm.confirmed.at(-1);
  if (heard) tag(interpolate(gettext("by phone: %s"), [resultWord(heard.result)]));
  if (alarm.messages.length) tag(interpolate(ngettext("%s message", "%s messages", alarm.messages.length), [alarm.messages.length]));
  return box;
}

function drawFaults() {
  const rows = faultRows(desk, now());
  keep(el("faults"), rows.map((one) => ({
    key: one.key,
    look: JSON.stringify([one, chosen?.fault === one.key, one.posts.map((post) => desk.nameOf(post))]),
    build() {
      const age = make("span", "age");
      age.dataset.since = one.raised_ms;
      const button = make("button", `fault ${one.state}`, make("span", "what", faultTitle(one)), age, make("span", "more", faultState(one)));
      button.type = "button";
      button.setAttribute("aria-current", chosen?.fault === one.key);
      button.onclick = () => choose({ fault: one.key });
      return make("li", "", button);
    },
  })));
  const fresh = rows.filter((one) => one.state === "new").length;
  el("fault-count").textContent = rows.length ? interpolate(gettext("%s, %s new"), [rows.length, fresh]) : "";
}

function faultTitle(one) {
  const times = one.count > 1 ? ` ×${one.count}` : "";
  if (one.posts.length === 1 && one.gateway === null) return `${desk.nameOf(one.posts[0])}: ${faultWord(one.fault)}${times}`;
  if (one.posts.length) return interpolate(ngettext("%s post became silent together with others", "%s posts became silent together", one.posts.length), [one.posts.length]);
  return `${gettext("Gateway")} ${one.gateway}: ${faultWord(one.fault)}${times}`;
}

function faultState(one) {
  if (one.state === "shelved") return interpolate(gettext("shelved until %s (%s): %s"), [`${day(one.shelf.shelved_until_ms)} ${clock(one.shelf.shelved_until_ms)}`, one.shelf.shelved_by, one.shelf.shelved_why]);
  if (one.state === "acknowledged") return interpolate(gettext("seen by %s, %s"), [one.said.acknowledged_by, clock(one.said.acknowledged_ms)]);
  return gettext("new");
}

function chosenFault() {
  return chosen?.fault ? faultRows(desk, now()).find((one) => one.key === chosen.fault) : undefined;
}

function faultParts(one) {
  const doing = make("div", "doing");
  for (const [action, key] of FAULT_KEYS) {
    if (!canDoFault(action, one)) continue;
    const button = make("button", action === "fault_acknowledge" ? "strong" : "", make("span", "key", key), ` ${actionWord(action)}`);
    button.type = "button";
    button.dataset.do = action;
    button.onclick = () => performOnFault(action);
    doing.append(button);
  }
  const posts = make("ul", "faults", ...one.posts.map((post) => {
    const button = make("button", "", desk.nameOf(post));
    button.type = "button";
    button.onclick = () => choose({ post }, { zoom: true, focus: true });
    return make("li", "", button);
  }));
  const since = make("span", "since");
  since.dataset.since = one.raised_ms;
  return [
    headOf(faultTitle(one), one.fault === "silent" || one.fault === "gateway_silent" ? "silent" : "faulty"),
    make("p", "", since),
    make("p", "", interpolate(gettext("since %s"), [`${day(one.raised_ms)} ${clock(one.raised_ms)}`])),
    make("p", "", one.count > 1 ? interpolate(gettext("It has come and gone %s times since."), [one.count]) : ""),
    make("p", "", faultState(one)),
    doing,
    ...(one.posts.length ? [make("h3", "", gettext("Posts")), posts] : []),
  ];
}

function canDoFault(action, one) {
  if (!one || !may(action)) return false;
  if (action === "fault_acknowledge") return one.state === "new";
  return (action === "fault_unshelve") === (one.state === "shelved");
}

function performOnFault(action) {
  const one = chosenFault();
  if (!one) return say(gettext("Choose a fault first (F)."));
  const wanted = action === "fault_shelve" && one.state === "shelved" ? "fault_unshelve" : action;
  if (!canDoFault(wanted, one)) return say(interpolate(gettext("Not possible here: %s"), [actionWord(wanted)]));
  if (wanted !== "fault_shelve") return send(wanted, { fault: one.key });
  const select = make("select");
  for (const [hours, text] of [[1, gettext("1 hour")], [8, gettext("8 hours")], [24, gettext("1 day")], [168, gettext("7 days")], [720, gettext("30 days")]]) {
    const option = make("option", "", text);
    [option.value, option.selected] = [hours, hours === 8];
    select.append(option);
  }
  const note = make("textarea");
  [note.maxLength, note.required] = [200, true];
  ask(actionWord(wanted), [make("p", "", faultTitle(one)), labelled(gettext("For how long"), select, "hours"), labelled(gettext("Why"), note, "note")], gettext("Shelve it"), (form) =>
    send(wanted, { fault: one.key, hours: Number(form.get("hours")), note: form.get("note").replace(/\s+/g, " ").trim() }));
}

function toFaults() {
  el("fault-box").open = true;
  (document.querySelector('#faults [aria-current="true"]') ?? document.querySelector("#faults button") ?? el("fault-box").firstElementChild).focus();
}

function pastFaults(lives) {
  return make("ol", "history", ...lives.map((one) => {
    const who = one.acknowledged_by ? ` · ${interpolate(gettext("seen by %s, %s"), [one.acknowledged_by, clock(one.acknowledged_ms)])}` : "";
    const text = `${faultWord(one.fault)}${one.count > 1 ? ` ×${one.count}` : ""} · ${span(one.cleared_ms - one.raised_ms)}${who}`;
    return make("li", "", make("time", "", `${day(one.raised_ms)} ${clock(one.raised_ms)}`), make("span", "", text));
  }));
}

function faultsOf(post) {
  const said = { new: gettext("new"), acknowledged: gettext("seen"), shelved: gettext("shelved") };
  return (post.lives ?? []).map((one) => `${faultWord(one.fault)}${one.count > 1 ? ` ×${one.count}` : ""} (${day(one.raised_ms)} ${clock(one.raised_ms)}, ${said[stateOf([one], now())]})`).join("\n");
}

function drawMap() {
  const open = desk.open.flatMap((one) => one.alarms);
  const calling = new Set(open.map((one) => one.post));
  map.show(
    open.map((one) => ({ id: one.alarm_id, meaning: meaningOf(one), label: placeName(one), lat: one.location.lat, lon: one.location.lon, chosen: chosen?.alarm === one.alarm_id })),
    [...desk.posts.values()].filter((one) => one.lat !== null && !calling.has(one.post)).map((one) => ({ id: one.post, meaning: meaningOfPost(one), label: one.name, lat: one.lat, lon: one.lon })),
  );
}

function drawCase() {
  const box = el("case");
  const alarm = desk.alarms.get(chosen?.alarm);
  const post = desk.posts.get(chosen?.post ?? alarm?.post);
  const fault = chosenFault();
  if (!alarm && !post && !fault) chosen = null;
  box.hidden = !chosen;
  el("desk").classList.toggle("with-case", Boolean(chosen));
  if (!chosen) return;
  const look = JSON.stringify([alarm, post, card, alarm && desk.sending(alarm), fault]);
  if (box.dataset.look === look) return;
  box.dataset.look = look;
  const focused = box.contains(document.activeElement) ? document.activeElement.dataset.do : null;
  if (fault) box.replaceChildren(...faultParts(fault));
  else box.replaceChildren(...(alarm ? caseParts(alarm) : []), ...postParts(post ?? { post: alarm.post, name: alarm.post, faults: [] }, !alarm));
  if (focused) box.querySelector(`[data-do="${focused}"]`)?.focus();
}

function headOf(title, meaning) {
  const heading = make("h2", "", title);
  heading.id = "case-title";
  const close = make("button", "close", make("span", "key", "Esc"));
  close.type = "button";
  close.setAttribute("aria-label", gettext("Close"));
  close.onclick = () => choose(null);
  return make("div", "head", mark(meaning), heading, close);
}

function caseParts(alarm) {
  const meaning = meaningOf(alarm);
  const since = make("span", "since");
  since.dataset.since = alarm.raised_ms;
  const known = { computed: "", post_clock: gettext("by the post's clock"), before: gettext("at the latest: nobody knows how long before") }[alarm.raised_known];
  const doing = make("div", "doing");
  const orderly = make("div", "doing orders");
  for (const [action, key] of [...Object.entries(orders), ["on_the_way", "W"], ["on_scene", "O"], ["confirm_by_phone", "Y"], ["ask_assist", "I"], ["message", "M"], ["note", "N"], ["correction", "C"]]) {
    const isOrder = action in orders;
    // What has been done stays where it was: the next one must not come to lie under the finger.
    if (!may(action) || (isOrder && !canDo(action, alarm) && (action === "panic" || !alarm.is_open))) continue;
    if (["on_the_way", "on_scene", "confirm_by_phone", "ask_assist"].includes(action) && !alarm.is_open) continue;
    if (action === "correction" && alarm.is_open) continue;
    const button = make("button", { acknowledge: "urgent", dispatch: "strong" }[action] ?? "", make("span", "key", key), ` ${actionWord(action)}`);
    button.type = "button";
    button.dataset.do = action;
    button.disabled = isOrder && !canDo(action, alarm);
    button.onclick = () => perform(action);
    (isOrder ? orderly : doing).append(button);
  }
  const where = alarm.location;
  const source = { gps: gettext("GPS"), last_known: gettext("last known GPS fix"), surveyed: gettext("surveyed") }[where.source];
  const age = where.age_s === null ? "" : `, ${span(where.age_s * 1000)}`;
  const accuracy = where.accuracy_m === null ? "" : `, ±${Math.round(where.accuracy_m)} m`;
  return [
    headOf(placeName(alarm), meaning),
    make("p", "", `${kindWord(alarm.kind)} · ${word(meaning)}`),
    make("p", "", meaning === "over" ? "" : since),
    make("p", "", `${gettext("Raised")} ${clock(alarm.raised_ms)} WIB ${known}`),
    ...placeLines(alarm),
    tags(alarm),
    orderly,
    doing,
    make("div", "resident", make("strong", "", gettext("What the resident sees now")), make("p", "", resident(alarm))),
    make("p", "", `${gettext("Place")}: ${where.lat.toFixed(5)}, ${where.lon.toFixed(5)} (${source}${age}${accuracy})`),
    ...threadOf(alarm),
    make("h3", "", gettext("What has happened")),
    historyOf(alarm),
  ];
}

// Where to send somebody, and whom to call there.
function placeLines(alarm) {
  const post = desk.posts.get(alarm.post);
  const address = [post?.address, post?.kelurahan?.name, post?.rw && `RW ${post.rw}`].filter(Boolean).join(", ");
  const contacts = card?.post?.contacts;
  return [address && make("p", "place", address), contacts && make("p", "contacts", `${gettext("Contacts")}: ${contacts}`)].filter(Boolean);
}

// What the command centre, the Polsek and the officer write to each other about this case.
function threadOf(alarm) {
  if (!alarm.messages.length) return [];
  const lines = alarm.messages.map((one) => make("li", "", make("time", "", clock(one.at_ms)), make("span", "", make("strong", "", `${one.operator}, ${roleWord(one.role)}`), ` ${one.note}`)));
  return [make("h3", "", gettext("Messages")), make("ol", "history thread", ...lines)];
}

function resident(alarm) {
  const post = desk.posts.get(alarm.post);
  if (post?.connection !== "online") return gettext("Not known: the post is not heard. Its lamp may be out of order; the card beside it says to call 110.");
  if (alarm.state === "resolved") return gettext("Lamp pulses slowly (armed).");
  if (alarm.is_answered) {
    const heard = alarm.sounded_ms ? interpolate(gettext("the buzzer sounded at %s"), [clock(alarm.sounded_ms)]) : gettext("the post has not yet said that its buzzer sounded");
    return `${gettext("Lamp steady (answered)")}; ${heard}.`;
  }
  return gettext("Lamp flashes fast (calling). Nobody has told them yet that they were heard.");
}

function historyOf(alarm) {
  const lines = [[alarm.raised_ms, stateWord("raised"), ""]];
  for (const [state, reached] of Object.entries(alarm.reached)) {
    if (reached) {
      const more = { dispatched: alarm.unit, resolved: alarm.outcome && outcomeWord(alarm.outcome) }[state];
      lines.push([reached.at_ms, [stateWord(state), more].filter(Boolean).join(": "), [reached.operator, state === "resolved" && alarm.note].filter(Boolean).join(" — ")]);
    }
  }
  if (alarm.last_repeat_ms) lines.push([alarm.last_repeat_ms, interpolate(gettext("pressed again (%s in all)"), [alarm.repeats]), ""]);
  if (alarm.cancel_requested_ms) lines.push([alarm.cancel_requested_ms, gettext("post asks to cancel"), ""]);
  if (alarm.sounded_ms) lines.push([alarm.sounded_ms, gettext("the buzzer sounded at the post"), ""]);
  if (alarm.closed_here_ms) lines.push([alarm.closed_here_ms, gettext("closed here: no gateway knows it any more"), ""]);
  for (const entry of card?.history ?? []) {
    const told = entry.action === "told" ? [entry.detail.by, entry.detail.delivered ? "" : gettext("NOT DELIVERED")] : [];
    if (entry.action === "message") continue; // in the thread
    const words = [entry.detail.unit_name, entry.detail.result && resultWord(entry.detail.result), entry.detail.outcome && outcomeWord(entry.detail.outcome), entry.detail.note, ...told].filter(Boolean);
    lines.push([entry.at_ms, `${entry.command_id ? gettext("ordered:") : ""} ${actionWord(entry.action)}`, [entry.operator, ...words].join(" — ")]);
  }
  for (const one of alarm.refusals) lines.push([one.at_ms, `${gettext("refused:")} ${actionWord(one.action)}`, `${one.operator} — ${refusedWord(one)}`]);
  lines.sort((a, b) => a[0] - b[0]);
  return make("ol", "history", ...lines.map(([at, text, who]) => make("li", "", make("time", "", clock(at)), make("span", "", who ? `${text} · ${who}` : text))));
}

function postParts(post, alone) {
  const details = card?.post;
  const rows = make("dl");
  const row = (name, value) => value && rows.append(make("dt", "", name), make("dd", "", value));
  row(gettext("Post"), post.post);
  row(gettext("Kelurahan"), [post.kelurahan?.name, post.kecamatan?.name, post.rw && `RW ${post.rw}`].filter(Boolean).join(", "));
  if (alone) row(gettext("Address"), post.address);
  row(gettext("Unit"), desk.units.find((one) => one.unit === post.unit)?.name);
  if (alone) row(gettext("Contacts"), details?.contacts);
  row(gettext("On duty"), details?.officers?.map((one) => [one.rank, one.name, one.phone].filter(Boolean).join(" ")).join("\n"));
  row(gettext("Notes"), details?.notes);
  row(gettext("Connection"), post.connection && connectionWord(post.connection));
  row(gettext("Last heard"), post.last_seen_ms && `${day(post.last_seen_ms)} ${clock(post.last_seen_ms)}`);
  row(gettext("Faults"), faultsOf(post));
  row(gettext("Test window"), post.test_window && interpolate(gettext("until %s (%s)"), [clock(post.test_window.until_ms), post.test_window.opened_by]));
  row(gettext("Planned silence"), post.maintenance && interpolate(gettext("until %s (%s)"), [clock(post.maintenance.until_ms), post.maintenance.by]));
  row(gettext("Firmware"), post.firmware);
  const outcomes = Object.entries(details?.outcomes ?? {}).map(([name, count]) => `${name === "none" ? gettext("no outcome") : outcomeWord(name)} ${count}`);
  row(gettext("Earlier alarms"), outcomes.join(", "));
  const parts = [make("h3", "", gettext("The post")), rows];
  if (details?.photo) {
    const photo = make("img", "photo");
    [photo.src, photo.alt] = [details.photo, gettext("Photo of the site")];
    parts.push(photo);
  }
  if (details?.past_faults?.length) parts.push(make("h3", "", gettext("Earlier faults")), pastFaults(details.past_faults));
  if (!alone) return parts;
  const doing = make("div", "doing");
  for (const [action, key] of [["note", "N"], [post.test_window ? "close_test" : "open_test", "E"]]) {
    if (!may(action)) continue;
    const button = make("button", "", make("span", "key", key), ` ${actionWord(action)}`);
    button.type = "button";
    button.dataset.do = action;
    button.onclick = () => perform(action);
    doing.append(button);
  }
  return [headOf(post.name, meaningOfPost(post)), make("p", "", word(meaningOfPost(post))), doing, ...parts];
}

function listPosts() {
  el("posts").replaceChildren(...[...desk.posts.values()].map((one) => {
    const option = make("option", "", one.name);
    option.value = `${one.name} (${one.post})`;
    return option;
  }));
}

function find(text) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return;
  const every = [...desk.posts.values()];
  const label = (one) => `${one.name} (${one.post})`.toLowerCase();
  const found = every.find((one) => label(one) === wanted) ?? every.find((one) => label(one).includes(wanted));
  if (!found) return say(interpolate(gettext("No post is called %s."), [text]));
  el("find").value = "";
  choose({ post: found.post }, { zoom: true, focus: true });
}

// --- how live it is -------------------------------------------------------------------------

function chain() {
  const said = pulse ? (performance.now() - pulseAt) / 1000 : null;
  const stale = link.isStale;
  const links = [[gettext("Site"), link.ageS, stale ? "bad" : "good", ""]];
  if (!pulse) return links;
  const aged = (age) => (age === null || age === undefined ? null : age + said);
  if (!pulse.database) links.push([gettext("Database"), null, "bad", gettext("does not answer")]);
  const ingest = pulse.processes.find((one) => one.name === "ingest");
  const age = aged(ingest?.age_s);
  const dead = !ingest || age > INGEST_SILENT_S;
  links.push([gettext("Ingest"), age, stale ? "unsure" : dead ? "bad" : "good", ingest ? "" : gettext("never seen")]);
  const up = ingest?.body.link_up;
  links.push([gettext("Broker"), age, stale || dead ? "unsure" : up ? "good" : "bad", up ? "" : ingest?.body.link_reason ?? ""]);
  for (const one of desk.gateways ?? []) {
    const sure = !stale && !dead && up;
    const state = !sure || one.liveness === "unknown" ? "unsure" : one.liveness === "online" ? "good" : "bad";
    links.push([`${gettext("Gateway")} ${one.gateway}`, age, state, one.liveness === "online" && sure ? "" : connectionWord(sure ? one.liveness : "unknown")]);
  }
  if (!desk.gateways?.length) links.push([gettext("Gateway"), null, "unsure", gettext("none heard of")]);
  return links;
}

// Once a second: every clock, every age.
function tick() {
  el("clock").textContent = `${day(now())} ${clock(now())} WIB`;
  for (const one of document.querySelectorAll("[data-since]")) {
    const ms = now() - Number(one.dataset.since);
    one.textContent = span(ms);
    one.classList.toggle("late", Boolean(one.dataset.target) && ms > Number(one.dataset.target) * 1000);
  }
  const items = chain().map(([name, age, state, why]) => {
    const word = { good: gettext("live"), bad: gettext("DOWN"), unsure: gettext("not known") }[state];
    const item = make("li", state, `${name}: ${why || word}${age === null ? "" : ` · ${Math.round(age)} s`}`);
    item.title = `${name}: ${word} ${why}`;
    return item;
  });
  el("chain").replaceChildren(...items);
  const stale = link.isStale && pictured;
  // Whoever looks elsewhere has to hear that this screen shows nothing new.
  if (stale && !document.body.classList.contains("is-stale")) sound.chime("fault");
  document.body.classList.toggle("is-stale", stale);
  el("stale").hidden = !stale;
  if (stale) el("stale").textContent = interpolate(gettext("NOT LIVE since %s: the site does not answer."), [clock(link.heardWall + offset)]);
  ring();
}

// --- keys -----------------------------------------------------------------------------------

const KEYS = [
  ["↑ ↓", gettext("the alarm above, below")],
  ["Enter", gettext("zoom to it and open its case")],
  ["A", actionWord("acknowledge")],
  ["D", actionWord("dispatch")],
  ["R", actionWord("resolve")],
  ["P", actionWord("panic")],
  ["W", actionWord("on_the_way")],
  ["O", actionWord("on_scene")],
  ["Y", actionWord("confirm_by_phone")],
  ["I", actionWord("ask_assist")],
  ["M", actionWord("message")],
  ["N", actionWord("note")],
  ["C", actionWord("correction")],
  ["E", gettext("open or close a test window of the post")],
  ["F", gettext("to the list of faults")],
  ["K", actionWord("fault_acknowledge")],
  ["V", gettext("shelve the fault, or take it off the shelf")],
  ["S", gettext("silence this console until the next call (does not acknowledge)")],
  ["B", gettext("turn sound on")],
  ["T", gettext("start your shift")],
  ["Z", gettext("zoom to the chosen alarm or post")],
  ["X", gettext("zoom to all open alarms")],
  ["H", gettext("the whole city")],
  ["/", gettext("find a post")],
  ["Esc", gettext("close")],
  ["?", gettext("these keys")],
];

function showKeys() {
  const dialog = el("keys");
  const heading = make("h2", "", gettext("Keys"));
  heading.id = "keys-title";
  const rows = make("dl", "", ...KEYS.flatMap(([key, text]) => [make("dt", "", make("span", "key", key)), make("dd", "", text)]));
  const close = make("button", "strong", gettext("Close"));
  close.onclick = () => dialog.close();
  dialog.replaceChildren(heading, rows, make("div", "row", close));
  dialog.showModal();
}

function move(by) {
  const order = desk.open.flatMap((one) => one.alarms);
  if (!order.length) return;
  const at = order.findIndex((one) => one.alarm_id === chosen?.alarm);
  const next = order[at < 0 ? 0 : Math.min(order.length - 1, Math.max(0, at + by))];
  choose({ alarm: next.alarm_id });
  document.querySelector(`.alarm[data-alarm="${next.alarm_id}"]`)?.scrollIntoView({ block: "nearest" });
}

const does = {
  ArrowDown: () => move(1),
  ArrowUp: () => move(-1),
  Enter: () => (chosen ? (zoomToChosen(), el("case").focus()) : move(0)),
  a: () => perform("acknowledge"),
  d: () => perform("dispatch"),
  r: () => perform("resolve"),
  p: () => perform("panic"),
  w: () => perform("on_the_way"),
  o: () => perform("on_scene"),
  y: () => perform("confirm_by_phone"),
  i: () => perform("ask_assist"),
  m: () => perform("message"),
  n: () => perform("note"),
  c: () => perform("correction"),
  e: () => perform(desk.posts.get(chosen?.post ?? desk.alarms.get(chosen?.alarm)?.post)?.test_window ? "close_test" : "open_test"),
  f: toFaults,
  k: () => performOnFault("fault_acknowledge"),
  v: () => performOnFault("fault_shelve"),
  s: silence,
  b: soundOn,
  t: startShift,
  z: zoomToChosen,
  x: () => map.zoomToAll(desk.open.flatMap((one) => one.alarms).map((one) => desk.placeOf(one))),
  h: () => map.home(),
  "/": () => el("find").focus(),
  "?": showKeys,
  Escape: () => choose(null),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
  const target = event.target;
  if (target.matches("input, select, textarea")) {
    if (event.key === "Escape") target.blur();
    return;
  }
  if (event.key === "Enter" && target.matches("button, a, summary, .leaflet-marker-icon")) return;
  const act = does[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || (event.repeat && !event.key.startsWith("Arrow"))) return;
  event.preventDefault();
  act();
});

el("find").addEventListener("change", () => find(el("find").value));
el("find").addEventListener("keydown", (event) => event.key === "Enter" && find(el("find").value));
el("shift").onclick = startShift;
el("silence").onclick = silence;
el("help").onclick = showKeys;
// The console stays where it is.
for (const one of document.querySelectorAll("#pages a")) one.target = "kentongan-page";
el("over-box").addEventListener("toggle", draw);
document.addEventListener("visibilitychange", draw);
setInterval(tick, 1000);
setInterval(tellScreen, SCREEN_EVERY_MS);
draw();
link.start();
