// How an image differs from another tag of its repository.

import { difference, environment, isIndex, labels, layers, members, platformName, settings } from "./manifest.js";
import { html, nothing } from "./vendor/lit-html.js";
import { bytes, t } from "./words.js";

export class Comparison {
  constructor(image, tag) {
    Object.assign(this, { image, tag });
  }

  /** Read the other image, on the platform that is shown. */
  async load() {
    const { image, tag } = this;
    try {
      const top = await image.app.api.manifest(image.repository, tag);
      const digest = isIndex(top.content) ? this.counterpart(top.content)?.digest : top.digest;
      if (digest) this.other = await image.fetch(digest);
      this.missing = !digest;
    } catch (refused) {
      this.other = { refused };
    }
  }

  counterpart(content) {
    const { member, seen } = this.image;
    const wanted = member?.name ?? platformName(seen.config ?? {});
    return members(content).find(
      ({ name }) => name === wanted || name.startsWith(`${wanted}/`) || wanted.startsWith(`${name}/`),
    );
  }

  template() {
    if (this.missing) return html`<p class="banner">${t("compare.platform", { tag: this.tag })}</p>`;
    if (!this.other) return html`<p class="wait">${t("wait")}</p>`;
    const { seen } = this.image;
    if (this.other.refused || seen.refused)
      return html`<p class="banner">${t("image.unreadable")} ${this.other.refused?.message}</p>`;
    const mine = layers(seen.manifest.content, seen.config);
    const theirs = new Set(layers(this.other.manifest.content, this.other.config).map(({ digest }) => digest));
    const fresh = mine.filter(({ digest }) => !theirs.has(digest));
    const shared = mine.filter(({ digest }) => theirs.has(digest));
    const row = (layer) =>
      html`<li><span class="size">${bytes(layer.size)}</span> <code class="text">${layer.command || layer.mediaType}</code></li>`;
    const sum = (all) => all.reduce((total, { size }) => total + size, 0);
    return html`<section class="comparison">
      <p class="verdict">${t("compare.bytes", { tag: this.tag, size: bytes(sum(fresh)) })}</p>
      ${fresh.length ? html`<h2>${t("compare.new", { n: fresh.length })}</h2><ol class="layers plain">${fresh.map(row)}</ol>` : nothing}
      ${shared.length ? html`<details><summary>${t("compare.shared", { n: shared.length, size: bytes(sum(shared)) })}</summary><ol class="layers plain">${shared.map(row)}</ol></details>` : nothing}
      ${this.changes("config", (config) => settings(config).map(([name, text]) => [t(`config.${name}`), text]))}
      ${this.changes("environment", (config) => environment(config).map(([name, value, secret]) => [name, secret ? t("image.covered") : value]))}
      ${this.changes("labels", labels)}
    </section>`;
  }

  /** Lines with + and -, from the other one to this one. */
  changes(name, read) {
    const { added, gone, changed } = difference(read(this.other.config), read(this.image.seen.config));
    if (added.length + gone.length + changed.length === 0) return nothing;
    const minus = (key, value) =>
      html`<li class="minus"><span aria-hidden="true">−</span><span class="unseen">${t("compare.gone")}</span> <code><bdi>${key}</bdi>=<bdi>${value.slice(0, 500)}</bdi></code></li>`;
    const plus = (key, value) =>
      html`<li class="plus"><span aria-hidden="true">+</span><span class="unseen">${t("compare.added")}</span> <code><bdi>${key}</bdi>=<bdi>${value.slice(0, 500)}</bdi></code></li>`;
    return html`<h2>${t(`compare.${name}`)}</h2>
      <ul class="difference">
        ${changed.map(([key, old, now]) => [minus(key, old), plus(key, now)])}
        ${gone.map(([key, value]) => minus(key, value))}
        ${added.map(([key, value]) => plus(key, value))}
      </ul>`;
  }
}
