// The view for pickets: the open alarms of the own area, "on the way", "on scene", the way there.
import { Desk, meaningOf } from "./desk.js";
import { Link, postJson } from "./link.js";
import { mark, word } from "./marks.js";
import { actionWord, clock, make, span } from "./words.js";

const config = JSON.parse(document.getElementById("config").textContent);
const el = (id) => document.getElementById(id);
const screen = (sessionStorage.screen ??= crypto.randomUUID());

const desk = new Desk();
let [offset, pictured, isSignedOut, pulse] = [0, false, false, null];
const now = () => Date.now() + offset;

const link = new Link({
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
    [offset, pulse] = [said.at_ms - Date.now(), said];
    tick();
  },
  onRefused() {
    isSignedOut = true;
    tick();
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
  // Rebuilt only when something has changed: a finger may be on a button.
  const look = JSON.stringify([open, open.map((one) => desk.posts.get(one.post))]);
  if (el("alarms").dataset.look !== look) {
    el("alarms").dataset.look = look;
    const typing = document.activeElement?.closest("#alarms > li")?.dataset.alarm;
    const isTyping = document.activeElement?.matches("#alarms input");
    el("alarms").replaceChildren(...open.map(cardOf));
    if (isTyping) el("alarms").querySelector(`[data-alarm="${typing}"] input`)?.focus();
  }
  el("quiet").hidden = open.length > 0 || !pictured;
  tick();
}

function cardOf(alarm) {
  const meaning = meaningOf(alarm);
  const post = desk.posts.get(alarm.post);
  const since = make("p", "since");
  since.dataset.since = alarm.raised_ms;
  const { lat, lon } = alarm.location;
  const name = alarm.post_name ?? alarm.post;
  const go = make("a", "go", gettext("Navigate"));
  go.href = `geo:${lat},${lon}?q=${lat},${lon}(${encodeURIComponent(name)})`;
  const buttons = ["on_the_way", "on_scene"].filter((one) => config.actions.includes(one)).map((action) => {
    const said = alarm[action].at(-1);
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
    make("p", "", word(meaning) + (alarm.unit ? `: ${alarm.unit}` : "")),
    since,
    area && make("p", "", area),
    post?.address && make("p", "", post.address),
    alarm.cancel_requested_ms && make("p", "", gettext("The post asks to cancel. Go all the same unless you are told otherwise.")),
    alarm.assists.map((one) => one.unit_name).includes(config.unit) && make("p", "", gettext("Your unit is asked to help.")),
    go,
    make("div", "row", ...buttons),
    ...alarm.messages.map((one) => make("p", "said-line", make("strong", "", `${one.operator} ${clock(one.at_ms)}`), ` ${one.note}`)),
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
    const note = text.value.replace(/\s+/g, " ").trim();
    if (!note) return;
    if (await send("message", alarm, button, { note })) {
      drafts.delete(alarm.alarm_id);
      text.value = "";
    }
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
