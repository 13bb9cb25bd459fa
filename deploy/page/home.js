// All repositories that this account may pull.

import { addressOf, searched } from "./api.js";
import { command, kindBadge, List, message, refusal, repositoryName, size, time } from "./parts.js";
import { html, nothing } from "./vendor/lit-html.js";
import { bytes, compare, number, t } from "./words.js";

const ORDERS = {
  pushed: (one, other) => pushedAt(other) - pushedAt(one),
  name: (one, other) => compare(one.name, other.name),
  used: (one, other) => (other.used ?? 0) - (one.used ?? 0),
  size: (one, other) => (other.newest?.size ?? 0) - (one.newest?.size ?? 0),
  tags: (one, other) => other.tags - one.tags,
};
const LETTERS_FOR_TAGS = 3;
const TAGS_SHOWN = 100;
// What may be a digest, or the beginning of one.
const HEX = /(^|sha256:)[0-9a-f]{3,64}$/;

export class Home {
  constructor(app, { query }) {
    this.app = app;
    this.text = query.get("q") ?? "";
    this.order = query.get("sort") in ORDERS ? query.get("sort") : "pushed";
    this.folded = new Set();
    this.data = null;
    this.refused = null;
    this.list = new List({
      name: "repositories",
      label: t("repositories"),
      columns: [
        { name: "name", order: "name" },
        { name: "newest" },
        { name: "pushed", order: "pushed" },
        { name: "used", order: "used" },
        { name: "size", order: "size" },
        { name: "tags", order: "tags" },
      ],
      row: (item, index) => (item.group === undefined ? this.row(item, index) : this.group(item, index)),
      sort: (order) => this.sort(order),
    });
  }

  get title() {
    return this.text;
  }

  get searchLabel() {
    return t("search.all");
  }

  async load() {
    await Promise.all([this.fetch(), this.app.unlimitedAdmin && this.fetchDisk()]);
    if (this.text) await this.fetchTags();
  }

  async refresh() {
    await this.fetch();
  }

  async fetch() {
    const { api, me } = this.app;
    if (!me.view) return this.app.render();
    try {
      const data = await api.data(`views/${me.view}.json`);
      const changed = data.made !== this.data?.made;
      const first = !this.data;
      this.data = data;
      this.refused = null;
      this.app.answered();
      if (changed) this.show(!first);
    } catch (refused) {
      this.refused = refused;
      this.app.failed(refused);
      if (refused.status === 404) setTimeout(() => this.app.screen === this && this.fetch(), 10_000);
    }
    this.app.render();
  }

  async fetchDisk() {
    this.disk = await this.app.api.data("disk.json").catch(() => null);
    this.app.render();
  }

  /** The names of all tags, once somebody searches; their digests, once it may be one. */
  async fetchTags() {
    const text = searched(this.text);
    if (text.length < LETTERS_FOR_TAGS) return;
    this.names ??= this.fetchAll("tags");
    if (HEX.test(text)) this.digests ??= this.fetchAll("digests");
    const [names, digests] = await Promise.all([this.names, this.digests]);
    this.all = Object.entries(names).flatMap(([repository, tags]) =>
      tags.map((tag, at) => ({
        repository,
        tag,
        digest: digests?.[repository]?.[at] ?? "",
        text: `${repository}:${tag}`.toLowerCase(),
      })),
    );
    this.app.render();
  }

  async fetchAll(what) {
    const found = await this.app.api.data(`views/${this.app.me.view}.${what}.json`).catch(() => ({ repositories: {} }));
    return found.repositories;
  }

  search(text) {
    this.text = text;
    this.app.rememberSoon(this.places());
    this.show();
    this.app.render();
    this.fetchTags();
  }

  sort(order) {
    this.order = order;
    this.app.remember(this.places());
    this.show();
    this.app.render();
  }

  nextOrder() {
    const all = Object.keys(ORDERS);
    this.sort(all[(all.indexOf(this.order) + 1) % all.length]);
  }

  places() {
    return { q: this.text, sort: this.order === "pushed" ? "" : this.order };
  }

  /** Copies the pull command of the newest image in the row that has the focus. */
  copy() {
    const row = this.list.focused();
    const link = row?.querySelector("a.tag") ?? row?.querySelector("a.open");
    if (link) navigator.clipboard.writeText(`docker pull ${location.host}/${placeName(link)}`);
  }

  // What is shown.

  show(still = false) {
    if (!this.data) return;
    const text = searched(this.text);
    const found = this.data.repositories.filter(({ name }) => name.includes(text)).sort(ORDERS[this.order]);
    this.shown = found;
    this.list.show(this.order === "name" && !text ? this.grouped(found) : found, this.order, still);
  }

  /** By name they are a tree, which folds at the first slash. */
  grouped(rows) {
    const groups = Map.groupBy(rows, ({ name }) => (name.includes("/") ? name.slice(0, name.indexOf("/")) : ""));
    return [...groups].flatMap(([group, members]) => {
      if (!group) return members;
      return [{ group, count: members.length }, ...(this.folded.has(group) ? [] : members)];
    });
  }

  fold(group) {
    if (!this.folded.delete(group)) this.folded.add(group);
    this.show(true);
  }

  template() {
    if (this.refused && !this.data) return this.unseen();
    if (!this.app.me.view && !this.app.me.account) return this.stranger();
    if (!this.data) return html`<p class="wait">${t("wait")}</p>`;
    if (!this.data.repositories.length) return this.empty();
    return html`
      <div class="title">
        <h1>${t("repositories")}</h1>
        <span class="count">${this.shown.length < this.data.repositories.length ? t("of", { n: this.shown.length, all: this.data.repositories.length }) : number(this.shown.length)}</span>
        ${this.disk ? this.strip(this.disk) : nothing}
        ${sorter(Object.keys(ORDERS), this.order, (order) => this.sort(order))}
      </div>
      ${this.shown.length ? this.list.element : message(t("home.no-match", { text: this.text }))}
      ${this.inTags()}
      ${this.app.me.account ? nothing : html`<p class="aside">${t("home.stranger")} <button type="button" class="link" @click=${() => this.app.signIn()}>${t("sign-in")}</button></p>`}
    `;
  }

  row({ name, tags, newest, used }, index) {
    const now = this.app.api.now();
    return html`<div class="row" role="row" aria-rowindex=${index}>
      <span role="cell" class="name"><a class="open" href=${addressOf(name)}>${repositoryName(name)}</a>${newest ? kindBadge(newest.kind) : nothing}</span>
      <span role="cell" class="newest">${newest ? html`<a class="tag" href=${addressOf(name, newest.tag)}>${newest.tag}</a>` : nothing}</span>
      <span role="cell" class="pushed">${time(newest?.pushed, now)}</span>
      <span role="cell" class="used">${time(used, now)}</span>
      <span role="cell" class="size">${size(newest?.size)}</span>
      <span role="cell" class="tags">${number(tags)}</span>
    </div>`;
  }

  group({ group, count }, index) {
    return html`<div class="row group" role="row" aria-rowindex=${index}><span role="cell">
      <button type="button" class="plain" aria-expanded=${!this.folded.has(group)} @click=${() => this.fold(group)}>${group}/</button>
      <span class="count">${number(count)}</span>
    </span></div>`;
  }

  strip({ total, free, freeable, untagged }) {
    return html`<span class="strip">
      <meter min="0" max=${total} value=${total - free} aria-label=${t("disk.label")}></meter>
      ${t("disk.free", { free: bytes(free), total: bytes(total) })}
      ${freeable ? html`<span>${t("disk.freeable", { size: bytes(freeable) })}</span>` : nothing}
      ${untagged ? html`<span>${t("disk.untagged", { n: untagged })}</span>` : nothing}
    </span>`;
  }

  /** Tags and digests in which the text is. */
  inTags() {
    const text = searched(this.text).replace(/^.*sha256:/, "");
    if (!this.all || text.length < LETTERS_FOR_TAGS) return nothing;
    const found = this.all.filter((it) => it.text.includes(text) || it.digest.startsWith(text.slice(0, 16)));
    if (!found.length) return nothing;
    const row = ({ repository, tag, digest }) =>
      html`<li><a class="open" href=${addressOf(repository, tag)}>${repositoryName(repository)}<span class="colon">:</span>${tag}</a> <code>${digest.slice(0, 12)}</code></li>`;
    return html`<section class="in-tags">
      <h2>${t("home.in-tags")} <span class="count">${number(found.length)}</span></h2>
      <ul>${found.slice(0, TAGS_SHOWN).map(row)}</ul>
      ${found.length > TAGS_SHOWN ? html`<p>${t("home.more", { n: found.length - TAGS_SHOWN })}</p>` : nothing}
    </section>`;
  }

  // Where there is nothing to show.

  unseen() {
    if (this.refused.status === 404) return message(t("home.being-made"), t("home.being-made.text"));
    return refusal(this.refused, this.app, () => this.load());
  }

  stranger() {
    return message(
      t("home.closed"),
      t("home.closed.text"),
      html`<p><button type="button" class="main" @click=${() => this.app.signIn()}>${t("sign-in")}</button></p>`,
    );
  }

  empty() {
    const { me } = this.app;
    if (!me.account) return this.stranger();
    const first = me.repositories.find((pattern) => !pattern.includes("*")) ?? me.repositories[0]?.replace("*", "app");
    const name = `${location.host}/${first === "app" || !first ? "team-a/app" : first}:1.0`;
    const limited = me.repositories.includes("*")
      ? nothing
      : html`<p>${t("home.limited", { where: me.repositories.join(", ") })}</p>`;
    if (me.role === "pull") return message(t("home.empty"), t("home.empty.pull"), limited);
    const lines = [`docker login ${location.host} -u ${me.account}`, `docker tag app ${name}`, `docker push ${name}`];
    return message(t("home.empty"), t("home.empty.push"), html`${limited}${lines.map((line) => command(line))}`);
  }
}

/** The choice of an order where the heads of the columns are not shown. */
export const sorter = (orders, chosen, sort) =>
  html`<label class="sorter"><span>${t("sort")}</span> <select @change=${(event) => sort(event.target.value)}>
    ${orders.map((order) => html`<option value=${order} ?selected=${order === chosen}>${t(`column.${order}`)}</option>`)}
  </select></label>`;

const pushedAt = ({ newest }) => newest?.pushed ?? 0;

const placeName = (link) => decodeURIComponent(link.hash.slice(1) || link.pathname.slice(1));
