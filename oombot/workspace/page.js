// The page: fetches a snapshot after every change and redraws only what differs.

import { el, words } from "./dom.js";
import { dateText, mrkdwn } from "./mrkdwn.js";
import { renderBlocks } from "./blocks.js";
import { askToConfirm, readFields, showErrors, showModal, toast } from "./modal.js";

const query = new URLSearchParams(location.search);
const $ = (id) => document.getElementById(id);
const page = {
  me: query.get("as") ?? "",
  channel: query.get("channel") ?? "oncall",
  thread: query.get("thread"),
  since: query.get("ephemerals") === "keep" ? 0 : null,
  home: false,
  seen: {},
  names: null,
};
const DEFAULT_PERSON = "U0ADA0001";

if (["dark", "light"].includes(query.get("theme"))) document.documentElement.dataset.theme = query.get("theme");

async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const reply = await answer.json();
  if (reply.error) toast(reply.error, "bad");
  return reply;
}

const act = (doing, body) => post(`/page/do/${doing}`, { as: page.me, ...body });

// --- fetching -----------------------------------------------------------------

let running = false;
let again = false;

async function refresh() {
  if (running) {
    again = true;
    return;
  }
  running = true;
  try {
    const person = page.me || DEFAULT_PERSON;
    const since = page.since ?? "";
    const answer = await fetch(`/page/state?as=${encodeURIComponent(person)}&since=${since}`);
    if (answer.ok) draw(await answer.json());
  } finally {
    running = false;
    if (again) {
      again = false;
      refresh();
    }
  }
}

function listen() {
  const socket = new WebSocket(`${location.origin.replace("http", "ws")}/page/live`);
  socket.onmessage = refresh;
  socket.onclose = () => setTimeout(listen, 1000);
}

// --- drawing -------------------------------------------------------------------

function draw(names) {
  page.names = names;
  page.me = names.me;
  page.since ??= names.now;
  const here = names.channels.find((c) => c.id === page.channel || c.name === page.channel) ?? names.channels[0];
  page.channel = here.id;
  $("team").textContent = names.team;
  drawPeople(names);
  drawSidebar(names, here);
  drawActions(names);
  drawTop(names, here);
  if (page.home) drawHome(names);
  else drawTimeline($("messages"), here.messages.filter(isTopLevel), names, here, false);
  drawThread(names, here);
  showModal(names.view, names, hands);
  document.body.dataset.version = names.version;
}

const isTopLevel = (m) => !m.thread_ts || m.thread_ts === m.ts || m.subtype === "thread_broadcast";

function drawPeople(names) {
  const box = $("whoami");
  if (!box.options.length) box.append(...names.people.map((id) => el("option", { value: id }, names.users[id].real_name)));
  box.value = names.me;
}

function drawSidebar(names, here) {
  const entries = names.channels.filter((c) => !c.is_im).map((c) => channelEntry(c, c === here && !page.home));
  const dms = names.channels.filter((c) => c.is_im).map((c) => channelEntry(c, c === here && !page.home));
  const home = el("button", { type: "button", id: "home", class: page.home ? "current" : null, onclick: openHome },
    el("span", { class: "hash" }, "◆"), el("span", { class: "label" }, names.bot.name));
  $("channels").replaceChildren(el("h2", {}, "Channels"), ...entries, el("h2", {}, "Apps"), home, ...dms);
}

function channelEntry(c, current) {
  const last = c.messages.at(-1)?.ts ?? "0";
  const key = `${page.me} ${c.id}`;
  if (current || !(key in page.seen)) page.seen[key] = last;
  const unread = c.messages.filter((m) => Number(m.ts) > Number(page.seen[key]) && m.user !== page.me).length;
  const sign = c.is_im ? "@" : c.is_private ? words("🔒") : "#";
  return el("button", {
    type: "button",
    class: [current && "current", unread && "unread", c.is_archived && "archived"].filter(Boolean).join(" "),
    "data-channel": c.name,
    "data-channel-id": c.id,
    onclick: () => openChannel(c.id),
  }, el("span", { class: "hash" }, sign), el("span", { class: "label" }, c.name), unread ? el("span", { class: "badge" }, unread) : null);
}

function drawActions(names) {
  const place = $("actions");
  if (place.childElementCount === names.actions.length) return;
  place.replaceChildren(...names.actions.map((action) =>
    el("button", { type: "button", class: "button page-action", "data-page-action": action.id, onclick: (event) => runAction(event.currentTarget, action) },
      words(action.label))));
}

async function runAction(button, action) {
  button.disabled = true;
  try {
    toast((await post(`/page/action/${action.id}`, {})).toast);
  } finally {
    button.disabled = false;
  }
}

function drawTop(names, here) {
  $("title").replaceChildren(...(page.home ? [names.bot.name] : words(`${here.is_private ? "🔒" : "#"} ${here.name}`)));
  $("topic").textContent = page.home ? "Home" : `${here.topic}${here.topic ? " · " : ""}${here.members} members`;
  $("composer-form").hidden = page.home || here.is_archived;
  $("composer").placeholder = `Message #${here.name} or ${names.commands[0] ?? ""} …`;
}

function drawHome(names) {
  const key = `home ${names.home?.hash}`;
  const place = $("messages");
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  const blocks = names.home ? renderBlocks(names.home.blocks, names, hands.act) : [el("p", { class: "empty" }, "Nothing here yet.")];
  place.replaceChildren(el("div", { class: "home" }, blocks));
}

// Keeps the node of every unchanged message, so that focus, open menus and scroll survive.
function drawTimeline(place, messages, names, here, inThread) {
  const key = `${here.id} ${page.me} ${inThread ? page.thread : ""}`;
  const fresh = place.dataset.key !== key;
  const atEnd = fresh || place.scrollHeight - place.scrollTop - place.clientHeight < 80;
  const old = new Map(fresh ? [] : [...place.children].map((node) => [node.dataset.key, node]));
  let previous = null;
  const nodes = messages.flatMap((m) => {
    const newDay = !previous || day(previous.ts) !== day(m.ts);
    const compact = !newDay && follows(previous, m);
    previous = m;
    const id = JSON.stringify([m, compact]);
    const node = old.get(id) ?? drawMessage(m, names, here, compact, inThread);
    node.dataset.key = id;
    return newDay && !inThread ? [divider(m.ts, old), node] : [node];
  });
  const same = nodes.length === place.childElementCount && nodes.every((node, index) => node === place.children[index]);
  if (!same) place.replaceChildren(...(nodes.length ? nodes : [el("p", { class: "empty" }, `This is the very beginning of #${here.name}.`)]));
  place.dataset.key = key;
  const wanted = fresh && query.get("ts") ? place.querySelector(`[data-ts="${CSS.escape(query.get("ts"))}"]`) : null;
  if (wanted) wanted.scrollIntoView({ block: "center" });
  else if (atEnd) place.scrollTop = place.scrollHeight;
}

const day = (ts) => new Date(Number(ts) * 1000).toDateString();
const time = (ts) => new Date(Number(ts) * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
const follows = (a, b) => a.user === b.user && !a.is_ephemeral === !b.is_ephemeral && Number(b.ts) - Number(a.ts) < 300 && !a.reply_count;

function divider(ts, old) {
  const key = `day ${day(ts)}`;
  const today = day(ts) === new Date().toDateString();
  const label = today ? "Today" : new Date(Number(ts) * 1000).toLocaleDateString("en-GB", { weekday: "long", day: "numeric", month: "long" });
  const node = old.get(key) ?? el("div", { class: "day" }, el("span", {}, label));
  node.dataset.key = key;
  return node;
}

function drawMessage(m, names, here, compact, inThread) {
  const author = names.users[m.user] ?? { name: m.user, real_name: m.user };
  const use = (block, element, value) => click(here, m, block, element, value);
  const classes = ["message", compact && "compact", m.is_ephemeral && "ephemeral"].filter(Boolean).join(" ");
  const bot = Boolean(m.bot_id);
  const label = bot ? author.name : author.real_name;
  return el("article", { class: classes, "data-ts": m.ts, "data-user": m.user, "data-ephemeral": m.is_ephemeral ? "true" : null },
    m.is_ephemeral && el("p", { class: "only-you" }, words("👁 Only visible to you")),
    avatar(m, author, label),
    el("div", { class: "body" },
      el("div", { class: "byline" }, el("strong", {}, label), bot && el("span", { class: "app" }, "APP"),
        el("time", { title: new Date(Number(m.ts) * 1000).toLocaleString() }, time(m.ts))),
      content(m, names, use),
      m.reply_count && !inThread && replyLine(m, names)));
}

function avatar(m, author, label) {
  if (m.bot_id) return el("span", { class: "avatar bot", "aria-hidden": true }, words("💀"));
  const hue = [...m.user].reduce((sum, letter) => sum + letter.charCodeAt(0), 0) % 6;
  return el("span", { class: `avatar hue-${hue}`, "aria-hidden": true }, label.split(" ").map((w) => w[0]).join("").slice(0, 2).toUpperCase());
}

function content(m, names, use) {
  const edited = m.edited && el("small", { class: "edited" }, " (edited)");
  const plain = !m.blocks?.length && m.text ? el("div", { class: "block text" }, mrkdwn(m.text, names), edited) : null;
  const attachments = (m.attachments ?? []).map((a) => attachment(a, names, use));
  return [plain, renderBlocks(m.blocks ?? [], names, use), attachments, (m.files ?? []).map(file)];
}

function attachment(a, names, use) {
  const bar = el("div", { class: "attachment" });
  if (a.color) bar.style.setProperty("--bar", `#${a.color.replace("#", "")}`);
  const field = (f) => el("div", { class: "text" }, el("b", {}, f.title), el("br"), mrkdwn(f.value, names));
  bar.append(...[
    a.pretext && el("div", { class: "text" }, mrkdwn(a.pretext, names)),
    a.title && el("strong", {}, words(a.title)),
    a.text && el("div", { class: "text" }, mrkdwn(a.text, names)),
    a.fields && el("div", { class: "fields" }, a.fields.map(field)),
    ...renderBlocks(a.blocks ?? [], names, use),
    a.footer && el("small", {}, a.footer),
  ].filter(Boolean));
  return bar;
}

function file(f) {
  const head = el("header", {}, el("span", {}, words("📄")), el("strong", {}, f.title || f.name), el("small", {}, `${f.filetype} · ${size(f.size)}`));
  const link = el("a", { href: `/page/files/${encodeURIComponent(f.id)}`, download: f.name }, "Download");
  if (f.preview === undefined) {
    const image = /^(png|jpe?g|gif)$/.test(f.filetype) && el("img", { src: `/page/files/${encodeURIComponent(f.id)}`, alt: f.title });
    return el("div", { class: "file", "data-file": f.id }, head, image, link);
  }
  const box = el("div", { class: "file", "data-file": f.id }, head, el("pre", {}, f.preview));
  const toggle = el("button", { type: "button", class: "link", onclick: () => {
    toggle.textContent = box.classList.toggle("open") ? "Collapse" : "Expand";
  } }, "Expand");
  const long = f.preview.split("\n").length > 8;
  box.append(el("footer", {}, long && toggle, link));
  return box;
}

const size = (bytes) => (bytes < 1024 ? `${bytes} B` : `${(bytes / 1024).toFixed(1)} kB`);

function replyLine(m, names) {
  const faces = m.reply_users.slice(0, 3).map((id) => avatar({ user: id, bot_id: names.users[id]?.is_bot }, names.users[id], names.users[id]?.real_name ?? id));
  return el("button", { type: "button", class: "replies", onclick: () => openThread(m.ts) }, faces,
    el("b", {}, `${m.reply_count} ${m.reply_count === 1 ? "reply" : "replies"}`), el("small", {}, `last at ${time(m.latest_reply)}`));
}

function drawThread(names, here) {
  const place = $("thread");
  const parent = here.messages.find((m) => m.ts === page.thread);
  place.hidden = !parent || page.home;
  document.body.classList.toggle("with-thread", !place.hidden);
  if (place.hidden) return;
  if (!place.childElementCount) place.append(...threadFrame());
  const replies = here.messages.filter((m) => m.thread_ts === page.thread && m.ts !== page.thread);
  drawTimeline(place.querySelector(".thread-messages"), [parent, ...replies], names, here, true);
}

function threadFrame() {
  const box = el("textarea", { id: "thread-composer", rows: 1, placeholder: "Reply…", "aria-label": "Reply" });
  const form = el("form", { class: "composer", onsubmit: (event) => send(event, box, page.thread) }, box,
    el("button", { type: "submit", "aria-label": "Send" }, "➤"));
  sendOnEnter(box, form);
  const close = el("button", { type: "button", class: "close", "aria-label": "Close thread", onclick: () => openThread(null) }, "✕");
  return [el("header", {}, el("h2", {}, "Thread"), close), el("div", { class: "thread-messages" }), form];
}

// --- what people do --------------------------------------------------------------

async function click(here, m, block, element, value) {
  if (element.confirm && !(await askToConfirm(element.confirm, page.names))) return;
  const reply = await act("click", { channel: here.id, ts: m.ts, action_id: element.action_id, block_id: block.block_id, value });
  if (reply.result === false) toast(`⚠️ ${page.names.bot.name} did not answer in time`, "bad");
}

const hands = {
  act: async (block, element, value) => {
    if (element.confirm && !(await askToConfirm(element.confirm, page.names))) return;
    const form = document.querySelector("#modal[open] form");
    await act("click_view", { action_id: element.action_id, block_id: block.block_id, value, typed: form ? readFields(form) : {} });
  },
  submit: async (values) => {
    const reply = await act("submit", { values });
    showErrors(reply.result ?? {});
  },
  close: () => act("close", {}),
};

async function send(event, box, threadTs) {
  event.preventDefault();
  const line = box.value.trim();
  if (!line) return;
  box.value = "";
  hint();
  const doing = line.startsWith("/") ? "slash" : "say";
  await act(doing, { channel: page.channel, text: doing === "say" ? withMentions(line) : line, thread_ts: threadTs });
}

function withMentions(line) {
  const plain = line.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return Object.entries(page.names.users).reduce((done, [id, u]) => done.replaceAll(new RegExp(`@${u.name}\\b`, "g"), `<@${id}>`), plain);
}

function sendOnEnter(box, form) {
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
}

function hint() {
  const typed = $("composer").value;
  const fits = typed.startsWith("/") && !typed.includes(" ") ? (page.names?.commands ?? []).filter((c) => c.startsWith(typed)) : [];
  $("hints").hidden = !fits.length;
  $("hints").replaceChildren(...fits.map((command) =>
    el("button", { type: "button", onclick: () => complete(command) }, el("b", {}, command), ` ${page.names.bot.name}`)));
}

function complete(command) {
  $("composer").value = `${command} `;
  $("composer").focus();
  hint();
}

function openChannel(id) {
  page.home = false;
  page.channel = id;
  page.thread = null;
  document.body.classList.remove("menu-open");
  draw(page.names);
}

function openThread(ts) {
  page.thread = ts;
  draw(page.names);
}

function openHome() {
  page.home = true;
  document.body.classList.remove("menu-open");
  act("home", {});
  draw(page.names);
}

// "3 minutes ago" moves on while the page stays open.
function tick() {
  for (const node of document.querySelectorAll('time[data-format*="{ago}"]')) {
    node.textContent = dateText(new Date(Number(node.dataset.at) * 1000), node.dataset.format, Date.now() / 1000);
  }
}

$("whoami").addEventListener("change", (event) => {
  page.me = event.target.value;
  refresh();
});
$("menu").addEventListener("click", () => document.body.classList.toggle("menu-open"));
$("composer").addEventListener("input", hint);
$("composer-form").addEventListener("submit", (event) => send(event, $("composer"), null));
sendOnEnter($("composer"), $("composer-form"));
$("messages").addEventListener("click", () => document.body.classList.remove("menu-open"));
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
setInterval(tick, 10_000);
await refresh();
listen();
