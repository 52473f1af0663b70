// Block Kit to DOM nodes. `act(block, element, value)` is called when a person uses an element.

import { el, safeLink, words } from "./dom.js";
import { channel, dateText, group, mrkdwn, user } from "./mrkdwn.js";

export function text(object, names) {
  if (object.type === "mrkdwn") return mrkdwn(object.text, names, { verbatim: object.verbatim });
  return words(object.text, { shortcodes: object.emoji !== false });
}

export function renderBlocks(blocks, names, act) {
  // A table is drawn last, whatever its position.
  const ordered = [...blocks.filter((b) => b.type !== "table"), ...blocks.filter((b) => b.type === "table")];
  return ordered.map((block) => {
    const draw = BLOCKS[block.type] ?? placeholder;
    const node = draw(block, names, act);
    node.classList.add("block", `block-${block.type}`);
    node.dataset.blockId = block.block_id ?? "";
    return node;
  });
}

const BLOCKS = {
  header: (b, names) => el("h3", {}, text(b.text, names)),
  divider: () => el("hr"),
  section: (b, names, act) =>
    el("div", {},
      el("div", { class: "section-text" },
        b.text && el("div", { class: "text" }, text(b.text, names)),
        b.fields && el("div", { class: "fields" }, b.fields.map((f) => el("div", { class: "text" }, text(f, names))))),
      b.accessory && el("div", { class: "accessory" }, element(b, b.accessory, names, act))),
  actions: (b, names, act) => el("div", {}, b.elements.map((e) => element(b, e, names, act))),
  context: (b, names, act) =>
    el("div", {}, b.elements.map((e) => (e.type === "image" ? element(b, e, names, act) : el("span", { class: "text" }, text(e, names))))),
  rich_text: (b, names) => el("div", {}, b.elements.map((part) => richPart(part, names))),
  image: (b, names) =>
    el("figure", {}, b.title && el("figcaption", {}, text(b.title, names)), picture(b)),
  table: (b, names) => table(b, names),
  markdown: (b, names) => el("div", { class: "text" }, mrkdwn(b.text.replace(/\*\*(.+?)\*\*/g, "*$1*"), names, { verbatim: true })),
  alert: (b, names) => el("div", { class: `alert-${b.level ?? "default"}` }, text(b.text, names)),
};

function placeholder(block) {
  return el("div", { class: "placeholder" }, `[${block.type} block]`);
}

function picture(source) {
  const id = source.slack_file?.id;
  if (id) return el("img", { src: `/page/files/${encodeURIComponent(id)}`, alt: source.alt_text });
  return el("div", { class: "placeholder" }, words("🖼 "), source.alt_text, " ", source.image_url && safeLink(source.image_url, "open image"));
}

function table(block, names) {
  const settings = block.column_settings ?? [];
  const cell = (tag) => (content, column) =>
    el(tag, { class: `align-${settings[column]?.align ?? "left"}${settings[column]?.is_wrapped ? " wrapped" : ""}` },
      content.type === "rich_text" ? content.elements.map((part) => richPart(part, names)) : String(content.text ?? content.value));
  const [head, ...rows] = block.rows;
  return el("div", {},
    el("table", {},
      el("thead", {}, el("tr", {}, head.map(cell("th")))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map(cell("td")))))));
}

function richPart(part, names) {
  const inline = () => part.elements.map((leaf) => richLeaf(leaf, names));
  if (part.type === "rich_text_preformatted") return el("pre", {}, inline());
  if (part.type === "rich_text_quote") return el("blockquote", {}, inline());
  if (part.type !== "rich_text_list") return el("div", { class: "rich-section" }, inline());
  const tag = part.style === "ordered" ? "ol" : "ul";
  return el(tag, { class: `indent-${part.indent ?? 0}`, start: part.offset ? part.offset + 1 : null },
    part.elements.map((item) => el("li", {}, item.elements.map((leaf) => richLeaf(leaf, names)))));
}

const LEAVES = {
  text: (leaf) => el("span", {}, words(leaf.text, { shortcodes: false })),
  link: (leaf) => safeLink(leaf.url, leaf.text || leaf.url),
  emoji: (leaf) => el("span", {}, words(`:${leaf.name}:`)),
  user: (leaf, names) => user(leaf.user_id, names),
  usergroup: (leaf, names) => group(leaf.usergroup_id, names),
  channel: (leaf, names) => channel(leaf.channel_id, names),
  broadcast: (leaf) => el("span", { class: "mention me broadcast" }, `@${leaf.range}`),
  date: (leaf, names) => el("time", { title: leaf.fallback, "data-at": leaf.timestamp, "data-format": leaf.format }, dateText(new Date(leaf.timestamp * 1000), leaf.format, names.now)),
  color: (leaf) => el("code", {}, leaf.value),
};

function richLeaf(leaf, names) {
  const node = (LEAVES[leaf.type] ?? (() => el("span", {}, `[${leaf.type}]`)))(leaf, names);
  const tags = { bold: "b", italic: "i", strike: "s", underline: "u", code: "code", highlight: "mark" };
  return Object.entries(tags).reduce((inner, [style, tag]) => (leaf.style?.[style] ? el(tag, {}, inner) : inner), node);
}

function element(block, e, names, act) {
  const draw = ELEMENTS[e.type] ?? ((_b, one) => el("span", { class: "placeholder" }, `[${one.type}]`));
  return draw(block, e, names, act);
}

const ELEMENTS = {
  button: (b, e, names, act) =>
    el("button", {
      type: "button",
      class: `button ${e.style ?? ""}`,
      "data-action-id": e.action_id,
      "data-value": e.value,
      "aria-label": e.accessibility_label,
      onclick: () => {
        if (e.url && /^https?:/.test(e.url)) window.open(e.url, "_blank", "noopener");
        act(b, e, e.value);
      },
    }, text(e.text, names)),
  image: (_b, e) => picture(e),
  overflow: (b, e, names, act) => menu(b, e, act, el("summary", { class: "button", "aria-label": "More" }, "⋯"), names),
  static_select: (b, e, names, act) => selectBox(b, e, names, act, options(e, names)),
  users_select: (b, e, names, act) =>
    selectBox(b, e, names, act, names.people.map((id) => el("option", { value: id }, names.users[id].real_name))),
  radio_buttons: (b, e, names, act) => choices("radio", b, e, names, act),
  checkboxes: (b, e, names, act) => choices("checkbox", b, e, names, act),
};

function menu(block, e, act, summary, names) {
  const details = el("details", { class: "overflow", "data-action-id": e.action_id });
  const items = e.options.map((option) =>
    el("button", {
      type: "button",
      "data-value": option.value,
      onclick: () => {
        details.open = false;
        act(block, e, option.value);
      },
    }, text(option.text, names), option.description && el("small", {}, text(option.description, names))));
  details.append(summary, el("div", { class: "menu" }, items));
  return details;
}

export function options(e, names) {
  const one = (option) => el("option", { value: option.value }, text(option.text, names));
  if (!e.option_groups) return e.options.map(one);
  return e.option_groups.map((g) => el("optgroup", { label: g.label.text }, g.options.map(one)));
}

function selectBox(block, e, names, act, items) {
  const first = el("option", { value: "" }, e.placeholder ? text(e.placeholder, names) : "Choose an option");
  const box = el("select", { class: "select", "data-action-id": e.action_id }, first, items);
  box.value = e.initial_option?.value ?? e.initial_user ?? "";
  box.addEventListener("change", () => box.value && act(block, e, box.value));
  return box;
}

export function choices(kind, block, e, names, act = null) {
  const initial = (e.initial_options ?? [e.initial_option]).filter(Boolean).map((option) => option.value);
  const group = el("div", { class: "choices", role: kind === "radio" ? "radiogroup" : "group", "data-action-id": e.action_id });
  const checked = () => [...group.querySelectorAll("input:checked")].map((input) => input.value);
  for (const option of e.options) {
    const input = el("input", { type: kind, name: `${block.block_id}-${e.action_id}`, value: option.value });
    input.checked = initial.includes(option.value);
    if (act) input.addEventListener("change", () => act(block, e, kind === "radio" ? input.value : checked()));
    group.append(el("label", {}, input, el("span", {}, text(option.text, names),
      option.description && el("small", {}, text(option.description, names)))));
  }
  return group;
}
