// Builds DOM nodes from data. Text only ever becomes text nodes.

import { withSigns } from "./signs.js";

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function safeLink(url, ...children) {
  const allowed = /^(https?:|mailto:|tel:|slack:)/i.test(url);
  if (!allowed) return el("span", {}, ...children);
  const own = url.startsWith(`${location.origin}/`);
  return el("a", { href: url, target: own ? null : "_blank", rel: "noopener noreferrer" }, ...children);
}

const EMOJI = {
  alarm_clock: "⏰", arrows_counterclockwise: "🔄", ballot_box_with_check: "☑️", bar_chart: "📊", bell: "🔔",
  black_circle: "⚫", black_square_button: "🔲", book: "📖", boom: "💥", bug: "🐛", bulb: "💡",
  chart_with_downwards_trend: "📉", chart_with_upwards_trend: "📈", clipboard: "📋", clock1: "🕐", computer: "💻",
  eyes: "👀", file_folder: "📁", fire: "🔥", floppy_disk: "💾", gear: "⚙️", ghost: "👻", hammer_and_wrench: "🛠️",
  heavy_check_mark: "✔️", heavy_minus_sign: "➖", heavy_plus_sign: "➕", hourglass: "⌛", hourglass_flowing_sand: "⏳",
  information_source: "ℹ️", key: "🔑", knife: "🔪", large_blue_circle: "🔵", large_green_circle: "🟢",
  large_orange_circle: "🟠", large_red_square: "🟥", large_yellow_circle: "🟡", leftwards_arrow_with_hook: "↩️",
  lock: "🔒", mag: "🔍", memo: "📝", mute: "🔇", no_entry: "⛔", no_entry_sign: "🚫", octagonal_sign: "🛑",
  package: "📦", pager: "📟", penguin: "🐧", pushpin: "📌", question: "❓", raised_hand: "✋", red_circle: "🔴",
  repeat: "🔁", robot_face: "🤖", rocket: "🚀", rotating_light: "🚨", scales: "⚖️", scroll: "📜", shield: "🛡️",
  skull: "💀", skull_and_crossbones: "☠️", sleeping: "😴", speech_balloon: "💬", stethoscope: "🩺", tada: "🎉",
  thumbsup: "👍", thumbsdown: "👎", "+1": "👍", "-1": "👎", ticket: "🎫", timer_clock: "⏲️", wastebasket: "🗑️",
  wave: "👋", warning: "⚠️", white_check_mark: "✅", white_circle: "⚪", wrench: "🔧", x: "❌", zap: "⚡", zzz: "💤",
};

// Shortcodes become emoji.
export function withEmoji(text) {
  return text.replace(/:([a-z0-9_+-]+):/g, (whole, name) => EMOJI[name] ?? whole);
}

// Text as nodes: shortcodes converted, common signs drawn.
export function words(text, { shortcodes = true } = {}) {
  return withSigns(shortcodes ? withEmoji(text) : text);
}
