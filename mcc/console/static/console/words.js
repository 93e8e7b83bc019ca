// The words of the contract in the words of people.
export function stateWord(state) {
  return {
    raised: gettext("raised"),
    received: gettext("received by the gateway"),
    delivered: gettext("shown here"),
    acknowledged: gettext("acknowledged"),
    dispatched: gettext("unit sent"),
    resolved: gettext("resolved"),
  }[state] ?? state;
}

export function kindWord(kind) {
  return { panic: gettext("call for help"), test: gettext("test"), selftest: gettext("self-test") }[kind] ?? kind;
}

export function outcomeWord(outcome) {
  return { real: gettext("real"), false: gettext("false"), test: gettext("test"), prank: gettext("prank") }[outcome] ?? outcome;
}

export function resultWord(result) {
  return {
    real: gettext("real"),
    false: gettext("false"),
    unclear: gettext("unclear"),
    no_answer: gettext("nobody answered"),
    none: gettext("looked at: nothing is to be done"),
    talk: gettext("talk with the people of the RW"),
    poster: gettext("put up a poster"),
    practice: gettext("a practice day"),
    cover: gettext("a cover over the button"),
  }[result] ?? result;
}

export function connectionWord(connection) {
  return { online: gettext("online"), silent: gettext("silent"), unknown: gettext("unknown"), offline: gettext("offline") }[connection] ?? connection;
}

export function actionWord(action) {
  return {
    acknowledge: gettext("acknowledge"),
    dispatch: gettext("send a unit"),
    resolve: gettext("resolve"),
    panic: gettext("make it a call for help"),
    open_test: gettext("open a test window"),
    close_test: gettext("close the test window"),
    on_the_way: gettext("on the way"),
    on_scene: gettext("on scene"),
    correction: gettext("correction"),
    note: gettext("note"),
    fault_acknowledge: gettext("fault seen"),
    fault_shelve: gettext("shelve the fault"),
    fault_unshelve: gettext("take the fault off the shelf"),
    message: gettext("message"),
    ask_assist: gettext("ask another unit to help"),
    confirm_by_phone: gettext("confirm by phone"),
    measure: gettext("decision about false alarms"),
    silence: gettext("silenced on one console"),
    take_over: gettext("taken over"),
    shift_began: gettext("shift began"),
    shift_ended: gettext("shift ended"),
    told: gettext("people told, because nobody answered"),
    signed_in: gettext("signed in"),
    signed_out: gettext("signed out"),
  }[action] ?? action;
}

export function roleWord(role) {
  return {
    operator: gettext("operator"),
    picket: gettext("picket"),
    supervisor: gettext("supervisor"),
    bhabinkamtibmas: "Bhabinkamtibmas",
  }[role] ?? role;
}

export function faultWord(name) {
  return {
    button_stuck: gettext("button stuck"),
    button_worn: gettext("button worn"),
    button_wire_cut: gettext("wire of the button cut"),
    button_wire_short: gettext("wire of the button short-circuited"),
    pins_unavailable: gettext("button and lamp do not work"),
    tamper: gettext("box opened"),
    mains_lost: gettext("mains power lost"),
    gps_lost: gettext("GPS lost"),
    clock_unsynchronised: gettext("clock not synchronised"),
    disk_failing: gettext("disk failing"),
    disk_hanging: gettext("disk does not answer"),
    disk_replaced: gettext("disk replaced"),
    outbox_unusable: gettext("memory card unusable"),
    outbox_damaged: gettext("memory card was damaged"),
    button_circuit_dead: gettext("button's circuit dead"),
    gateway_deaf: gettext("the gateway does not take this post's alarms"),
    selftest_missed: gettext("no self-test, though the post is heard"),
    selftest_unconfirmed: gettext("self-test not confirmed by the post"),
    responder_dead: gettext("this command centre did not answer a self-test"),
    under_voltage: gettext("supply too low"),
    throttled: gettext("processor slowed down"),
    too_hot: gettext("too hot"),
    disk_full: gettext("memory card full"),
    place_implausible: gettext("GPS says that the post has moved"),
    restart_loop: gettext("starts again and again"),
    firmware_old: gettext("firmware out of date"),
    silent: gettext("silent"),
    flooding: gettext("the post sends far too much"),
    heartbeat_too_slow: gettext("heartbeat slower than its gateway allows"),
    place_differs: gettext("the post says that it hangs elsewhere"),
    gateway_silent: gettext("GATEWAY NOT HEARD: its posts cannot call"),
    stalled: gettext("did not run for a while"),
    journal_restored: gettext("the gateway's journal is an older copy"),
    certificate_expiring: gettext("certificate expiring"),
    ca_expiring: gettext("certificate of the authority expiring"),
    crl_expiring: gettext("list of shut-out posts expiring"),
    control_unavailable: gettext("the gateway's control socket does not work"),
    register_unusable: gettext("the gateway's register is unusable"),
    journal_failing: gettext("the gateway's disk is failing"),
    journal_hanging: gettext("the gateway's disk does not answer"),
    journal_damaged: gettext("the gateway's journal was damaged"),
    journal_replaced: gettext("the gateway's journal was replaced"),
    link_deaf: gettext("the gateway hears nothing from its posts"),
    posts_link_down: gettext("the gateway does not reach its broker of the posts"),
    identity_in_doubt: gettext("two boxes say that they are this post"),
    notice_without_target: gettext("nobody is named to be told"),
    notice_undelivered: gettext("people could not be told"),
    webhook_undelivered: gettext("another system could not be told"),
    nobody_on_shift: gettext("NOBODY ON SHIFT"),
    no_console_with_sound: gettext("NO CONSOLE WITH SOUND"),
  }[name] ?? name.replaceAll("_", " ");
}

export function clock(ms) {
  return new Date(ms).toLocaleTimeString("id-ID", { timeZone: "Asia/Jakarta", hour12: false }).replaceAll(".", ":");
}

export function day(ms) {
  return new Date(ms).toLocaleDateString(document.documentElement.lang, { timeZone: "Asia/Jakarta", day: "numeric", month: "short" });
}

// A running time: 0:07, 12:40, 3:05:00, 2 d 4 h.
export function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s >= 86_400) return interpolate(gettext("%s d %s h"), [Math.floor(s / 86_400), Math.floor((s % 86_400) / 3600)]);
  const two = (n) => String(n).padStart(2, "0");
  const [h, m] = [Math.floor(s / 3600), Math.floor((s % 3600) / 60)];
  return h ? `${h}:${two(m)}:${two(s % 60)}` : `${m}:${two(s % 60)}`;
}

// Everything that came from outside goes through here: text is only ever text.
export function make(tag, classes, ...children) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}
