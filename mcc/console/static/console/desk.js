// What the page holds and what follows from it: which alarms call, in what order, who is near whom.
// No element is touched here.
const NEAR_M = 600;
const NEAR_MS = 15 * 60 * 1000;
const NEAR_CHAINS_MAX = 300;
const RANK = { calling: 0, acknowledged: 1, dispatched: 1, trial: 2, over: 3 };

export function meaningOf(alarm) {
  if (!alarm.is_open && !alarm.late_repeats) return "over";
  if (alarm.kind !== "panic") return "trial";
  if (!alarm.is_answered || alarm.late_repeats) return "calling";
  return alarm.state === "dispatched" ? "dispatched" : "acknowledged";
}

export function meaningOfPost(post) {
  if (post.connection === "silent") return "silent";
  if (post.faults.length) return "faulty";
  return post.connection === "online" ? "online" : "unknown";
}

function metres([lat, lon], [otherLat, otherLon]) {
  const [y, x] = [(lat - otherLat) * 111_320, (lon - otherLon) * 111_320 * Math.cos((lat * Math.PI) / 180)];
  return Math.hypot(x, y);
}

export class Desk {
  constructor() {
    this.alarms = new Map();
    this.posts = new Map();
    this.gateways = new Map();
    this.faults = new Map();
    this.store = {};
    // What this person has just asked for and no picture shows yet: alarm id -> Set of actions.
    this.asked = new Map();
  }

  placeOf(alarm) {
    return [alarm.location.lat, alarm.location.lon];
  }

  nameOf(postId) {
    return this.posts.get(postId)?.name ?? postId;
  }

  // The first of a chain of calls: each names the one it follows.
  rootOf(alarm) {
    const seen = new Set();
    let one = alarm;
    while (one.follows && this.alarms.has(one.follows) && !seen.has(one.alarm_id)) {
      seen.add(one.alarm_id);
      one = this.alarms.get(one.follows);
    }
    return one;
  }

  // The open alarms as they are read: [{near: [post names] | null, alarms: [...]}, ...].
  get open() {
    const shown = [...this.alarms.values()].filter((one) => meaningOf(one) !== "over");
    const chains = new Map();
    for (const one of shown) {
      const root = this.rootOf(one).alarm_id;
      if (!chains.has(root)) chains.set(root, []);
      chains.get(root).push(one);
    }
    const groups = [];
    for (const chain of chains.values()) {
      chain.sort((a, b) => a.raised_ms - b.raised_ms);
      groups.push({ alarms: chain, calling: chain.filter((one) => meaningOf(one) === "calling") });
    }
    return this.gather(groups)
      .map((members) => this.heading(members))
      .sort((a, b) => a.rank - b.rank || a.raised_ms - b.raised_ms);
  }

  // Chains whose calling posts stand near each other, together.
  gather(groups) {
    // Far more chains than a neighbourhood has are no neighbourhood.
    if (groups.length > NEAR_CHAINS_MAX) return groups.map((one) => [one]);
    const boss = groups.map((_, n) => n);
    const find = (n) => (boss[n] === n ? n : (boss[n] = find(boss[n])));
    for (let a = 0; a < groups.length; a++) {
      for (let b = a + 1; b < groups.length; b++) {
        const near = groups[a].calling.some((one) =>
          groups[b].calling.some((other) => Math.abs(one.raised_ms - other.raised_ms) <= NEAR_MS && metres(this.placeOf(one), this.placeOf(other)) <= NEAR_M));
        if (near) boss[find(a)] = find(b);
      }
    }
    const together = new Map();
    groups.forEach((group, n) => {
      const key = find(n);
      if (!together.has(key)) together.set(key, []);
      together.get(key).push(group);
    });
    return [...together.values()];
  }

  heading(members) {
    members.sort((a, b) => a.alarms[0].raised_ms - b.alarms[0].raised_ms);
    const alarms = members.flatMap((one) => one.alarms);
    const posts = new Set(members.flatMap((one) => one.calling.map((alarm) => alarm.post)));
    return {
      near: posts.size > 1 ? [...posts].map((one) => this.nameOf(one)) : null,
      alarms,
      rank: Math.min(...alarms.map((one) => RANK[meaningOf(one)])),
      raised_ms: Math.min(...alarms.map((one) => one.raised_ms)),
    };
  }

  get calling() {
    return [...this.alarms.values()].filter((one) => meaningOf(one) === "calling").sort((a, b) => a.raised_ms - b.raised_ms);
  }

  get over() {
    return [...this.alarms.values()].filter((one) => meaningOf(one) === "over").sort((a, b) => b.raised_ms - a.raised_ms);
  }

  ask(alarmId, action) {
    if (!this.asked.has(alarmId)) this.asked.set(alarmId, new Set());
    this.asked.get(alarmId).add(action);
  }

  unask(alarmId, action) {
    this.asked.get(alarmId)?.delete(action);
  }

  sending(alarm) {
    return [...new Set([...alarm.sending.map((one) => one.action), ...(this.asked.get(alarm.alarm_id) ?? [])])];
  }
}
