// What the screens are made of: small templates, and the list that stays quick with 10,000 rows.

import { html, nothing, render, svg } from "./vendor/lit-html.js";
import { ago, bytes, has, moment, t } from "./words.js";

const PATHS = {
  copy: svg`<path d="M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z"/>`,
  done: svg`<path d="m3 8.5 3.5 3.5L13 4.5"/>`,
  search: svg`<path d="m10.5 10.5 4 4M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10z"/>`,
  seal: svg`<path d="m5 8 2 2 4-4M8 1.5l5.5 2v4c0 3.5-2.5 6-5.5 7-3-1-5.5-3.5-5.5-7v-4z"/>`,
  stamp: svg`<path d="M3 13.5h10M4 10.5h8v-2H9V5.700a2 2 0 1 0-2 0v2.800H4z"/>`,
  person: svg`<path d="M8 8a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM2.5 14c.5-3 2.5-4.5 5.5-4.5s5 1.5 5.5 4.5"/>`,
  back: svg`<path d="M9.5 3.5 5 8l4.5 4.5"/>`,
};

export const icon = (name) => html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true">${PATHS[name]}</svg>`;

/** A time as "3 days ago", the whole of it on hovering; "-" where nobody knows. */
export const time = (seconds, now) =>
  seconds
    ? html`<time datetime=${new Date(seconds * 1000).toISOString()} title=${moment(seconds)}>${ago(seconds, now)}</time>`
    : html`<span class="none">–</span>`;

export const size = (count) => (count ? bytes(count) : html`<span class="none">–</span>`);

/** A line to type somewhere, with a button that copies it. */
export const command = (text, label = t("copy")) =>
  html`<div class="command"><code>${text}</code>${copier(text, label)}</div>`;

export const copier = (text, label = t("copy")) =>
  html`<button class="quiet copy" type="button" title=${label} aria-label=${label} @click=${(event) => copy(text, event.currentTarget)}>
    ${icon("copy")}
  </button>`;

/** Put a text into the clipboard; the button says for a moment that it is there. */
export async function copy(text, button) {
  await navigator.clipboard.writeText(await text);
  button?.classList.add("copied");
  setTimeout(() => button?.classList.remove("copied"), 1500);
}

/** What is more than an ordinary image, as a small word. */
export const kindBadge = (kind) =>
  ["image", "index"].includes(kind) ? nothing : html`<span class="badge">${kindName(kind)}</span>`;

export const kindName = (kind) => t(has(`kind.${kind}`) ? `kind.${kind}` : "kind.artifact");

/** linux/amd64 and linux/arm64 as "amd64 arm64": what is everywhere the same need not be read. */
export const platformNames = (platforms) =>
  platforms.map((name) => html`<span class="platform" title=${name}>${name.replace(/^linux\//, "")}</span>`);

/** team-a/ in a lighter colour, app in the usual one. */
export function repositoryName(name) {
  const cut = name.lastIndexOf("/") + 1;
  return html`<span class="space">${name.slice(0, cut)}</span><bdi>${name.slice(cut)}</bdi>`;
}

/** Words in the place of what is not there: what happened, why, what to do. */
export const message = (title, text = nothing, more = nothing) =>
  html`<section class="message"><h2>${title}</h2>${text === nothing ? nothing : html`<p>${text}</p>`}${more}</section>`;

/** What to say of an answer that was none. `again` is called when its wait is over. */
export function refusal(refused, app, again) {
  if (refused.status === 429) {
    return message(t("limited.title"), t("limited.text"), countdown(refused.wait || 60, again));
  }
  if (refused.status === 404 || refused.status === 401) {
    const more = app.me.account
      ? nothing
      : html`<p><button type="button" @click=${() => app.signIn()}>${t("sign-in")}</button></p>`;
    return message(t("missing.title"), t("missing.text"), more);
  }
  if (refused.status === 403) {
    return message(
      t("forbidden.title"),
      refused.message,
      html`<p>${t("forbidden.may", { role: roleName(app.me.role), where: app.me.repositories.join(", ") })}</p>`,
    );
  }
  if (refused.down) return message(t("down.title"), t("down.text"));
  return message(t("odd.title"), refused.message || String(refused), html`<p>${t("odd.doctor")}</p>`);
}

export const roleName = (role) => t(`role.${role || "none"}`);

/** "again in 42 s", counted down; then `again` is called. */
export function countdown(seconds, again) {
  const end = Date.now() + seconds * 1000;
  const element = document.createElement("p");
  element.className = "countdown";
  element.setAttribute("role", "timer");
  const tick = () => {
    const left = Math.ceil((end - Date.now()) / 1000);
    if (left > 0) {
      element.textContent = t("limited.again", { n: left });
      setTimeout(tick, 250);
    } else if (element.isConnected) {
      again();
    }
  };
  tick();
  return element;
}

const CHUNK = 50;
const AT_ONCE = 1;
// So many rows are made even where nobody looks, so that the browser's own search finds them.
const UNSEEN = 2000;
const SLICE = 10;
// Whoever types goes on typing.
const PAUSE = 200;

/**
 * Rows of a table, in chunks. The first fifty are made at once, the others when they come into view or when nothing
 * else is to be done; the browser paints only what is in view.
 */
export class List {
  /** `columns`: [{ name, order }]; `row`: a template of an item and its index; `sort`: called with the name of an order. */
  constructor({ name, label, columns, row, sort }) {
    Object.assign(this, { columns, row, sort, items: [], chunks: [], run: 0 });
    this.element = document.createElement("div");
    this.element.className = `list ${name}`;
    this.element.role = "table";
    this.element.ariaLabel = label;
    this.head = document.createElement("div");
    this.head.className = "head";
    this.head.role = "rowgroup";
    this.element.append(this.head);
  }

  /** Show these. `still`: nothing may jump, as they are nearly the same. */
  show(items, order, still = false) {
    this.items = items;
    this.run += 1;
    render(this.header(order), this.head);
    this.element.ariaRowCount = items.length + 1;
    const kept = this.chunks.slice(0, still ? undefined : AT_ONCE);
    this.chunks = Array.from({ length: Math.ceil(items.length / CHUNK) }, (_, at) => kept[at] ?? this.chunk(at));
    this.chunks.forEach((chunk, at) => {
      if (at < AT_ONCE || chunk.firstChild) this.fill(at);
    });
    this.element.replaceChildren(this.head, ...this.chunks);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.later(AT_ONCE, this.run), PAUSE);
  }

  chunk(at) {
    const element = document.createElement("div");
    element.className = "chunk";
    element.role = "rowgroup";
    element.addEventListener("contentvisibilityautostatechange", ({ skipped }) => {
      if (!skipped && !element.firstChild && element.isConnected) this.fill(at);
    });
    return element;
  }

  later(from, run) {
    const idle = window.requestIdleCallback ?? setTimeout;
    idle(
      () => {
        const end = performance.now() + SLICE;
        let at = from;
        while (run === this.run && at < this.chunks.length && at < UNSEEN / CHUNK && performance.now() < end) {
          if (!this.chunks[at].firstChild) this.fill(at);
          at += 1;
        }
        if (run === this.run && at < this.chunks.length && at < UNSEEN / CHUNK) this.later(at, run);
      },
      { timeout: 200 },
    );
  }

  fill(at) {
    const rows = this.items.slice(at * CHUNK, (at + 1) * CHUNK);
    // The head is row 1.
    if (this.chunks[at])
      render(
        rows.map((item, index) => this.row(item, at * CHUNK + index + 2)),
        this.chunks[at],
      );
  }

  header(order) {
    const cell = ({ name, order: key }) => {
      if (!key) return html`<span role="columnheader" class=${name}><span>${t(`column.${name}`)}</span></span>`;
      const sorted = key === order ? (key === "name" ? "ascending" : "descending") : "none";
      return html`<span role="columnheader" class=${name} aria-sort=${sorted}>
        <button type="button" class="plain" @click=${() => this.sort(key)}>${t(`column.${name}`)}</button>
      </span>`;
    };
    return html`<div class="row" role="row" aria-rowindex="1">${this.columns.map(cell)}</div>`;
  }

  /** Move the focus by so many rows. */
  move(step) {
    const chunk = this.chunks.indexOf(this.focused()?.parentElement);
    for (const at of [chunk - 1, chunk + 1]) if (this.chunks[at] && !this.chunks[at].firstChild) this.fill(at);
    const rows = [...this.element.querySelectorAll("a.open")];
    const at = rows.indexOf(this.focused()?.querySelector("a.open"));
    const next = rows[at < 0 ? 0 : Math.min(Math.max(at + step, 0), rows.length - 1)];
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  }

  /** The row in which the focus is. */
  focused() {
    const row = document.activeElement?.closest(".row");
    return this.element.contains(row) ? row : null;
  }
}
