// The view for telephones. Pickets: the open alarms of the own area, "on the way", "on scene", the way
// there. Officers: the cases of the own kelurahan, also those that are over, and what is written there.
import { Desk, meaningOf } from "./desk.js";
import { Link, postJson } from "./link.js";
import { mark, word } from "./marks.js";
import { actionWord, clock, day, make, outcomeWord, roleWord, span } from "./words.js";

const config = JSON.parse(document.getElementById("config").textContent);
const el = (id) => document.getElementById(id);
const isPicket = config.actions.includes("on_scene");
const screen = (sessionStorage.screen ??= crypto.randomUUID());

const desk = new Desk();
let [offset, pictured, isSignedOut, pulse] = [0, false, false, null];
const now = () => Date.now() + offset;

const link = new Link(config.user_id, {
  onPicture(picture) {
    [pictured, isSignedOut, offset] = [true, false, picture.at_ms - Date.now()];
    desk.alarms = new Map(picture.alarms.map((one) => [one.alarm_id, one]));
    desk.posts = new Map(picture.posts.map((one) => [one.post, one]));
    draw();
  },
  onStep(steps) {
    for (const { kind, key, value } of steps) {
      const held = { alarm: desk.alarms, post: desk.posts }[kind];
      if (!held) continue;
      if (kind === "alarm" && value && !desk.alarms.has(key)) navigator.vibrate?.([400, 150, 400]);
      if (value) held.set(key, value);
      else held.delete(key);
    }
    draw();
  },
  onPulse(said) {
    // Somebody else has signed in beside this page: it becomes theirs.
    if (said.user_id !== config.user_id) return location.reload();
    [offset, pulse] = [said.at_ms - Date.now(), said];
    tick();
  },
  onRefused() {
    isSignedOut = true;
    // Whoever drives to a call needs its place all the same.
    if (!isPicket) desk.alarms.clear();
    draw();
  },
});

async function send(action, alarm, button, more = {}) {
  button.disabled = true;
  let [refused, why] = [true, gettext("NOT SENT: the site does not answer. Try again.")];
  try {
    const answer = await postJson("/do", { action, screen, alarm_id: alarm.alarm_id, ...more });
    refused = !answer.ok;
    if (answer.isSignedOut) {
      isSignedOut = true;
      why = gettext("NOT SENT: you are signed out. Log in again.");
    } else why = answer.ok ? gettext("Noted.") : ((await answer.json()).why ?? answer.status);
  } catch {
    // `why` says it.
  }
  button.disabled = false;
  const line = make("p", refused ? "refused" : "", `${actionWord(action)}: ${why}`);
  el("said").append(line);
  setTimeout(() => line.remove(), 6000);
  return !refused;
}

function draw() {
  const open = desk.open.flatMap((one) => one.alarms);
  const typing = document.activeElement?.matches(".cards input") && document.activeElement.closest("li").dataset.alarm;
  lay(el("alarms"), open);
  el("quiet").hidden = open.length > 0 || !pictured || isSignedOut;
  if (el("over")) {
    const over = desk.over;
    lay(el("over"), over);
    el("over-count").textContent = over.length;
    el("over-box").hidden = !over.length;
  }
  if (typing && document.activeElement === document.body) {
    // Its card was made anew, or has moved to those that are over.
    const card = document.querySelector(`.cards > [data-alarm="${typing}"]`);
    card?.closest("details")?.setAttribute("open", "");
    card?.querySelector("input")?.focus();
  }
  tick();
}

// Made anew only when something has changed: a finger may be on a button.
function lay(list, alarms) {
  const look = JSON.stringify([alarms, alarms.map((one) => desk.posts.get(one.post))]);
  if (list.dataset.look === look) return;
  list.dataset.look = look;
  list.replaceChildren(...alarms.map(cardOf));
}

function cardOf(alarm) {
  const meaning = meaningOf(alarm);
  const post = desk.posts.get(alarm.post);
  const isOver = meaning === "over";
  const at = (ms) => (isOver ? `${day(ms)} ${clock(ms)}` : clock(ms));
  const since = make("p", "since", isOver && at(alarm.raised_ms));
  if (!isOver) since.dataset.since = alarm.raised_ms;
  const { lat, lon } = alarm.location;
  const name = alarm.post_name ?? alarm.post;
  const go = make("a", "go", gettext("Navigate"));
  go.href = `geo:${lat},${lon}?q=${lat},${lon}(${encodeURIComponent(name)})`;
  const going = ["on_the_way", "on_scene"].map((action) => {
    const said = alarm[action].at(-1);
    if (!config.actions.includes(action)) return said && make("p", "", `✓ ${actionWord(action)}: ${said.operator} ${at(said.at_ms)}`);
    const button = make("button", action === "on_the_way" ? "strong" : "", said ? `✓ ${actionWord(action)} ${clock(said.at_ms)}` : actionWord(action));
    button.type = "button";
    button.onclick = () => send(action, alarm, button);
    return button;
  });
  const area = [post?.kelurahan?.name, post?.rw && `RW ${post.rw}`].filter(Boolean).join(", ");
  const box = make(
    "li",
    meaning,
    make("div", "head", mark(meaning), make("h3", "", name)),
    make("p", "", [word(meaning), alarm.outcome && outcomeWord(alarm.outcome), alarm.unit].filter(Boolean).join(": ")),
    since,
    area && make("p", "", area),
    post?.address && make("p", "", post.address),
    alarm.cancel_requested_ms && make("p", "", isPicket ? gettext("The post asks to cancel. Go all the same unless you are told otherwise.") : gettext("The post asks to cancel: that closes nothing.")),
    alarm.assists.map((one) => one.unit_name).includes(config.unit) && make("p", "", gettext("Your unit is asked to help.")),
    go,
    make("div", isPicket ? "row" : "", ...going),
    ...alarm.messages.map((one) => make("p", "said-line", make("strong", "", `${one.operator}, ${roleWord(one.role)} ${at(one.at_ms)}`), ` ${one.note}`)),
    config.actions.includes("message") && messageForm(alarm),
  );
  box.dataset.alarm = alarm.alarm_id;
  return box;
}

// What is being typed outlives a redrawing of the cards.
const drafts = new Map();

function messageForm(alarm) {
  const text = make("input");
  [text.type, text.maxLength, text.value] = ["text", 200, drafts.get(alarm.alarm_id) ?? ""];
  text.setAttribute("aria-label", gettext("Message about this case"));
  text.placeholder = gettext("Message about this case");
  text.oninput = () => drafts.set(alarm.alarm_id, text.value);
  const button = make("button", "", gettext("Send"));
  const form = make("form", "row", text, button);
  form.onsubmit = async (event) => {
    event.preventDefault();
    const typed = text.value;
    const note = typed.replace(/\s+/g, " ").trim();
    if (!note || !(await send("message", alarm, button, { note })) || drafts.get(alarm.alarm_id) !== typed) return;
    drafts.delete(alarm.alarm_id);
    // The message itself may have made the card anew meanwhile.
    for (const input of document.querySelectorAll(`[data-alarm="${alarm.alarm_id}"] input`)) input.value = "";
  };
  return form;
}

function tick() {
  for (const one of document.querySelectorAll("[data-since]")) one.textContent = span(now() - Number(one.dataset.since));
  const stale = link.isStale;
  document.body.classList.toggle("is-stale", stale && pictured);
  el("live").classList.toggle("bad", stale || isSignedOut || pulse?.database === false);
  el("again").hidden = !isSignedOut;
  if (isSignedOut) el("live").textContent = gettext("SIGNED OUT: this screen shows nothing new.");
  else if (!pictured) el("live").textContent = gettext("Loading …");
  else if (stale) el("live").textContent = interpolate(gettext("NOT LIVE since %s: the site does not answer."), [clock(link.heardWall + offset)]);
  else el("live").textContent = `${gettext("Live")} · ${clock(now())} WIB`;
}

setInterval(tick, 1000);
tick();
link.start();
