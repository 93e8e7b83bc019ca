// What a state looks like: a shape, a sign and a word, never a colour alone.
const SVG = "http://www.w3.org/2000/svg";
const CIRCLE = ["circle", { cx: 15, cy: 15, r: 10 }];
const SQUARE = ["rect", { x: 7, y: 7, width: 16, height: 16, rx: 3 }];
const DIAMOND = ["path", { d: "M15 2 28 15 15 28 2 15Z" }];
const HEXAGON = ["path", { d: "M8 4h14l6.5 11L22 26H8L1.5 15Z" }];
const TRIANGLE = ["path", { d: "M15 3 28 26H2Z" }];

const LOOKS = {
  calling: [CIRCLE, "!", 15],
  acknowledged: [CIRCLE, "✓", 15],
  dispatched: [DIAMOND, "→", 15],
  trial: [HEXAGON, "T", 15],
  over: [SQUARE, "–", 15],
  online: [SQUARE, "", 15],
  silent: [TRIANGLE, "✕", 18],
  faulty: [TRIANGLE, "!", 18],
  unknown: [SQUARE, "?", 15],
};

export function word(meaning) {
  return {
    calling: gettext("calling, nobody has answered"),
    acknowledged: gettext("acknowledged"),
    dispatched: gettext("unit sent"),
    trial: gettext("test"),
    over: gettext("resolved"),
    online: gettext("online"),
    silent: gettext("silent"),
    faulty: gettext("has a fault"),
    unknown: gettext("unknown"),
  }[meaning];
}

function part(name, attributes, classes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (classes) element.setAttribute("class", classes);
  return element;
}

export function mark(meaning, sign) {
  const [[shape, attributes], usual, y] = LOOKS[meaning] ?? LOOKS.unknown;
  const svg = part("svg", { viewBox: "0 0 30 30", "aria-hidden": "true" }, `mark ${meaning}`);
  if (meaning === "calling") svg.append(part("circle", { cx: 15, cy: 15, r: 13.5 }, "halo"));
  svg.append(part(shape, attributes, "body"));
  const text = part("text", { x: 15, y });
  text.textContent = sign ?? usual;
  svg.append(text);
  return svg;
}

export function manyMark(count) {
  const svg = part("svg", { viewBox: "0 0 30 30", "aria-hidden": "true" }, "mark many");
  svg.append(part(...CIRCLE.map((one, n) => (n ? { ...one, r: 13 } : one)), "body"));
  const text = part("text", { x: 15, y: 15.5 });
  text.textContent = count;
  svg.append(text);
  return svg;
}
