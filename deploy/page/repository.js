// The tags of one repository.

import { addressOf, searched } from "./api.js";
import { CLIENTS, pullLine } from "./commands.js";
import { sorter } from "./home.js";
import { copy, icon, kindBadge, List, message, platformNames, refusal, repositoryName, size, time } from "./parts.js";
import { html, nothing } from "./vendor/lit-html.js";
import { compareVersions, t } from "./words.js";

const ORDERS = {
  pushed: (one, other) => other.pushed - one.pushed,
  name: (one, other) => compareVersions(other.tag, one.tag),
  size: (one, other) => other.size - one.size,
  used: (one, other) => (other.used ?? 0) - (one.used ?? 0),
};
// Tags that were pushed since the list was written are looked at one by one.
const NEW_TAGS = 20;

export class Repository {
  constructor(app, { repository, query }) {
    Object.assign(this, { app, repository });
    this.text = query.get("q") ?? "";
    this.order = query.get("sort") in ORDERS ? query.get("sort") : "pushed";
    this.selected = new Set();
    this.mayDelete = app.me.role === "admin";
    this.list = new List({
      name: this.mayDelete ? "tags-of deletable" : "tags-of",
      label: repository,
      columns: [
        ...(this.mayDelete ? [{ name: "choose" }] : []),
        { name: "name", order: "name" },
        { name: "platforms" },
        { name: "size", order: "size" },
        { name: "pushed", order: "pushed" },
        { name: "created" },
        { name: "used", order: "used" },
        { name: "act" },
      ],
      row: (item, index) => this.row(item, index),
      sort: (order) => this.sort(order),
    });
  }

  get title() {
    return this.repository;
  }

  get searchLabel() {
    return t("search.tags", { repository: this.repository });
  }

  async load() {
    await this.refresh();
  }

  async refresh() {
    try {
      const data = await this.app.api.data(`r/${this.repository}/_tags.json`);
      const first = !this.data;
      const changed = data.made !== this.data?.made;
      this.data = data;
      this.refused = null;
      if (changed) this.arrange(!first);
      this.app.render();
      await this.compareWithNow();
      this.app.answered();
    } catch (refused) {
      this.refused = refused;
      this.app.failed(refused);
    }
    this.app.render();
  }

  /** The list is up to a minute old: what is there now is asked of the registry. */
  async compareWithNow() {
    const there = await this.app.api.tags(this.repository);
    if (!there) return;
    const listed = new Set(this.data.tags.map(({ tag }) => tag));
    const unlisted = [...there].filter((tag) => !listed.has(tag) && !/^sha256-[0-9a-f]{64}/.test(tag));
    const added = await Promise.all(unlisted.slice(0, NEW_TAGS).map((tag) => this.justPushed(tag)));
    const tags = [...added.filter(Boolean), ...this.data.tags.filter(({ tag }) => there.has(tag))];
    if (added.length || tags.length !== this.data.tags.length) {
      this.data = { ...this.data, tags };
      this.arrange(true);
    }
  }

  async justPushed(tag) {
    const digest = await this.app.api.digest(this.repository, tag).catch(() => null);
    const now = Math.floor(this.app.api.now());
    return (
      digest && { tag, digest: digest.slice(7, 23), pushed: now, platforms: [], kind: "image", size: 0, fresh: true }
    );
  }

  /** Who has which digest, then what is shown. */
  arrange(still = false) {
    const groups = Map.groupBy(this.data.tags, ({ digest }) => digest);
    for (const row of this.data.tags) row.others = groups.get(row.digest).filter(({ tag }) => tag !== row.tag);
    this.sorted = this.data.tags.toSorted(ORDERS[this.order]);
    for (const tag of this.selected) if (!this.data.tags.some((row) => row.tag === tag)) this.selected.delete(tag);
    this.show(still);
  }

  show(still = false) {
    if (!this.data) return;
    const text = searched(this.text);
    const digest = text.replace(/^.*sha256:/, "").slice(0, 16);
    const has = (row) => row.tag.toLowerCase().includes(text) || (digest.length > 2 && row.digest.startsWith(digest));
    this.shown = this.sorted.filter(has);
    this.list.show(this.shown, this.order, still);
  }

  search(text) {
    this.text = text;
    this.app.rememberSoon(this.places());
    this.show();
    this.app.render();
  }

  sort(order) {
    this.order = order;
    this.sorted = this.data.tags.toSorted(ORDERS[order]);
    this.app.remember(this.places());
    this.show();
    this.app.render();
  }

  places() {
    return { q: this.text, sort: this.order === "pushed" ? "" : this.order };
  }

  nextOrder() {
    const all = Object.keys(ORDERS);
    this.sort(all[(all.indexOf(this.order) + 1) % all.length]);
  }

  // The pull line, of the client that was chosen.

  /** The line for a row; it asks for the whole digest where that is wanted. */
  async line(row) {
    const digest = this.app.byDigest ? await this.app.api.digest(this.repository, row.tag) : "";
    return pullLine(this.app.client, row.kind, this.repository, row.tag, digest);
  }

  copy() {
    const row = this.list.focused() ? this.rowOf(this.list.focused()) : this.newest;
    if (row) copy(this.line(row), this.list.focused()?.querySelector(".copy"));
  }

  rowOf(element) {
    return this.shown.find(({ tag }) => tag === element.dataset.tag);
  }

  get newest() {
    return this.data?.tags.find(({ problem }) => !problem);
  }

  // What is shown.

  template() {
    if (!this.data) {
      return this.refused ? refusal(this.refused, this.app, () => this.load()) : html`<p class="wait">${t("wait")}</p>`;
    }
    const { tags, untagged } = this.data;
    return html`
      <div class="title">
        <h1>${repositoryName(this.repository)}</h1>
        <span class="count">${this.shown.length < tags.length ? t("of", { n: this.shown.length, all: tags.length }) : t("tags", { n: tags.length })}</span>
        ${untagged ? html`<span class="count">${t("untagged", { n: untagged })}</span>` : nothing}
        <span class="rights">${t(`may.${this.app.me.role || "none"}`)}</span>
        ${sorter(Object.keys(ORDERS), this.order, (order) => this.sort(order))}
      </div>
      ${
        this.newest
          ? pullBox(
              this.app,
              this.newest.kind,
              (client) =>
                pullLine(
                  client,
                  this.newest.kind,
                  this.repository,
                  this.newest.tag,
                  this.app.byDigest ? `sha256:${this.newest.digest}…` : "",
                ),
              () => this.line(this.newest),
            )
          : nothing
      }
      ${this.selected.size ? this.selection() : nothing}
      ${tags.length ? (this.shown.length ? this.list.element : this.noMatch()) : message(t("repository.empty"), t("repository.empty.text"))}
    `;
  }

  noMatch() {
    return message(
      t("repository.no-match", { text: this.text }),
      nothing,
      html`<p><a href="/?q=${encodeURIComponent(this.text)}">${t("search.everywhere")}</a></p>`,
    );
  }

  row(row, index) {
    const { tag, digest, kind, others, problem, retention, signed, attested } = row;
    const now = this.app.api.now();
    const seal = (name, yes) =>
      yes
        ? html`<span class="mark" title=${t(name)} role="img" aria-label=${t(name)}>${icon(name === "signed" ? "seal" : "stamp")}</span>`
        : nothing;
    return html`<div class=${problem ? "row problem" : "row"} role="row" aria-rowindex=${index} data-tag=${tag}>
      ${this.mayDelete ? html`<span role="cell" class="choose"><input type="checkbox" aria-label=${t("select.one", { tag })} .checked=${this.selected.has(tag)} @change=${(event) => this.select(tag, event.target.checked)}></span>` : nothing}
      <span role="cell" class="name">
        <a class="open" href=${addressOf(this.repository, tag)}><bdi>${tag}</bdi></a>
        ${row.fresh ? html`<span class="badge fresh">${t("just-now")}</span>` : nothing}
        ${kindBadge(kind)}${seal("signed", signed)}${seal("attested", attested)}
        ${
          others.length
            ? html`<span class="others" title=${t("same", { digest })}>= ${others
                .map((other) => other.tag)
                .slice(0, 4)
                .join(" = ")}${others.length > 4 ? " …" : nothing}</span>`
            : nothing
        }
        ${problem ? html`<span class="why">${problem}</span>` : nothing}
        ${retention ? html`<span class="why">${t("retention", { why: retention })}</span>` : nothing}
      </span>
      <span role="cell" class="platforms">${platformNames(row.platforms)}</span>
      <span role="cell" class="size">${size(row.size)}</span>
      <span role="cell" class="pushed">${time(row.pushed, now)}</span>
      <span role="cell" class="created">${time(row.created, now)}</span>
      <span role="cell" class="used">${time(row.used, now)}</span>
      <span role="cell" class="act"><button type="button" class="quiet copy" title=${t("copy.pull")} aria-label=${t("copy.pull.of", { tag })} @click=${(event) => copy(this.line(row), event.currentTarget)}>${icon("copy")}</button></span>
    </div>`;
  }

  // Choosing and deleting.

  select(tag, yes) {
    if (yes) this.selected.add(tag);
    else this.selected.delete(tag);
    this.app.render();
  }

  selectAll(yes) {
    this.selected = new Set(yes ? this.shown.map(({ tag }) => tag) : []);
    this.show(true);
    this.app.render();
  }

  selection() {
    const all = this.selected.size === this.shown.length;
    return html`<div class="selection" role="toolbar" aria-label=${t("selection")}>
      <span>${t("selected", { n: this.selected.size })}</span>
      <button type="button" class="link" @click=${() => this.selectAll(!all)}>${all ? t("select.none") : t("select.all", { n: this.shown.length })}</button>
      <button type="button" class="danger" @click=${() => this.remove()}>${t("delete.open")}</button>
    </div>`;
  }

  async remove() {
    const { Removal } = await import("./remove.js");
    const rows = this.data.tags.filter(({ tag }) => this.selected.has(tag));
    this.app.show(new Removal(this.app, this.repository, rows, this.data.tags, () => this.afterRemoval()));
  }

  /** Tags went, or came back: shown at once, not in a minute. */
  async afterRemoval() {
    this.selected.clear();
    await this.compareWithNow();
    this.show(true);
    this.app.render();
  }
}

/** The pull line, and for which client it is. `shown` makes the line to read, `whole` the one to copy. */
export function pullBox(app, kind, shown, whole) {
  const clients = CLIENTS[kind] ?? CLIENTS.image;
  const client = clients.includes(app.client) ? app.client : clients[0];
  const choose = (name) => {
    app.client = name;
    app.render();
  };
  const text = shown(client);
  return html`<div class="pull">
    <div class="clients" role="group" aria-label=${t("client")}>
      ${clients.map((name) => html`<button type="button" class="plain" aria-pressed=${name === client} @click=${() => choose(name)}>${t(`client.${name}`)}</button>`)}
      <label class="by-digest"><input type="checkbox" .checked=${app.byDigest} @change=${(event) => {
        app.byDigest = event.target.checked;
        app.render();
      }}> ${t("by-digest")}</label>
    </div>
    <div class="command"><code>${text}</code><button class="quiet copy" type="button" title=${t("copy")} aria-label=${t("copy.pull")} @click=${(event) => copy(whole(), event.currentTarget)}>${icon("copy")}</button></div>
  </div>`;
}
