// Deleting tags, and bringing them back. The dialog names everything that goes before anything goes.

import { members } from "./manifest.js";
import { time } from "./parts.js";
import { html, nothing } from "./vendor/lit-html.js";
import { deadline, span, t } from "./words.js";

const INDEXES_READ = 500;
const AT_A_TIME = 6;
const MONTH = 30 * 86_400;

/**
 * The confirmation. Registry 3.x deletes a tag alone; 2.8 deletes a manifest with all its tags, so there the other
 * tags of the same image go too, and nothing goes that is a part of another index.
 */
export class Removal {
  /** `rows`: what was chosen; `all`: every row of the repository; `after` is called when something went. */
  constructor(app, repository, rows, all, after) {
    Object.assign(this, { app, repository, all, after });
    this.alone = app.site.tag_delete;
    const digests = new Set(rows.map(({ digest }) => digest));
    const same = all.filter(({ digest }) => digests.has(digest));
    this.goes = this.alone ? rows : same;
    this.chosen = rows;
    this.stays = same.filter((row) => !this.goes.includes(row));
    this.state = "looking";
    this.done = [];
    this.look();
  }

  /** Find out what goes along, and keep what an undo needs. */
  async look() {
    try {
      this.kept = await inTurns(this.goes, (row) => this.read(row));
      this.changed = this.kept.filter(({ row, digest }) => digest && digest.slice(7, 23) !== row.digest);
      this.unreadable = this.kept.filter(({ digest }) => !digest);
      this.parts = this.alone ? [] : await this.inIndexes();
      this.along = await this.hung();
      this.members = await this.readMembers();
      this.state = this.stops() === nothing ? "ready" : "refused";
    } catch (refused) {
      this.state = "refused";
      this.said = refused.message || t("down.text");
    }
    this.app.render();
  }

  async read(row) {
    try {
      return { row, tag: row.tag, ...(await this.app.api.manifest(this.repository, row.tag)) };
    } catch (refused) {
      if (refused.status !== 404) throw refused;
      return { row, tag: row.tag, digest: "" };
    }
  }

  /** The tags of indexes that have one of the images as a part, and stay. */
  async inIndexes() {
    const going = new Set(this.kept.map(({ digest }) => digest));
    const seen = new Map(this.all.filter(({ kind }) => kind === "index").map((row) => [row.digest, row]));
    for (const { digest } of this.kept) seen.delete(digest.slice(7, 23));
    if (seen.size > INDEXES_READ) throw new Error(t("delete.many-indexes", { n: seen.size }));
    const found = await inTurns([...seen.values()], (row) => this.read(row));
    return found
      .filter(({ content }) => content?.manifests?.some(({ digest }) => going.has(digest)))
      .map(({ tag }) => tag);
  }

  /** Signatures and the like of images that lose their last tag; they are tags themselves. */
  async hung() {
    const staying = new Set(this.stays.map(({ digest }) => digest));
    const prefixes = this.kept
      .filter(({ digest, row }) => digest && !staying.has(row.digest))
      .map(({ digest }) => digest.replace(":", "-"));
    const there = [...((await this.app.api.tags(this.repository)) ?? [])];
    const tags = there.filter((tag) => prefixes.some((prefix) => tag.startsWith(prefix)));
    const found = await inTurns(tags, (tag) => this.read({ tag }));
    return found.filter(({ digest }) => digest);
  }

  /** What the indexes consist of: an undo puts back what a collector took in between. */
  async readMembers() {
    const digests = new Set(
      this.kept
        .flatMap(({ content }) => (content?.manifests ? members(content) : []))
        .flatMap((member) => [member, ...member.attestations])
        .map(({ digest }) => digest),
    );
    const read = (tag) => this.read({ tag }).catch(() => ({ digest: "" }));
    return (await inTurns([...digests], read)).filter(({ digest }) => digest);
  }

  /** Why it cannot be done, or nothing. */
  stops() {
    if (this.said) return this.said;
    if (this.changed.length) return t("delete.changed", { tags: this.changed.map(({ tag }) => tag).join(", ") });
    if (this.parts.length) return t("delete.part", { tags: this.parts.join(", ") });
    if (this.unreadable.length && !this.alone)
      return t("delete.unreadable", { tags: this.unreadable.map(({ tag }) => tag).join(", ") });
    return nothing;
  }

  /** One after the other; it stops at the first refusal, and says what was done. */
  async confirm() {
    this.state = "working";
    this.app.render();
    const { api } = this.app;
    const gone = new Set();
    try {
      for (const it of [...this.kept, ...this.along]) {
        if (this.alone || !gone.has(it.digest)) await this.removeOne(it);
        gone.add(it.digest);
        this.done.push(it);
        this.app.render();
      }
      const lost = await inTurns(this.stays, async ({ tag }) =>
        (await api.digest(this.repository, tag).catch(() => "")) ? "" : tag,
      );
      this.said = lost.some(Boolean) ? t("delete.lost", { tags: lost.filter(Boolean).join(", ") }) : "";
      this.state = this.said ? "stopped" : "done";
    } catch (refused) {
      this.said = refused.message || t("down.text");
      this.state = "stopped";
    }
    if (this.done.some(({ digest }) => digest)) Undo.offer(this);
    if (this.state === "done") this.close();
    this.app.render();
  }

  async removeOne({ tag, digest }) {
    const { api } = this.app;
    if (digest && (await api.digest(this.repository, tag)) !== digest)
      throw new Error(t("delete.changed", { tags: tag }));
    await api.remove(this.repository, this.alone ? tag : digest, digest);
  }

  closed() {
    if (this.done.length) this.after();
  }

  template() {
    const working = this.state === "working";
    return html`
      <h2 id="dialog-title">${t("delete.title", { n: this.goes.length, repository: this.repository })}</h2>
      ${this.state === "looking" ? html`<p>${t("wait")}</p>` : this.list()}
      <div role="status" aria-live="polite">
        ${working ? html`<progress max=${this.goes.length} value=${this.done.length} aria-label=${t("delete.progress")}></progress>` : nothing}
        ${["refused", "stopped"].includes(this.state) ? html`<p class="banner bad">${this.stops()} ${this.state === "stopped" ? t("delete.so-far", { n: this.done.length }) : nothing}</p>` : nothing}
      </div>
      <div class="buttons">
        <button type="button" autofocus ?disabled=${working} @click=${() => this.close()}>${this.state === "stopped" ? t("close") : t("cancel")}</button>
        ${["looking", "ready", "working"].includes(this.state) ? html`<button type="button" class="danger full" ?disabled=${this.state !== "ready"} @click=${() => this.confirm()}>${t("delete", { n: this.goes.length })}</button>` : nothing}
      </div>`;
  }

  list() {
    const now = this.app.api.now();
    const used = Math.max(...this.goes.map((row) => row.used ?? 0));
    const chips = (rows) =>
      html`<span class="chips">${rows.map(({ tag }) => html`<span class="tag">${tag}</span> `)}</span>`;
    const uninvited = this.goes.filter((row) => !this.chosen.includes(row));
    return html`<dl class="pairs removal">
      <dt>${t("delete.goes")}</dt><dd>${chips(this.chosen)}</dd>
      ${uninvited.length ? html`<dt>${t("delete.too")}</dt><dd class="warned">${chips(uninvited)} ${t("delete.by-digest")}</dd>` : nothing}
      ${this.stays.length ? html`<dt>${t("delete.stays")}</dt><dd>${chips(this.stays)}</dd>` : nothing}
      ${this.along?.length ? html`<dt>${t("delete.along")}</dt><dd>${t("delete.signatures", { n: this.along.length })}</dd>` : nothing}
      ${used > now - MONTH ? html`<dt>${t("column.used")}</dt><dd class="warned">${time(used, now)}</dd>` : nothing}
      <dt>${t("delete.space")}</dt><dd>${t("delete.gc")}</dd>
      <dt>${t("undo")}</dt><dd>${this.unreadable?.length ? t("undo.not", { tags: this.unreadable.map(({ tag }) => tag).join(", ") }) : t("undo.here", { span: span(this.app.site.undo ?? 0) })}</dd>
    </dl>
    <p class="note">${t("delete.race")}</p>`;
  }
}

/** Puts back what was deleted: the same bytes under the same tags. The browser forgets it when the page is closed. */
class Undo {
  static offer(removal) {
    const { app } = removal;
    const undo = new Undo(removal);
    app.removed = [...app.removed, undo];
    setTimeout(() => undo.forget(), (app.site.undo ?? 0) * 1000);
  }

  constructor({ app, repository, done, members: parts }) {
    Object.assign(this, { app, repository, parts });
    this.items = done.filter(({ digest }) => digest);
    this.count = done.length;
    this.until = app.api.now() + (app.site.undo ?? 0);
    this.said = "";
  }

  forget() {
    this.app.removed = this.app.removed.filter((undo) => undo !== this);
    this.app.render();
  }

  async restore() {
    const { api } = this.app;
    this.busy = true;
    this.app.render();
    try {
      for (const part of this.parts) await this.putMissing(part.digest, part);
      for (const it of this.items) {
        const now = await api.digest(this.repository, it.tag).catch(() => "");
        if (now && now !== it.digest) throw new Error(t("undo.taken", { tag: it.tag }));
        const put = await api.put(this.repository, it.tag, it);
        if (put !== it.digest) throw new Error(t("undo.other", { tag: it.tag }));
      }
      this.forget();
      await (this.app.screen.afterRemoval ?? this.app.screen.refresh)?.call(this.app.screen);
    } catch (refused) {
      this.said = refused.message || t("down.text");
    }
    this.busy = false;
    this.app.render();
  }

  async putMissing(digest, part) {
    const there = await this.app.api.digest(this.repository, digest).catch(() => "");
    if (!there) await this.app.api.put(this.repository, digest, part);
  }

  line() {
    const names = this.items
      .slice(0, 3)
      .map(({ tag }) => tag)
      .join(", ");
    return html`<span>${t("undo.line", { n: this.count, repository: this.repository, tags: names })}</span>
      ${this.said ? html`<span class="why">${this.said}</span>` : nothing}
      <span class="count">${t("undo.until", { time: deadline(this.until) })}</span>
      <button type="button" ?disabled=${this.busy} @click=${() => this.restore()}>${t("undo")}</button>`;
  }

  bar() {
    return html`<div class="undo" role="status" aria-label=${t("undo")}>${this.line()}<button type="button" class="quiet" aria-label=${t("close")} @click=${() => this.forget()}>×</button></div>`;
  }
}

/** The results of `work` on each, a few at a time. */
async function inTurns(items, work) {
  const results = [];
  const queue = items.entries();
  const worker = async () => {
    for (const [at, item] of queue) results[at] = await work(item);
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, worker));
  return results;
}
