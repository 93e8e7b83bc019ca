// The officers' page: what is written down waits in this browser and is sent when there is a network
// and its officer is signed in. A visit leaves the queue when the server says that it is on its disk,
// and never before; sent twice it is kept once, by its key.
import { Form } from "./form.js";
import { Unusable } from "./picture.js";
import { Queue, QueueFull } from "./queue.js";
import { signedInHere } from "./who.js";

const AGAIN_MS = 20_000;
const ASK_MS = 10_000;
const SEND_MS = 120_000;
const DRAFT_MS = 400;

const config = JSON.parse(document.getElementById("config").textContent);
const element = (id) => document.getElementById(id);
const queue = new Queue(config.queue_max, config.user_id);
const form = new Form(element("visit"), config, { onChange: keepDraftSoon, onWrong: sayWrong });
let keeping = false;
let replaces = null;
let drafting = 0;
// Counts up with each visit that is being kept: a draft of before is not one of after.
let generation = 0;
// Who is signed in as far as the server has said, and while it is asked, a promise. A slow network
// shows the page that was kept last, which may be that of the officer before.
let signedIn = null;
let asking = null;
// Whether something was entered since this page was loaded.
let isTouched = false;
// Whether what stands in the form was entered while its officer was signed in.
let isOwn = false;

// --- the form -----------------------------------------------------------------------------------

element("visit").addEventListener("submit", async (event) => {
  event.preventDefault();
  // Tapped twice it is still one visit.
  if (keeping) return;
  keeping = true;
  try {
    await keep();
    sayWrong("");
  } catch (error) {
    if (error instanceof Unusable) sayWrong(error.message);
    else if (error instanceof QueueFull) sayWrong(interpolate(gettext("%s visits wait already: this one stays in the form until some are sent."), [config.queue_max]));
    else sayWrong(interpolate(gettext("This telephone cannot keep the visit; it stays in the form. (%s)"), [error?.name ?? error]));
    keepDraftSoon();
  } finally {
    keeping = false;
  }
});

async function keep() {
  // The photo that was just chosen belongs to this visit, and the visit to whoever is signed in.
  await asking;
  await form.settled();
  if (isAnothers()) throw new Unusable(anothers());
  const { photo, signature, ...entered } = await form.kept();
  const visit_id = crypto.randomUUID();
  const visit = { visit_id, user_id: config.user_id, ...form.visit() };
  generation += 1;
  // What is sent is this very text, however often.
  const item = { visit_id, user_id: config.user_id, user: config.user, added_ms: Date.now(), body: JSON.stringify(visit), entered, photo, signature, refused: null };
  await queue.add(item, replaces);
  navigator.storage?.persist?.();
  replaces = null;
  form.clear();
  await show();
  element("kept").textContent = gettext("Kept on this telephone.");
  sendAll();
}

function keepDraftSoon() {
  isTouched = true;
  isOwn = signedInHere() === config.user_id;
  element("kept").textContent = "";
  clearTimeout(drafting);
  // Taking a photo may make the telephone close this page: what was entered is there again.
  const begun = generation;
  drafting = setTimeout(async () => {
    try {
      await asking;
      if (isAnothers()) return;
      const draft = { ...(await form.kept()), replaces };
      if (begun === generation) await queue.keepDraft(draft);
    } catch (error) {
      sayWrong(interpolate(gettext("This telephone does not keep what you enter until it is stored. (%s)"), [error?.name ?? error]));
    }
  }, DRAFT_MS);
}

function sayWrong(text) {
  element("wrong").textContent = text;
}

// --- what waits ---------------------------------------------------------------------------------

async function show() {
  const items = await queue.all();
  element("count").textContent = items.length ? interpolate(gettext("Not sent yet: %s of at most %s"), [items.length, config.queue_max]) : gettext("Everything is sent.");
  element("count").classList.toggle("waits", items.length > 0);
  element("queue").replaceChildren(...items.map(line));
  document.title = items.length ? `(${items.length}) ${element("heading").textContent}` : element("heading").textContent;
}

function line(item) {
  const row = document.createElement("li");
  // Of somebody else's no more than that it waits, and for whom.
  if (item.user_id !== config.user_id || isAnothers()) {
    row.textContent = interpolate(gettext("Written down by %s, who has to sign in to send it."), [item.user]);
    return row;
  }
  const visit = JSON.parse(item.body);
  const ward = element("visit").elements.kelurahan.querySelector(`option[value="${CSS.escape(visit.kelurahan)}"]`);
  const what = document.createElement("p");
  what.textContent = [new Date(visit.visited_ms).toLocaleString(document.documentElement.lang, { dateStyle: "short", timeStyle: "short" }), ward?.textContent, visit.name].filter(Boolean).join(" · ");
  row.append(what);
  if (item.refused) {
    const why = document.createElement("p");
    why.className = "wrong";
    why.textContent = `${gettext("The server does not take it:")} ${item.refused.why}`;
    row.append(why);
    // Under this key the server has another visit: changing this one would make a second of it.
    if (item.refused.code !== "already") row.append(button(gettext("Change it"), () => change(item)));
    row.append(button(gettext("Throw it away"), () => throwAway(item)));
  }
  return row;
}

function button(text, onClick) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "plain";
  made.textContent = text;
  made.addEventListener("click", onClick);
  return made;
}

async function change(item) {
  if (form.isBegun && !confirm(gettext("What stands in the form is not kept yet. Put this visit in its place?"))) return;
  const isWhole = await putBack({ ...item.entered, photo: item.photo, signature: item.signature });
  // What could not be read again goes on waiting as it is.
  replaces = isWhole ? item.visit_id : null;
  if (isWhole) sayWrong(item.refused.why);
  keepDraftSoon();
  element("visit").scrollIntoView();
  element("visit").elements.kelurahan.focus();
}

// Whether all of it stands in the form; else it says so, and as much as can be read stands there.
async function putBack(entered) {
  try {
    await form.put(entered);
    return true;
  } catch (error) {
    sayWrong(interpolate(gettext("This telephone cannot read all of what was entered: look whether something is missing. (%s)"), [error?.name ?? error]));
    return false;
  }
}

async function throwAway(item) {
  if (!confirm(gettext("Throw this visit away? Nothing of it is kept."))) return;
  await queue.remove(item.visit_id);
  await show();
}

// --- sending ------------------------------------------------------------------------------------

class Away extends Error {}
class SignIn extends Error {}

// One page of this browser sends at a time; whoever comes second leaves it to the first.
async function sendAll() {
  await navigator.locks.request("kentongan-visits", { ifAvailable: true }, async (lock) => {
    if (!lock) return;
    try {
      const waiting = (await queue.all()).filter((one) => !one.refused);
      if (!waiting.length) {
        sayNetwork("", false);
        // Another page of this browser may have sent what stands here.
        return await show();
      }
      const who = await me();
      const own = waiting.filter((one) => one.user_id === who.user_id);
      let troubled = "";
      for (const one of own) {
        troubled = (await sendOne(one, who.csrf)) || troubled;
        await show();
      }
      sayNetwork(troubled, false);
    } catch (error) {
      if (error instanceof SignIn) sayNetwork(gettext("Sign in again: what waits is sent then."), true);
      else if (error instanceof Away) sayNetwork(gettext("No network: what waits is sent later."), false);
      else throw error;
    }
  });
}

async function ask(path, wait_ms, more = {}) {
  let answer;
  try {
    answer = await fetch(path, { redirect: "manual", cache: "no-store", signal: AbortSignal.timeout(wait_ms), ...more });
  } catch {
    throw new Away();
  }
  if (answer.type === "opaqueredirect") throw new SignIn();
  // Something else than our server may answer where a network wants a password first.
  const said = await answer.json().catch(() => null);
  return { status: answer.status, said };
}

// Who is signed in now, and the token for sending, which a kept page cannot know.
async function me() {
  const { status, said } = await ask(config.me, ASK_MS);
  if (status === 403) throw new SignIn();
  if (status !== 200 || !said?.csrf) throw new Away();
  if (signedIn?.user_id !== said.user_id) {
    signedIn = said;
    await sayWhose();
    // What is slow once more is not loaded for ever.
    const isReloaded = performance.getEntriesByType("navigation")[0]?.type === "reload";
    if (isAnothers() && !isTouched && !isReloaded) location.reload();
  }
  return said;
}

// Asks who is signed in, also when nothing waits. Without a network it is whose page this is.
function lookWho() {
  const asked = me().catch((error) => {
    if (!(error instanceof SignIn || error instanceof Away)) throw error;
  });
  asking = asked;
  return asked;
}

// Whether this page is that of somebody who is signed in no more.
function isAnothers() {
  return (signedInHere() ?? signedIn?.user_id ?? config.user_id) !== config.user_id;
}

function anothers() {
  if (signedInHere() === 0) return interpolate(gettext("%s has signed out: nothing is kept here, and what waits is not shown. Sign in."), [config.user]);
  const isNamed = signedIn && signedIn.user_id === (signedInHere() ?? signedIn.user_id);
  return interpolate(gettext("%s has signed in, and this page is still that of %s: nothing is kept here. Load it anew."), [isNamed ? signedIn.user : gettext("Somebody else"), config.user]);
}

async function sayWhose() {
  element("anothers").hidden = !isAnothers();
  element("keep").disabled = isAnothers();
  if (isAnothers()) {
    element("anothers").firstElementChild.textContent = anothers();
    // What the officer before has left in the form goes; what the one of now enters there is theirs to copy.
    if (isOwn) {
      form.clear();
      isTouched = isOwn = false;
      replaces = null;
    }
  }
  await show();
}

// "" when the server has it or refuses it for good; else why it is tried again.
async function sendOne(item, csrf) {
  const fields = new FormData();
  fields.append("visit", item.body);
  if (item.photo) fields.append("photo", item.photo, "photo.jpg");
  if (item.signature) fields.append("signature", item.signature, "signature.jpg");
  const { status, said } = await ask(config.send, SEND_MS, { method: "POST", body: fields, headers: { "X-CSRFToken": csrf } });
  if (status === 200 && said?.kept === item.visit_id) {
    await queue.remove(item.visit_id);
    return "";
  }
  // Without a word of ours it is the token or the session; with one, the register of officers.
  if (status === 403 && !said?.why) throw new SignIn();
  if (status === 413) {
    await queue.refuse(item.visit_id, { code: "wrong", why: gettext("It is too large.") });
    return "";
  }
  if ((status === 400 || status === 409) && said?.code) {
    await queue.refuse(item.visit_id, said);
    return "";
  }
  return said?.why ?? interpolate(gettext("The server has trouble (%s): it is tried again."), [status]);
}

function sayNetwork(text, signIn) {
  element("network").textContent = text;
  element("sign-in").hidden = !signIn;
}

// --- begin --------------------------------------------------------------------------------------

if ("serviceWorker" in navigator) {
  navigator.serviceWorker.register("/visits/phone/sw.js", { scope: "/visits/phone/" });
  navigator.serviceWorker.ready.then(() => {
    document.documentElement.dataset.kept = "yes";
  });
}
if (signedInHere() !== null) await queue.forgetDrafts(signedInHere());
const draft = isAnothers() ? null : await queue.draft();
if (draft && (await putBack(draft))) replaces = draft.replaces;
isOwn = Boolean(draft) && signedInHere() === config.user_id;
await sayWhose();
document.documentElement.dataset.ready = "yes";
window.addEventListener("online", () => Promise.all([lookWho(), sendAll()]));
document.addEventListener("visibilitychange", async () => {
  if (document.visibilityState !== "visible") return;
  // Another page of this browser may have kept or sent something, or signed somebody out.
  await sayWhose();
  await Promise.all([lookWho(), sendAll()]);
});
setInterval(() => Promise.all([sayWhose(), signedIn ? null : lookWho(), sendAll()]), AGAIN_MS);
await Promise.all([lookWho(), sendAll()]);
