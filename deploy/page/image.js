// One image: its platforms, layers, config, what hangs under it, and how it differs from another.

import { addressOf, blobAddress } from "./api.js";
import { pullLine } from "./commands.js";
import { foreign, runs } from "./config.js";
import * as manifest from "./manifest.js";
import { copier, kindName, message, refusal, repositoryName, size, time } from "./parts.js";
import { pullBox } from "./repository.js";
import { html, nothing } from "./vendor/lit-html.js";
import { bytes, number, t } from "./words.js";

export class Image {
  constructor(app, { repository, reference, query }) {
    Object.assign(this, { app, repository, reference });
    this.other = query.get("with") ?? "";
    this.platform = query.get("platform") ?? "";
    this.above = addressOf(repository);
    this.hung = [];
    // By digest: a member's { manifest, config } or { refused }.
    this.read = new Map();
  }

  get title() {
    return (
      this.repository +
      (this.reference.startsWith("sha256:") ? `@${this.reference.slice(0, 19)}` : `:${this.reference}`)
    );
  }

  async load() {
    const { api } = this.app;
    // The list tells which tags are the same image; without it the rest is there all the same.
    const listed = api.data(`r/${this.repository}/_tags.json`).catch(() => ({ tags: [] }));
    try {
      this.top = await api.manifest(this.repository, this.reference);
      this.refused = null;
    } catch (refused) {
      this.refused = refused;
      return this.app.failed(refused);
    }
    this.app.answered();
    this.kind = manifest.kindOf(this.top.content);
    this.members = this.kind === "index" ? manifest.members(this.top.content) : [];
    this.tags = (await listed).tags;
    this.app.render();
    await Promise.all([this.choose(this.chosenAtFirst()), this.fetchHung()]);
    if (this.other) await this.compareWith(this.other);
    this.app.render();
  }

  async refresh() {
    if (this.refused?.down) await this.load();
  }

  chosenAtFirst() {
    return this.members.find(({ name }) => name === this.platform) ?? this.members[0];
  }

  /** Show this member of the index, or the image itself where there is none. */
  async choose(member) {
    this.member = member;
    const digest = member?.digest ?? this.top.digest;
    if (!this.read.has(digest)) this.read.set(digest, await this.fetch(digest));
    this.app.render();
  }

  async fetch(digest) {
    const { api } = this.app;
    try {
      const found = digest === this.top.digest ? this.top : await api.manifest(this.repository, digest);
      const { config } = found.content;
      const small = config && /json/.test(config.mediaType) && config.size < 8_000_000;
      return {
        manifest: found,
        config: small ? await api.blob(this.repository, config.digest).catch(() => null) : null,
      };
    } catch (refused) {
      return { refused };
    }
  }

  /** Signatures and the like are tags that are named after the digest of their image. */
  async fetchHung() {
    const names = await this.app.api.tags(this.repository).catch(() => null);
    const prefix = this.top.digest.replace(":", "-");
    const hung = [...(names ?? [])].filter((name) => name.startsWith(prefix));
    this.hung = await Promise.all(hung.map((tag) => this.describe(tag)));
  }

  async describe(tag) {
    const found = await this.app.api.manifest(this.repository, tag).catch(() => null);
    if (!found) return { tag, kind: "artifact", size: 0 };
    return { tag, kind: manifest.kindOf(found.content), size: manifest.sizeOf(found.content) };
  }

  get seen() {
    return this.read.get(this.member?.digest ?? this.top.digest);
  }

  get row() {
    return (
      this.tags.find(({ tag }) => tag === this.reference) ??
      this.tags.find(({ digest }) => this.top.digest.startsWith(digest, 7))
    );
  }

  copy() {
    if (this.top) navigator.clipboard.writeText(this.line(this.app.client));
  }

  line(client) {
    const tagged = !this.reference.startsWith("sha256:");
    const digest = this.app.byDigest || !tagged ? this.top.digest : "";
    return pullLine(client, this.kind, this.repository, tagged ? this.reference : "", digest);
  }

  async remove(row) {
    const { Removal } = await import("./remove.js");
    const after = () => this.app.go(this.above);
    this.app.show(new Removal(this.app, this.repository, [row], this.tags, after));
  }

  // Comparing.

  async compareWith(tag) {
    this.other = tag;
    this.comparison = null;
    this.remember();
    if (tag) {
      const { Comparison } = await import("./compare.js");
      this.comparison = new Comparison(this, tag);
      await this.comparison.load();
    }
    this.app.render();
  }

  remember() {
    const first = this.members[0];
    this.app.remember({ platform: this.member === first ? "" : this.member?.name, with: this.other });
  }

  // What is shown.

  template() {
    if (this.refused) return refusal(this.refused, this.app, () => this.load());
    if (!this.tags) return html`<p class="wait">${t("wait")}</p>`;
    return html`
      ${this.head()}
      ${pullBox(
        this.app,
        this.kind,
        (client) => this.line(client),
        () => this.line(this.app.client),
      )}
      <div class="choices">${this.members.length > 1 ? this.platforms() : nothing}${this.comparing()}</div>
      ${this.seen ? this.body(this.seen) : html`<p class="wait">${t("wait")}</p>`}
      ${this.below()}
    `;
  }

  head() {
    const { row } = this;
    const now = this.app.api.now();
    const others = this.tags.filter(
      ({ tag, digest }) => tag !== this.reference && this.top.digest.startsWith(digest, 7),
    );
    const fact = (name, value) => html`<div><dt>${t(`image.${name}`)}</dt><dd>${value}</dd></div>`;
    return html`
      <div class="title">
        <h1><a class="up" href=${this.above}>${repositoryName(this.repository)}</a><span class="reference">${this.reference.startsWith("sha256:") ? `@${this.reference.slice(0, 19)}…` : `:${this.reference}`}</span></h1>
        ${this.kind === "index" ? nothing : html`<span class="badge">${kindName(this.kind)}</span>`}
        ${this.app.me.role === "admin" && row?.tag === this.reference ? html`<span class="rights"><button type="button" class="danger" @click=${() => this.remove(row)}>${t("delete.open")}</button></span>` : nothing}
      </div>
      <dl class="facts">
        ${fact("digest", html`<code class="digest" title=${this.top.digest}>${this.top.digest.slice(0, 19)}…</code>${copier(this.top.digest, t("copy.digest"))}`)}
        ${
          others.length
            ? fact(
                "same",
                others.map(({ tag }) => html`<a class="tag" href=${addressOf(this.repository, tag)}>${tag}</a> `),
              )
            : nothing
        }
        ${row ? fact("pushed", time(row.pushed, now)) : nothing}
        ${row?.used ? fact("used", time(row.used, now)) : nothing}
        ${this.seen?.config ? fact("created", time(manifest.createdAt(this.seen.config), now)) : nothing}
        ${this.seen?.manifest ? fact("download", size(manifest.sizeOf(this.seen.manifest.content))) : nothing}
      </dl>`;
  }

  platforms() {
    const tab = (member) => {
      const chosen = member.digest === this.member?.digest;
      return html`<button type="button" role="tab" class="plain" id=${`tab-${member.digest.slice(7, 19)}`} aria-controls="panel" aria-selected=${chosen} tabindex=${chosen ? 0 : -1}
        @click=${() => this.open(member)} @keydown=${(event) => this.tabKey(event)}>${member.name || member.digest.slice(7, 19)}</button>`;
    };
    return html`<div class="tabs" role="tablist" aria-label=${t("image.platforms")}>${this.members.map(tab)}</div>`;
  }

  async open(member) {
    await this.choose(member);
    this.remember();
    if (this.other) await this.compareWith(this.other);
  }

  tabKey(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const tabs = [...event.target.parentElement.children];
    const next = tabs[(tabs.indexOf(event.target) + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
  }

  body({ manifest: found, config, refused }) {
    if (refused) return message(t("image.unreadable"), refused.message, html`<p>${t("odd.doctor")}</p>`);
    const listed = manifest.layers(found.content, config);
    const inner = html`
      ${
        this.comparison
          ? this.comparison.template()
          : html`
        ${this.layers(listed)}
        ${["image", "index"].includes(this.kind) && config ? runs(config) : foreign(this.kind, config)}
      `
      }
      <details><summary>${t("image.raw")}</summary><pre>${JSON.stringify(found.content, null, 2)}</pre></details>
    `;
    return this.members.length > 1
      ? html`<div role="tabpanel" id="panel" aria-labelledby=${`tab-${this.member.digest.slice(7, 19)}`}>${inner}</div>`
      : inner;
  }

  comparing() {
    const others = this.tags.filter(({ tag, problem }) => tag !== this.reference && !problem);
    if (!others.length || !["image", "index"].includes(this.kind)) return nothing;
    return html`<label class="compare">${t("compare")} <select @change=${(event) => this.compareWith(event.target.value)}>
      <option value="">${t("compare.none")}</option>
      ${others.slice(0, 500).map(({ tag }) => html`<option value=${tag} ?selected=${tag === this.other}>${tag}</option>`)}
    </select></label>`;
  }

  layers(listed) {
    if (!listed.length) return nothing;
    const files = this.kind !== "image" && this.kind !== "index";
    const total = listed.reduce((sum, layer) => sum + layer.size, 0);
    const largest = Math.max(...listed.map((layer) => layer.size));
    const row = (layer) => html`<li>
      <span class="size">${bytes(layer.size)}</span>
      <svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true"><rect width=${Math.max((layer.size / largest) * 100, 1)} height="4" rx="1"></rect></svg>
      <code class="text">${layer.command || layer.title || layer.what || layer.mediaType}</code>
      <span class="end">
        ${files && layer.title ? html`<a href=${blobAddress(this.repository, layer.digest)} download=${layer.title}>${t("download")}</a>` : nothing}
        <code class="digest" title=${layer.digest}>${layer.digest.slice(7, 19)}</code>
      </span>
    </li>`;
    return html`<section>
      <h2>${files ? t("image.files") : t("image.layers")} <span class="count">${number(listed.length)} · ${bytes(total)}</span></h2>
      <ol class="layers">${listed.map(row)}</ol>
    </section>`;
  }

  /** What hangs under it: attestations of the platform, signatures of the whole. */
  below() {
    const attestations = (this.member?.attestations ?? []).map(({ digest, size: length }) => ({
      digest,
      kind: "attestation",
      size: length,
    }));
    const all = [
      ...this.hung.map((it) => ({ ...it, reference: it.tag })),
      ...attestations.map((it) => ({ ...it, reference: it.digest })),
    ];
    if (!all.length) return nothing;
    const row = (it) =>
      html`<li><span class="badge">${kindName(it.kind)}</span> <a href=${addressOf(this.repository, it.reference)}><code>${it.reference.slice(0, 19)}…${/\.\w+$/.exec(it.reference)?.[0] ?? ""}</code></a> <span class="count">${size(it.size)}</span></li>`;
    return html`<section><h2>${t("image.below")}</h2><ul class="below">${all.map(row)}</ul></section>`;
  }
}
