// The faults that stand, as one list: cause, whose it is, since when, what people have said of it.
// No element is touched here.
const RANK = { new: 0, acknowledged: 1, shelved: 2 };

// `acknowledged` only when every part is; whoever was first stays named.
export function stateOf(lives, now) {
  if (lives.every((one) => one.shelved_until_ms !== null && one.shelved_until_ms > now)) return "shelved";
  return lives.every((one) => one.acknowledged_ms !== null) ? "acknowledged" : "new";
}

function row(key, lives, owner, now) {
  const first = lives.reduce((a, b) => (b.raised_ms < a.raised_ms ? b : a));
  return {
    key,
    ...owner,
    fault: first.fault,
    raised_ms: first.raised_ms,
    count: first.count,
    state: stateOf(lives, now),
    said: lives.find((one) => one.acknowledged_ms !== null) ?? first,
    shelf: lives.find((one) => one.shelved_until_ms !== null && one.shelved_until_ms > now) ?? null,
  };
}

// One row for each fault, and one for each group of posts that are silent together.
export function faultRows(desk, now) {
  const rows = [];
  const groups = new Map();
  for (const gateway of desk.gateways ?? []) {
    for (const life of gateway.lives ?? []) rows.push(row(String(life.id), [life], { gateway: gateway.gateway, posts: [] }, now));
  }
  for (const post of desk.posts.values()) {
    for (const life of post.lives ?? []) {
      if (!life.group) rows.push(row(String(life.id), [life], { gateway: null, posts: [post.post] }, now));
      else if (groups.has(life.group)) groups.get(life.group).push([post, life]);
      else groups.set(life.group, [[post, life]]);
    }
  }
  for (const [key, parts] of groups) {
    const posts = parts.map(([post]) => post.post);
    rows.push(row(key, parts.map(([, life]) => life), { gateway: parts[0][0].gateway, posts }, now));
  }
  return rows.sort((a, b) => RANK[a.state] - RANK[b.state] || (b.gateway !== null) - (a.gateway !== null) || a.raised_ms - b.raised_ms);
}
