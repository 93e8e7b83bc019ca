// Where the names on the map stand: beside their marks, over no mark and no other name, inside the
// map. Who comes first chooses first. Pixels, from the map's upper left corner; no element is
// touched here.
const GAP = 3;
const RINGS = 8;
const TURNS = 16;

const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
const box = (left, top, width, height) => ({ left, top, right: left + width, bottom: top + height });
export const around = ({ x, y, r }) => box(x - r, y - r, 2 * r, 2 * r);

// Pushed inside along an edge of the map.
const within = (at, length, whole) => Math.max(GAP, Math.min(at, whole - length - GAP));

// Below, above, beside.
function near({ x, y, r, width, height }, map) {
  const [across, down] = [within(x - width / 2, width, map.width), within(y - height / 2, height, map.height)];
  return [
    [across, y + r + GAP],
    [across, y - r - GAP - height],
    [x + r + GAP, down],
    [x - r - GAP - width, down],
    [x + GAP, y + r + GAP],
    [x - GAP - width, y + r + GAP],
    [x + GAP, y - r - GAP - height],
    [x - GAP - width, y - r - GAP - height],
  ].map(([left, top]) => ({ ...box(left, top, width, height), far: false }));
}

// Further and further away: a line leads there from the mark.
function far({ x, y, r, width, height }, map) {
  const spots = [];
  for (let ring = 1; ring <= RINGS; ring++) {
    for (let turn = 0; turn < TURNS; turn++) {
      const angle = Math.PI / 2 + (turn * 2 * Math.PI) / TURNS;
      const away = r + GAP + ring * (height + GAP);
      const [middleX, middleY] = [x + Math.cos(angle) * (away + width / 2), y + Math.sin(angle) * (away + height / 2)];
      const [left, top] = [within(middleX - width / 2, width, map.width), within(middleY - height / 2, height, map.height)];
      spots.push({ ...box(left, top, width, height), far: true });
    }
  }
  return spots;
}

// `names`: [{x, y, r, width, height, must}]; `never`: boxes that a name may not cover; `rather`: that
// it leaves free where it can. One box for each name, or null: no place for it. One that `must` be
// read has one as long as its mark is on the map.
export function placed(names, never, rather, map) {
  const inside = (one) => one.left >= 0 && one.top >= 0 && one.right <= map.width && one.bottom <= map.height;
  const taken = [...never, ...names.map(around)];
  return names.map((one) => {
    if (!meet(around(one), box(0, 0, map.width, map.height))) return null; // off the map, as its mark is
    const spots = near(one, map);
    const open = (spot) => inside(spot) && !taken.some((other) => meet(spot, other));
    const free = spots.filter(open);
    let spot = free.find((candidate) => !rather.some((other) => meet(candidate, other))) ?? free[0];
    if (!spot && one.must) spot = far(one, map).find(open) ?? spots[0];
    if (spot) taken.push(spot);
    return spot ?? null;
  });
}
