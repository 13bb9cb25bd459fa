// Who am I, what may I, and the lines for other programs; for admins the server's accounts, disk and last events.

import { addressOf } from "./api.js";
import { loginLines } from "./commands.js";
import { command, message, roleName, time } from "./parts.js";
import { html, nothing } from "./vendor/lit-html.js";
import { bytes, has, number, t } from "./words.js";

export class Account {
  constructor(app) {
    this.app = app;
    this.above = "/";
    this.who = "";
  }

  get title() {
    return t("account");
  }

  async load() {
    const { api, me, unlimitedAdmin } = this.app;
    const quietly = (name) => api.data(name).catch(() => null);
    const admins = unlimitedAdmin ? [quietly("accounts.json"), quietly("disk.json")] : [];
    const view = me.view ? quietly(`views/${me.view}.json`) : null;
    [this.view, this.accounts, this.disk] = await Promise.all([view, ...admins]);
    this.app.render();
  }

  async refresh() {
    await this.load();
  }

  template() {
    const { me } = this.app;
    if (!me.account) {
      return message(
        t("account.stranger"),
        t("home.closed.text"),
        html`<p><button type="button" class="main" @click=${() => this.app.signIn()}>${t("sign-in")}</button></p>`,
      );
    }
    return html`
      <div class="title"><h1>${me.account}</h1><span class="rights"><button type="button" @click=${() => this.app.signOut()}>${t("sign-out")}</button></span></div>
      <section>
        <p>${t(`account.role.${me.role}`)}</p>
        <p>${me.repositories.includes("*") ? t("account.everywhere") : html`${t("account.where")} ${me.repositories.map((pattern) => html`<code>${pattern}</code> `)}`}
          ${this.view ? html`<a href="/">${t("account.matches", { n: this.view.repositories.length })}</a>` : nothing}</p>
      </section>
      <section><h2>${t("account.lines")}</h2>
        <dl class="lines">${loginLines(me.account).map(([client, lines]) => html`<dt>${t(`client.${client}`)}</dt><dd>${lines.map((line) => command(line))}</dd>`)}</dl>
        <p class="note">${t("account.password")}</p>
      </section>
      ${this.accounts ? this.everybody(this.accounts.accounts) : nothing}
      ${this.disk ? this.server(this.disk) : nothing}
      ${this.app.removed.length ? this.removals() : nothing}
    `;
  }

  removals() {
    return html`<section><h2>${t("undo.all")}</h2><ul class="plain">${this.app.removed.map((undo) => html`<li>${undo.line()}</li>`)}</ul></section>`;
  }

  everybody(accounts) {
    const may = this.who
      ? accounts.filter(({ repositories }) => repositories.some((pattern) => matches(pattern, this.who)))
      : accounts;
    const ask = (event) => {
      this.who = event.target.value.trim();
      this.app.render();
    };
    return html`<section>
      <h2>${t("accounts")} <span class="count">${number(accounts.length)}</span></h2>
      <label class="ask">${t("accounts.who")} <input .value=${this.who} @input=${ask} list="repositories" spellcheck="false" autocomplete="off" placeholder="team-a/app"></label>
      <datalist id="repositories">${this.view?.repositories.slice(0, 300).map(({ name }) => html`<option value=${name}></option>`)}</datalist>
      <div class="scroll" tabindex="0" role="region" aria-label=${t("accounts")}><table>
        <thead><tr><th>${t("column.name")}</th><th>${t("role")}</th><th>${t("repositories")}</th></tr></thead>
        <tbody>${may.map(({ name, role, repositories }) => html`<tr><td>${name}</td><td>${roleName(role)}</td><td>${repositories.includes("*") ? t("everywhere") : repositories.join(", ")}</td></tr>`)}</tbody>
      </table></div>
      ${command("./fab htpasswd --user NAME --role push --repository 'team-a/*' --generate", t("accounts.change"))}
      <p class="note">${t("accounts.note")}</p>
    </section>`;
  }

  server({ free, total, freeable, untagged, trash, retention, events }) {
    const { site } = this.app;
    const rules = retention?.rules ? t("retention.would", { n: retention.would_remove }) : t("retention.none");
    const fact = (name, value) => html`<div><dt>${t(`disk.${name}`)}</dt><dd>${value}</dd></div>`;
    return html`<section>
      <h2>${t("server")} <span class="count">registry ${site.registry}</span></h2>
      <meter class="wide" min="0" max=${total} value=${total - free} aria-label=${t("disk.label")}></meter>
      <dl class="facts">
        ${fact("room", t("disk.free", { free: bytes(free), total: bytes(total) }))}
        ${freeable === null ? nothing : fact("gc", bytes(freeable))}
        ${fact("left", number(untagged))}
        ${fact("trash", bytes(trash))}
        ${fact("rules", rules)}
      </dl>
    </section>
    <section>
      <h2>${t("events")}</h2>
      ${events.length ? html`<ol class="events">${events.toReversed().map((event) => this.event(event))}</ol>` : html`<p>${t("events.none")}</p>`}
    </section>`;
  }

  event({ when, account, what, repository, tag }) {
    const reference = tag || "";
    return html`<li>${time(when, this.app.api.now())} <b>${account || "–"}</b> ${has(`event.${what}`) ? t(`event.${what}`) : what} <a href=${addressOf(repository, what === "push" ? reference : "")}>${repository}${reference && `:${reference}`}</a></li>`;
  }
}

/** As the server reads a pattern: `*` is anything, slashes too. */
function matches(pattern, name) {
  const parts = pattern.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`).test(name);
}
