// The form for name and password. It lies over the place, which goes on when somebody signed in.

import { countdown } from "./parts.js";
import { html, nothing } from "./vendor/lit-html.js";
import { t } from "./words.js";

export class SignIn {
  /** `done` is called with whether somebody signed in. */
  constructor(app, done) {
    this.app = app;
    this.done = done;
    this.again = Boolean(app.me.account);
    this.said = nothing;
    this.busy = false;
    this.signedIn = false;
  }

  template() {
    return html`<form class="sign-in" @submit=${(event) => this.send(event)}>
      <h2 id="dialog-title">${this.again ? t("sign-in.again") : t("sign-in")}</h2>
      <p class="host">${location.host}</p>
      <label>${t("sign-in.name")}
        <input name="username" .defaultValue=${this.app.me.account} required autofocus autocomplete="username" autocapitalize="none" spellcheck="false">
      </label>
      <label>${t("sign-in.password")}
        <input name="password" type="password" required autocomplete="current-password">
      </label>
      <div class="said" role="alert">${this.said}</div>
      <div class="buttons">
        <button type="button" @click=${() => this.close()}>${t("cancel")}</button>
        <button class="main" ?disabled=${this.busy}>${t("sign-in")}</button>
      </div>
      <p class="note">${t("sign-in.note")}</p>
    </form>`;
  }

  async send(event) {
    event.preventDefault();
    const form = event.target;
    if (this.busy) return;
    this.tell(nothing, true);
    try {
      await this.app.api.login(form.username.value, form.password.value);
    } catch (refused) {
      this.refuse(refused);
      if (refused.status === 401) form.password.select();
      return;
    }
    const before = this.app.me.account;
    this.app.me = await this.app.api.me();
    this.signedIn = true;
    this.close();
    // The same person goes on where they were; another one sees another page.
    this.done(before === this.app.me.account);
    if (before !== this.app.me.account) await this.app.identify();
  }

  refuse(refused) {
    if (refused.status === 401) this.tell(t("sign-in.wrong"));
    else if (refused.status === 429)
      this.tell(html`${t("limited.text")} ${countdown(refused.wait || 60, () => this.tell(nothing))}`, true);
    else if (refused.down) this.tell(t("down.text"));
    else this.tell(refused.message);
  }

  tell(said, busy = false) {
    this.said = said;
    this.busy = busy;
    this.app.render();
  }

  closed() {
    if (!this.signedIn) this.done(false);
  }
}
