// Modals with their inputs and errors, confirm dialogs, toasts.

import { el, words } from "./dom.js";
import { choices, options, renderBlocks, text } from "./blocks.js";

const TEXT_TYPES = { plain_text_input: "text", email_text_input: "email", url_text_input: "url", number_input: "number" };
const PICKERS = { datepicker: ["date", "initial_date"], timepicker: ["time", "initial_time"] };

export function toast(message, kind = "") {
  const box = document.getElementById("toast");
  if (!message) return;
  box.replaceChildren(...words(message));
  box.className = `shown ${kind}`;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => box.classList.remove("shown"), 6000);
}

export function askToConfirm(confirm, names) {
  const box = document.getElementById("confirm");
  return new Promise((resolve) => {
    const close = (answer) => {
      box.close();
      resolve(answer);
    };
    box.replaceChildren(
      el("h2", {}, text(confirm.title, names)),
      el("div", { class: "text" }, text(confirm.text, names)),
      el("footer", {},
        el("button", { type: "button", class: "button", "data-confirm": "deny", onclick: () => close(false) }, text(confirm.deny, names)),
        el("button", { type: "button", class: `button solid ${confirm.style ?? "primary"}`, "data-confirm": "confirm", onclick: () => close(true) }, text(confirm.confirm, names))));
    box.oncancel = () => resolve(false);
    box.showModal();
  });
}

// Draws the open view, or closes the dialog; does nothing while the same revision stays open.
export function showModal(view, names, hands) {
  const box = document.getElementById("modal");
  if (!view) {
    if (box.open) box.close();
    box.dataset.hash = "";
    return;
  }
  if (box.dataset.hash === view.hash) return;
  const typed = box.dataset.viewId === view.id ? readFields(box) : {};
  box.dataset.hash = view.hash;
  box.dataset.viewId = view.id;
  box.replaceChildren(form(view, names, hands, typed));
  box.oncancel = (event) => {
    event.preventDefault();
    hands.close();
  };
  if (!box.open) box.showModal();
  (box.querySelector("[autofocus]") ?? box.querySelector(".field [data-action-id]"))?.focus();
}

function form(view, names, hands, typed) {
  const trouble = el("p", { class: "field-error", "data-error-for": "" });
  const body = view.blocks.map((block) =>
    block.type === "input" ? field(block, names, typed[block.block_id]) : renderBlocks([block], names, hands.act)[0]);
  const submit = view.submit && el("button", { type: "submit", class: "button solid primary" }, text(view.submit, names));
  return el("form", {
    method: "dialog",
    novalidate: true,
    "data-view-id": view.id,
    onsubmit: (event) => {
      event.preventDefault();
      hands.submit(readFields(event.target));
    },
  },
  el("header", {},
    el("h2", {}, text(view.title, names)),
    el("button", { type: "button", class: "close", "aria-label": "Close", onclick: hands.close }, "✕")),
  el("div", { class: "modal-body" }, body, trouble),
  el("footer", {},
    el("button", { type: "button", class: "button", onclick: hands.close }, view.close ? text(view.close, names) : "Cancel"), submit));
}

function field(block, names, typed) {
  const e = block.element;
  const control = input(block, e, names);
  if (typed !== undefined && typed !== null && "value" in control && !Array.isArray(typed)) control.value = typed;
  const id = `field-${block.block_id}`;
  if (!control.classList.contains("choices")) control.id = id;
  return el("div", { class: "block field", "data-block-id": block.block_id, "data-kind": e.type },
    el("label", { for: id }, text(block.label, names), block.optional && el("small", {}, " (optional)")),
    control,
    block.hint && el("small", { class: "hint" }, text(block.hint, names)),
    el("p", { class: "field-error", "data-error-for": block.block_id }));
}

function input(block, e, names) {
  const shared = { "data-action-id": e.action_id, placeholder: e.placeholder?.text, autofocus: e.focus_on_load };
  if (e.type === "radio_buttons") return choices("radio", block, e, names);
  if (e.type === "checkboxes") return choices("checkbox", block, e, names);
  if (e.type.startsWith("multi_") || e.type.endsWith("select")) return selectField(e, names, shared);
  const [kind, initial] = PICKERS[e.type] ?? [TEXT_TYPES[e.type] ?? "text", "initial_value"];
  if (e.multiline) return el("textarea", { ...shared, rows: 4, maxlength: e.max_length, value: e.initial_value });
  return el("input", {
    ...shared, type: kind, step: e.is_decimal_allowed ? "any" : null, min: e.min_value, max: e.max_value,
    maxlength: e.max_length, value: e[initial],
  });
}

function selectField(e, names, shared) {
  const multiple = e.type.startsWith("multi_");
  const known = e.type.includes("users")
    ? names.people.map((id) => el("option", { value: id }, names.users[id].real_name))
    : e.type.includes("static") ? options(e, names) : names.channels.map((c) => el("option", { value: c.id }, `#${c.name}`));
  const empty = multiple ? [] : [el("option", { value: "" }, e.placeholder?.text ?? "Choose an option")];
  const box = el("select", { ...shared, class: "select", multiple }, empty, known);
  const chosen = (e.initial_options ?? [e.initial_option]).filter(Boolean).map((option) => option.value);
  for (const option of box.options) option.selected = chosen.includes(option.value);
  return box;
}

export function readFields(root) {
  const values = {};
  for (const block of root.querySelectorAll(".field")) {
    values[block.dataset.blockId] = readField(block);
  }
  return values;
}

function readField(block) {
  const checked = [...block.querySelectorAll("input:checked")].map((one) => one.value);
  if (block.dataset.kind === "checkboxes") return checked;
  if (block.dataset.kind === "radio_buttons") return checked[0] ?? null;
  const control = block.querySelector("[data-action-id]");
  return control.multiple ? [...control.selectedOptions].map((one) => one.value) : control.value;
}

export function showErrors(errors) {
  for (const place of document.querySelectorAll("#modal .field-error")) {
    place.textContent = errors[place.dataset.errorFor] ?? "";
  }
  document.querySelector("#modal .field-error:not(:empty)")?.scrollIntoView({ block: "nearest" });
}
