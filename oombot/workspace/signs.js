// Emoji drawn as small pictures, so that the page looks the same with and without an emoji font.
// A sign is a list of shapes in a 24×24 box: [element, attributes].

const disc = (fill, edge) => [["circle", { cx: 12, cy: 12, r: 9.5, fill, stroke: edge, "stroke-width": 1 }]];
const tile = (fill) => [["rect", { x: 2.5, y: 2.5, width: 19, height: 19, rx: 3.5, fill }]];
const path = (d, fill, more = {}) => ["path", { d, fill, ...more }];
const line = (d, stroke, width = 2.4) => ["path", { d, fill: "none", stroke, "stroke-width": width, "stroke-linecap": "round", "stroke-linejoin": "round" }];
const TICK = "M6.8 12.6l3.6 3.6 7-8";
const CROSS = "M6.5 6.5l11 11M17.5 6.5l-11 11";
const BURST = "M12 1.5l2.4 5 4.6-3-1 5.4 5 .4-3.4 3.9 3 4.6-5.2-.2.2 5.2-4.4-2.9-2.4 5-2-5.2-4.8 2.6.8-5.2-5.3-.6 4-3.800L1 8.600l5.3-.6L5.6 2.8 10 5.900z";
const SHEET = path("M5 2.500h10l4.5 4.500v14.500h-14.500z", "#f4f1e8", { stroke: "#8a857a", "stroke-width": 1 });

const SIGNS = {
  "🔴": disc("#e0364c", "#b3203a"), "🟠": disc("#ef8a2c", "#c96c15"), "🟡": disc("#f3c433", "#cfa012"),
  "🟢": disc("#2fa866", "#1f8550"), "🔵": disc("#3b82e0", "#2766ba"), "⚪": disc("#e9e9ee", "#b0b0ba"), "⚫": disc("#3a3a42", "#77777f"),
  "🟥": tile("#e0364c"), "🟧": tile("#ef8a2c"), "🟨": tile("#f3c433"), "🟩": tile("#2fa866"), "🟦": tile("#3b82e0"), "⬜": tile("#e9e9ee"), "⬛": tile("#3a3a42"),
  "✅": [...tile("#2fa866"), line(TICK, "#fff")],
  "☑️": [...tile("#3b82e0"), line(TICK, "#fff")],
  "✔️": [line(TICK, "currentColor", 3)],
  "❌": [line(CROSS, "#e0364c", 4)],
  "🚫": [["circle", { cx: 12, cy: 12, r: 8.5, fill: "none", stroke: "#e0364c", "stroke-width": 3 }], line("M6.5 6.500l11 11", "#e0364c", 3)],
  "⛔": [...disc("#e0364c", "#b3203a"), ["rect", { x: 5.5, y: 10, width: 13, height: 4, rx: 1, fill: "#fff" }]],
  "🛑": [path("M7.5 2.500h9l5 5v9l-5 5h-9l-5-5v-9z", "#e0364c"), line("M7.5 12h9", "#fff", 3)],
  "⚠️": [path("M12 2.500l10.5 18.500h-21z", "#f3c433", { stroke: "#cfa012", "stroke-width": 1.2, "stroke-linejoin": "round" }), line("M12 9v5.5", "#3a2c00"), ["circle", { cx: 12, cy: 18, r: 1.4, fill: "#3a2c00" }]],
  "🚨": [path("M5 18v-5a7 7 0 0 1 14 0v5z", "#e0364c"), ["rect", { x: 3, y: 18, width: 18, height: 4, rx: 1.5, fill: "#8d93a3" }], line("M9 13a3 3 0 0 1 3-3", "#ffd9de", 1.8), line("M12 1.500v2M3.5 5l1.5 1.500M20.5 5l-1.5 1.5", "#ef8a2c", 1.8)],
  "💥": [path(BURST, "#ef5b2c"), ["circle", { cx: 12, cy: 12, r: 4.2, fill: "#f9cf4a" }]],
  "🔥": [path("M12 1.500c1 4 6.5 6.5 6.5 13a6.5 7.5 0 0 1-13 0c0-3 1.5-5 2.5-6 .2 2 1 3 2 3.5-.5-4 .5-8 2-10.500z", "#ef5b2c"), path("M12 12c.5 2 3 3.5 3 6a3 3.5 0 0 1-6 0c0-2.5 2.5-4 3-6z", "#f9cf4a")],
  "💀": [path("M12 2a9 8.5 0 0 0-9 8.500c0 3.5 1.7 5.3 3.5 6.300v3.700c0 .8.7 1.5 1.5 1.500h8c.8 0 1.5-.7 1.5-1.500v-3.700c1.8-1 3.5-2.8 3.5-6.300a9 8.5 0 0 0-9-8.500z", "#eceaf0", { stroke: "#9c98a6", "stroke-width": 1 }), ["circle", { cx: 8.3, cy: 11, r: 2.6, fill: "#2b2633" }], ["circle", { cx: 15.7, cy: 11, r: 2.6, fill: "#2b2633" }], path("M12 13.500l1.5 2.800h-3z", "#2b2633"), line("M10 19v2.500M14 19v2.5", "#9c98a6", 1.2)],
  "⏳": [line("M6 2.500h12M6 21.500h12", "#9a6a3a", 2.6), path("M7.5 3.500h9c0 5-3.3 6.5-3.3 8.500s3.3 3.5 3.3 8.500h-9c0-5 3.3-6.5 3.3-8.500s-3.3-3.5-3.3-8.500z", "#cfe6f2"), path("M8.5 7h7c-.7 2-2.5 3-3 5h-1c-.5-2-2.3-3-3-5zM8.5 20c.5-3 2-3.5 3.5-4.5 1.5 1 3 1.5 3.5 4.500z", "#f0b43c")],
  "⌛": null,
  "🔄": [...tile("#3b82e0"), line("M17 10.500a5.3 5.3 0 0 0-10-.5M7 13.500a5.3 5.3 0 0 0 10 .5M17.3 6.500v4h-4M6.7 17.500v-4h4", "#fff", 1.8)],
  "🔁": null,
  "↩️": [...tile("#3b82e0"), line("M9.5 6.500L6 10l3.5 3.500M6.5 10h7a4 4 0 0 1 0 8h-2", "#fff", 2)],
  "🔔": [path("M12 2.500a6 6 0 0 0-6 6v5l-2.5 4h17l-2.5-4v-5a6 6 0 0 0-6-6z", "#f3c433"), path("M9.5 18.500a2.5 2.5 0 0 0 5 0z", "#cfa012")],
  "🔇": [path("M3 9h4l5-4.500v15L7 15H3z", "#9a98a3"), line("M15.5 9.500l5 5M20.5 9.500l-5 5", "#e0364c", 2)],
  "🔕": null,
  "🔧": [path("M14.5 3a6 6 0 0 0-5.3 8L2.5 17.700a2.4 2.4 0 0 0 3.6 3.600L13 14.700a6 6 0 0 0 8-7l-3.7 3.5-3.8-.9-.9-3.800L16.5 3z", "#8d93a3")],
  "🛠️": null, "⚙️": [["circle", { cx: 12, cy: 12, r: 6, fill: "none", stroke: "#8d93a3", "stroke-width": 4 }], line("M12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M5 19l2-2M17 7l2-2", "#8d93a3", 3)],
  "🔍": [["circle", { cx: 10, cy: 10, r: 6.5, fill: "#cfe6f2", stroke: "#6d7485", "stroke-width": 2.4 }], line("M15 15l6 6", "#6d7485", 3.4)],
  "🔎": null,
  "🔒": [["rect", { x: 4.5, y: 10.5, width: 15, height: 11, rx: 2, fill: "#e8b23a" }], line("M8 10.500V7a4 4 0 0 1 8 0v3.5", "#9a98a3", 2.4)],
  "📄": [SHEET, line("M8.5 10h7M8.5 13.500h7M8.5 17h5", "#8a857a", 1.4)],
  "📜": null, "📝": null, "📋": null,
  "📊": [["rect", { x: 2.5, y: 2.5, width: 19, height: 19, rx: 3, fill: "#f4f1e8", stroke: "#8a857a" }], line("M7.5 17.500v-5", "#2fa866", 3), line("M12 17.500v-11", "#e0364c", 3), line("M16.5 17.500v-7.5", "#3b82e0", 3)],
  "📈": [["rect", { x: 2.5, y: 2.5, width: 19, height: 19, rx: 3, fill: "#f4f1e8", stroke: "#8a857a" }], line("M6 16.500l4-4.5 3 2.5 5-7", "#e0364c", 2.2)],
  "📉": [["rect", { x: 2.5, y: 2.5, width: 19, height: 19, rx: 3, fill: "#f4f1e8", stroke: "#8a857a" }], line("M6 7.500l4 4.5 3-2.5 5 7", "#3b82e0", 2.2)],
  "👀": [["ellipse", { cx: 7.3, cy: 12, rx: 4.6, ry: 7, fill: "#fff", stroke: "#77777f" }], ["ellipse", { cx: 16.7, cy: 12, rx: 4.6, ry: 7, fill: "#fff", stroke: "#77777f" }], ["circle", { cx: 8.6, cy: 12.5, r: 2.4, fill: "#2b2633" }], ["circle", { cx: 18, cy: 12.5, r: 2.4, fill: "#2b2633" }]],
  "👁": [path("M1.5 12c4-7 17-7 21 0-4 7-17 7-21 0z", "none", { stroke: "currentColor", "stroke-width": 1.8 }), ["circle", { cx: 12, cy: 12, r: 3, fill: "currentColor" }]],
  "⚡": [path("M13.5 1.500L4 14h6.500l-1.5 8.500L19.5 9.500H12.500z", "#f3b52e")],
  "🚀": [path("M21.5 2.500c-6 0-10.5 3-13 8l5 5c5-2.5 8-7 8-13z", "#dcdfe8", { stroke: "#8d93a3" }), ["circle", { cx: 15, cy: 9, r: 2, fill: "#3b82e0" }], path("M8.5 10.500l-5 1 3.5 2.500zM13.5 15.500l-1 5-2.5-3.500z", "#e0364c"), path("M6.5 15.500l-4.5 6.5 6.5-4.500z", "#ef8a2c")],
  "ℹ️": [...tile("#3b82e0"), line("M12 11v6", "#fff"), ["circle", { cx: 12, cy: 7, r: 1.5, fill: "#fff" }]],
  "💡": [["circle", { cx: 12, cy: 9.5, r: 7, fill: "#f9d65c" }], ["rect", { x: 9, y: 16, width: 6, height: 5.5, rx: 1.5, fill: "#8d93a3" }]],
  "🛡️": [path("M12 2l8.5 3v6.500c0 5-3.5 8.5-8.5 10.5-5-2-8.5-5.5-8.5-10.500V5z", "#3b82e0"), line(TICK, "#fff", 2)],
  "💾": [...tile("#4a5a86"), ["rect", { x: 7, y: 3, width: 10, height: 7, fill: "#dcdfe8" }], ["rect", { x: 6, y: 13, width: 12, height: 8, fill: "#f4f1e8" }]],
  "🖼": [["rect", { x: 2, y: 4, width: 20, height: 16, rx: 2, fill: "#cfe6f2", stroke: "#8d93a3" }], path("M3 19l6-8 4 5 3-3 5 6z", "#2fa866")],
};
Object.assign(SIGNS, { "⌛": SIGNS["⏳"], "🔁": SIGNS["🔄"], "🔕": SIGNS["🔇"], "🛠️": SIGNS["🔧"], "🔎": SIGNS["🔍"], "📜": SIGNS["📄"], "📝": SIGNS["📄"], "📋": SIGNS["📄"] });

const bare = (sign) => sign.replace("\uFE0F", "");
const DRAWN = new Map(Object.entries(SIGNS).map(([sign, shapes]) => [bare(sign), shapes]));
const FIND = new RegExp(`(${[...DRAWN.keys()].join("|")})\uFE0F?`, "gu");

function picture(sign, shapes) {
  const make = (tag, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) if (value !== undefined) node.setAttribute(name, value);
    return node;
  };
  const drawn = make("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" });
  drawn.append(...shapes.map(([tag, attributes]) => make(tag, attributes)));
  const box = document.createElement("span");
  const words = document.createElement("span");
  box.className = "sign";
  words.className = "sign-text";
  words.textContent = sign;
  box.append(words, drawn);
  return box;
}

// Splits text into strings and pictures of the signs in it.
export function withSigns(text) {
  const parts = [];
  let end = 0;
  for (const found of text.matchAll(FIND)) {
    if (found.index > end) parts.push(text.slice(end, found.index));
    parts.push(picture(found[0], DRAWN.get(found[1])));
    end = found.index + found[0].length;
  }
  if (end < text.length) parts.push(text.slice(end));
  return parts;
}
