// Slack's mrkdwn to DOM nodes. Entities are decoded last, so &lt;!channel&gt; stays literal text.

import { el, safeLink, withEmoji, words } from "./dom.js";

const decode = (text) => text.replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");
const TOKEN = /```([\s\S]+?)```|`([^`\n]+)`|<([^<>]+)>/g;
const AUTO = /(^|[^\w.@&;/])(@(?:here|channel|everyone)\b)|(https?:\/\/[^\s<>|]+[^\s<>|.,;:!?)])|(^|\s)(#[a-z0-9_-]+)/g;
const STYLES = [
  [/(^|[^\w*])\*(?=\S)([^*\n]*[^*\s])\*(?![\w*])/, "b"],
  [/(^|[^\w_])_(?=\S)([^_\n]*[^_\s])_(?![\w_])/, "i"],
  [/(^|[^\w~])~(?=\S)([^~\n]*[^~\s])~(?![\w~])/, "s"],
];

export function mrkdwn(text, names, { verbatim = false } = {}) {
  const out = [];
  const blocks = text.split(/(```[\s\S]+?```)/);
  for (const block of blocks) {
    if (block.startsWith("```") && block.length > 6) out.push(pre(block.slice(3, -3), names));
    else out.push(...lines(block, names, verbatim));
  }
  return out;
}

function pre(text, names) {
  const parts = text.replace(/^\n/, "").split(/(<[^<>]+>)/);
  return el("pre", {}, parts.map((part) => (/^<[^<>]+>$/.test(part) ? reference(part.slice(1, -1), names) : decode(part))));
}

function lines(text, names, verbatim) {
  const out = [];
  let quote = null;
  const rows = text.replace(/^\n|\n$/g, "").split("\n");
  if (rows.length === 1 && rows[0] === "") return out;
  rows.forEach((row, index) => {
    const quoted = /^(?:>|&gt;) ?/.exec(row);
    if (quoted) {
      if (!quote) out.push((quote = el("blockquote")));
      else quote.append(el("br"));
      quote.append(...inline(row.slice(quoted[0].length), names, verbatim));
      return;
    }
    if (index > 0 && !quote) out.push(el("br"));
    quote = null;
    out.push(...inline(row, names, verbatim));
  });
  return out;
}

// Code and <…> tokens are cut out first; styles may span them, so they travel as placeholders.
function inline(text, names, verbatim) {
  const kept = [];
  const keep = (node) => `\u0001${kept.push(node) - 1}\u0002`;
  const clean = text.replace(/[\u0001\u0002]/g, "");
  const flat = clean.replace(TOKEN, (_whole, block, code, token) => {
    if (block !== undefined || code !== undefined) return keep(el("code", {}, decode(block ?? code)));
    return keep(reference(token, names));
  });
  return styled(verbatim ? flat : auto(flat, names, keep), kept);
}

function auto(text, names, keep) {
  return text.replace(AUTO, (whole, before, broadcast, url, space, channel) => {
    if (broadcast) return before + keep(el("span", { class: "mention me broadcast" }, broadcast));
    if (url) return keep(safeLink(decode(url), decode(url)));
    const known = names.channels.find((one) => `#${one.name}` === channel);
    return known ? space + keep(el("span", { class: "mention" }, channel)) : whole;
  });
}

function styled(text, kept) {
  for (const [pattern, tag] of STYLES) {
    const found = pattern.exec(text);
    if (!found) continue;
    const start = found.index + found[1].length;
    const before = text.slice(0, start);
    const after = text.slice(found.index + found[0].length);
    return [...styled(before, kept), el(tag, {}, styled(found[2], kept)), ...styled(after, kept)];
  }
  return text.split(/(\u0001\d+\u0002)/).flatMap((part) => {
    const placed = /^\u0001(\d+)\u0002$/.exec(part);
    return placed ? kept[Number(placed[1])] : words(decode(withEmoji(part)), { shortcodes: false });
  });
}

export function reference(token, names) {
  const bar = token.indexOf("|");
  const target = bar < 0 ? token : token.slice(0, bar);
  const label = bar < 0 ? null : decode(token.slice(bar + 1));
  if (target.startsWith("@")) return user(target.slice(1), names);
  if (target.startsWith("#")) return channel(target.slice(1), names, label);
  if (target.startsWith("!date^")) return date(target.slice(6), label, names);
  if (target.startsWith("!subteam^")) return group(target.slice(9), names, label);
  if (target.startsWith("!")) return el("span", { class: "mention me broadcast" }, `@${target.slice(1)}`);
  if (/^(https?:|mailto:|tel:|slack:)/.test(target)) return safeLink(decode(target), label ?? decode(target));
  return el("span", {}, decode(`<${token}>`));
}

export function user(id, names) {
  const person = names.users[id];
  const label = person ? `@${person.is_bot ? person.name : person.real_name}` : `@${id}`;
  return el("span", { class: id === names.me ? "mention me" : "mention" }, label);
}

export function channel(id, names, label = null) {
  const found = names.channels.find((one) => one.id === id);
  return el("span", { class: "mention" }, `#${found?.name ?? label ?? id}`);
}

export function group(id, names, label = null) {
  const found = names.groups[id];
  return el("span", { class: found?.mine ? "mention me" : "mention" }, `@${found?.handle ?? label ?? id}`);
}

const FORMATS = {
  date_num: { year: "numeric", month: "2-digit", day: "2-digit" },
  date: { year: "numeric", month: "long", day: "numeric" },
  date_short: { year: "numeric", month: "short", day: "numeric" },
  date_long: { weekday: "long", year: "numeric", month: "long", day: "numeric" },
  time: { hour: "2-digit", minute: "2-digit" },
  time_secs: { hour: "2-digit", minute: "2-digit", second: "2-digit" },
};

function date(rest, fallback, names) {
  const [seconds, format, link] = rest.split("^");
  const at = new Date(Number(seconds) * 1000);
  if (Number.isNaN(at.getTime()) || !format) return el("span", {}, fallback ?? "");
  const shown = dateText(at, format, names.now);
  const node = el("time", { datetime: at.toISOString(), title: fallback ?? at.toISOString(), "data-at": seconds, "data-format": format }, shown);
  return link ? safeLink(link, node) : node;
}

export function dateText(at, format, now) {
  return decode(format).replace(/\{(\w+)\}/g, (whole, name) => {
    if (name === "ago") return ago(now - at.getTime() / 1000);
    const plain = name.replace(/_pretty$/, "");
    if (!FORMATS[plain]) return whole;
    if (plain !== name && dayDistance(at, now) !== null) return dayDistance(at, now);
    if (plain === "date_num") return at.toLocaleDateString("sv-SE");
    const locale = plain.startsWith("time") ? "en-GB" : "en-US";
    return at.toLocaleString(locale, FORMATS[plain]);
  });
}

function dayDistance(at, now) {
  const midnight = (moment) => new Date(moment.getFullYear(), moment.getMonth(), moment.getDate()).getTime();
  const days = Math.round((midnight(new Date(now * 1000)) - midnight(at)) / 86_400_000);
  return { "-1": "tomorrow", 0: "today", 1: "yesterday" }[days] ?? null;
}

function ago(seconds) {
  const away = Math.abs(seconds);
  const steps = [[60, 1, "second"], [3600, 60, "minute"], [86_400, 3600, "hour"], [Infinity, 86_400, "day"]];
  const [, unit, word] = steps.find(([limit]) => away < limit);
  const count = Math.max(1, Math.floor(away / unit));
  const words = `${count} ${word}${count === 1 ? "" : "s"}`;
  return seconds < 0 ? `in ${words}` : `${words} ago`;
}
