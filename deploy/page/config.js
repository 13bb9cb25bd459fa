// What an image's own config says: how it runs, its labels, environment and history.

import * as manifest from "./manifest.js";
import { html, nothing } from "./vendor/lit-html.js";
import { has, t } from "./words.js";

const KNOWN = /^org\.(opencontainers\.image|label-schema)\./;
const LONG = 400;

/** Of an image that runs. */
export function runs(config) {
  const variables = manifest.environment(config);
  const all = manifest.labels(config);
  const pair = (name, value) => html`<dt>${name}</dt><dd>${value}</dd>`;
  const steps = manifest.history(config);
  return html`
    <section class="halves">
      <div>
        <h2>${t("image.runs")}</h2>
        <dl class="pairs">${manifest.settings(config).map(([name, text]) => pair(t(`config.${name}`), html`<code>${text}</code>`))}</dl>
        ${all.length ? html`<h2>${t("image.labels")}</h2><dl class="pairs">${all.map(([name, value]) => pair(html`<bdi title=${name}>${name.replace(KNOWN, "")}</bdi>`, labelValue(value)))}</dl>` : nothing}
      </div>
      <div>
        ${variables.length ? html`<h2>${t("image.environment")}</h2><dl class="pairs">${variables.map(([name, value, secret]) => pair(html`<code><bdi>${name}</bdi></code>`, secret ? covered(value) : shortened(value)))}</dl>` : nothing}
      </div>
    </section>
    ${steps.length ? html`<details><summary>${t("image.history", { n: steps.length })}</summary><ol class="steps">${steps.map(({ command, empty }) => html`<li class=${empty ? "empty" : ""}><code>${command}</code></li>`)}</ol></details>` : nothing}
  `;
}

/** Of a chart, an artifact, a cache: what it says, where that is text. */
export function foreign(kind, config) {
  const simple = Object.entries(config ?? {}).filter(([, value]) => ["string", "number"].includes(typeof value));
  return html`<section>
    ${has(`kind.${kind}.text`) ? html`<p>${t(`kind.${kind}.text`)}</p>` : nothing}
    ${simple.length ? html`<dl class="pairs">${simple.map(([name, value]) => html`<dt>${name}</dt><dd>${labelValue(String(value))}</dd>`)}</dl>` : nothing}
  </section>`;
}

/** A link only where it is one to https: whoever pushes writes labels. */
const labelValue = (value) =>
  /^https:\/\/[^\s"'<>]+$/.test(value)
    ? html`<a href=${value} target="_blank" rel="noopener noreferrer">${value}</a>`
    : shortened(value);

/** Long values are folded. */
const shortened = (value) =>
  value.length > LONG
    ? html`<details class="long"><summary><code><bdi>${value.slice(0, 80)}…</bdi></code> ${t("characters", { n: value.length })}</summary><code><bdi>${value}</bdi></code></details>`
    : html`<code><bdi>${value}</bdi></code>`;

/** A value whose name looks like a secret's, until somebody asks for it. */
const covered = (value) =>
  html`<details class="covered"><summary>${t("image.covered")}</summary><code><bdi>${value}</bdi></code></details>`;
