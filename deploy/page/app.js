// The frame around the screens: who is signed in, which place is shown, the top line, keys, banners, dialogs.

import { ACCOUNT, Api, placeOf, queryOf } from "./api.js";
import { Home } from "./home.js";
import { icon, message } from "./parts.js";
import { html, nothing, render } from "./vendor/lit-html.js";
import { clock, has, LANGUAGES, language, preferred, speak, t } from "./words.js";

const SCREENS = {
  home: async () => Home,
  repository: async () => (await import("./repository.js")).Repository,
  image: async () => (await import("./image.js")).Image,
  account: async () => (await import("./account.js")).Account,
};
const REFRESH = 30_000;
const RETRY = 10_000;
const PAUSE = 250;
// The server's job runs once a minute.
const STALE = 180;

class App {
  constructor() {
    this.api = new Api(() => this.signInAgain());
    this.me = { account: "", role: "", repositories: [], view: "" };
    this.site = {};
    this.screen = null;
    this.visit = 0;
    this.dialog = null;
    this.down = false;
    this.client = "docker";
    this.byDigest = false;
    // What was deleted here and can be brought back: see remove.js.
    this.removed = [];
  }

  async start() {
    const theme = localStorage.getItem("theme");
    if (theme) document.documentElement.dataset.theme = theme;
    await speak(preferred());
    this.render();
    addEventListener("popstate", () => this.open());
    document.addEventListener("click", (event) => this.clicked(event));
    document.addEventListener("keydown", (event) => this.pressed(event));
    document.addEventListener("visibilitychange", () => this.refresh());
    setInterval(() => this.refresh(), REFRESH);
    await this.identify();
  }

  /** Ask who is signed in, then show the place of the address as this account sees it. */
  async identify() {
    try {
      this.me = await this.api.me();
    } catch (refused) {
      this.failed(refused);
      setTimeout(() => this.identify(), RETRY);
      return;
    }
    await Promise.all([this.open(), this.fetchSite(), this.fetchSeen()]);
  }

  /** What this registry can; it is no stranger's business. */
  async fetchSite() {
    this.site = this.me.account ? await this.api.data("site.json").catch(() => ({})) : {};
  }

  /** When the server's job looked last: up to then all lists are right. */
  async fetchSeen() {
    const found = this.me.view && (await this.api.data("seen.json").catch(() => null));
    this.seen = found ? found.seen : this.seen;
    this.render();
  }

  /** An admin without limits sees the server's own numbers. */
  get unlimitedAdmin() {
    return this.me.role === "admin" && this.me.repositories.includes("*");
  }

  /** Show what the address means. */
  async open() {
    clearTimeout(this.writing);
    this.visit += 1;
    const visit = this.visit;
    const place = placeOf(location);
    const make = SCREENS[place.screen];
    this.dialog?.close();
    this.broken = null;
    const Screen = make && (await loaded(make).catch((error) => this.giveUp(error)));
    if (visit !== this.visit) return;
    this.screen = Screen ? new Screen(this, place) : null;
    scrollTo(0, 0);
    this.render();
    document.querySelector("main").focus({ preventScroll: true });
    await this.screen?.load();
  }

  /** Go to an address of the page. */
  go(address) {
    history.pushState(null, "", address);
    return this.open();
  }

  /** Put filter and order into the address, where a reload and a link find them. */
  remember(values) {
    clearTimeout(this.writing);
    history.replaceState(null, "", (queryOf(values) || location.pathname) + location.hash);
  }

  /** The same, once nobody types any more: it costs more than the filter itself. */
  rememberSoon(values) {
    clearTimeout(this.writing);
    this.writing = setTimeout(() => this.remember(values), PAUSE);
  }

  /** Ask again what may have changed. */
  async refresh() {
    if (document.visibilityState === "visible" && !this.dialog) {
      await Promise.all([this.screen?.refresh?.(), this.fetchSeen()]);
    }
    this.render();
  }

  /** A screen met this. Where nobody answers, it is asked again soon. */
  failed(refused) {
    if (refused.down && !this.down) {
      this.down = true;
      this.again = setTimeout(() => this.retry(), RETRY);
    }
    this.render();
  }

  retry() {
    this.down = false;
    return this.screen?.refresh?.();
  }

  /** The server and the registry answered. */
  answered() {
    clearTimeout(this.again);
    this.down = false;
  }

  // Signing in and out.

  async signIn() {
    const { SignIn } = await import("./sign-in.js");
    return new Promise((done) => {
      this.show(new SignIn(this, done));
    });
  }

  /** The session ended in the middle of something: ask for the password over the place. */
  async signInAgain() {
    this.signing ??= this.signIn().finally(() => {
      this.signing = null;
    });
    return this.signing;
  }

  async signOut() {
    await this.api.logout();
    this.removed = [];
    history.pushState(null, "", "/");
    await this.identify();
  }

  // Dialogs: one at a time. Each has a template(), and may have a closed().

  show(dialog) {
    this.dialog?.close();
    this.dialog = dialog;
    dialog.close = () => document.querySelector("dialog")?.close();
    this.render();
    document.querySelector("dialog").showModal();
  }

  closed() {
    const { dialog } = this;
    this.dialog = null;
    this.render();
    dialog?.closed?.();
  }

  // What is shown.

  render() {
    document.title = [this.screen?.title, location.host].filter(Boolean).join(" · ");
    render(this.template(), document.body);
  }

  template() {
    return html`
      <a class="skip" href="#main" @click=${skip}>${t("skip")}</a>
      ${this.top()}
      <main id="main" tabindex="-1">${this.banners()} ${this.screen ? this.screen.template() : this.nowhere()}</main>
      ${this.bottom()}
      ${this.removed.length ? this.removed.at(-1).bar() : nothing}
      ${this.dialog ? html`<dialog aria-labelledby="dialog-title" @close=${() => this.closed()}>${this.dialog.template()}</dialog>` : nothing}
    `;
  }

  top() {
    const { me, screen } = this;
    return html`<header>
      <a class="brand" href="/"><span class="logo" aria-hidden="true"><i></i><i></i><i></i></span>${location.host}</a>
      <search>
        <label>
          ${icon("search")}
          <input type="search" aria-label=${screen?.searchLabel ?? t("search.all")} placeholder=${screen?.searchLabel ?? t("search.all")}
            .value=${screen?.text ?? ""} @input=${(event) => screen?.search?.(event.target.value)}
            @keydown=${(event) => this.searchKey(event)} autocomplete="off" autocapitalize="none" spellcheck="false" maxlength="300">
          <kbd aria-hidden="true">/</kbd>
        </label>
      </search>
      <nav aria-label=${t("account")}>
        ${
          me.account
            ? html`<a class="who" href=${ACCOUNT}>${icon("person")}<span>${me.account}</span></a>`
            : html`<button type="button" class="quiet" @click=${() => this.signIn()}>${t("sign-in")}</button>`
        }
      </nav>
    </header>`;
  }

  banners() {
    const stale = this.seen && this.api.now() - this.seen > STALE;
    return html`<div aria-live="polite">
      ${this.down ? html`<p class="banner">${t("banner.down")}</p>` : nothing}
      ${stale ? html`<p class="banner">${t("banner.stale", { time: clock(this.seen) })}</p>` : nothing}
    </div>`;
  }

  bottom() {
    const theme = document.documentElement.dataset.theme ?? "system";
    return html`<footer>
      <span class="made">${this.seen ? t("as-of", { time: clock(this.seen) }) : nothing}</span>
      <button type="button" class="plain" @click=${() => this.help()}>${t("keys")} <kbd>?</kbd></button>
      <label><span>${t("theme")}</span> <select @change=${(event) => this.paint(event.target.value)}>
        ${["system", "light", "dark"].map((name) => html`<option value=${name} ?selected=${name === theme}>${t(`theme.${name}`)}</option>`)}
      </select></label>
      <label><span>${t("language")}</span> <select @change=${(event) => this.talk(event.target.value)}>
        ${Object.entries(LANGUAGES).map(([name, own]) => html`<option value=${name} lang=${name} ?selected=${name === language()}>${own}</option>`)}
      </select></label>
    </footer>`;
  }

  giveUp(error) {
    this.broken = error;
    return null;
  }

  nowhere() {
    if (this.broken) return message(t("odd.title"), String(this.broken));
    return this.visit && !this.screen ? message(t("nowhere.title"), t("nowhere.text")) : nothing;
  }

  paint(theme) {
    if (theme === "system") {
      localStorage.removeItem("theme");
      delete document.documentElement.dataset.theme;
    } else {
      localStorage.setItem("theme", theme);
      document.documentElement.dataset.theme = theme;
    }
    this.render();
  }

  async talk(name) {
    localStorage.setItem("lang", name);
    await speak(name);
    await this.open();
  }

  // Keys and clicks.

  clicked(event) {
    const link = event.target.closest?.("a[href]");
    if (!link || link.target || link.hasAttribute("download") || event.defaultPrevented) return;
    if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const address = new URL(link.href);
    if (address.origin !== location.origin || address.pathname.startsWith("/-/")) return;
    event.preventDefault();
    this.go(address.href);
  }

  searchKey(event) {
    if (event.key === "ArrowDown" || event.key === "Enter") {
      event.preventDefault();
      if (!this.screen?.list) this.go(`/${queryOf({ q: event.target.value })}`);
      else if (event.key === "Enter" && event.target.value) document.querySelector("main a.open")?.click();
      else this.screen.list.move(0);
    } else if (event.key === "Escape") {
      event.target.blur();
    }
  }

  pressed(event) {
    const typing = event.target.closest?.("input, select, textarea");
    if (typing?.type !== "checkbox" && (typing || event.defaultPrevented)) return;
    if (this.dialog || event.metaKey || event.ctrlKey || event.altKey) return;
    const act = this.keys()[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  }

  keys() {
    const { screen } = this;
    const move = (step) => () => screen?.list?.move(step);
    return {
      "/": () => document.querySelector("header input").select(),
      j: move(1),
      ArrowDown: screen?.list && move(1),
      k: move(-1),
      ArrowUp: screen?.list && move(-1),
      y: () => screen?.copy?.(),
      s: () => screen?.nextOrder?.(),
      u: () => this.go(screen?.above ?? "/"),
      "?": () => this.help(),
    };
  }

  help() {
    const keys = ["/", "j", "k", "Enter", "y", "s", "u", "?"];
    const row = (key) => html`<dt><kbd>${key}</kbd></dt><dd>${t(`key.${key}`)}</dd>`;
    this.show({
      template: () => html`<h2 id="dialog-title">${t("keys")}</h2>
        <dl class="keys">${keys.filter((key) => has(`key.${key}`)).map(row)}</dl>
        <form method="dialog"><button autofocus>${t("close")}</button></form>`,
    });
  }
}

function skip(event) {
  event.preventDefault();
  document.querySelector("main").focus();
}

/** A screen's module. After an upgrade the old ones are gone: one reload brings the new ones. */
async function loaded(make) {
  const key = "reloaded";
  try {
    const Screen = await make();
    history.replaceState({ ...history.state, [key]: false }, "");
    return Screen;
  } catch (error) {
    if (history.state?.[key]) throw error;
    history.replaceState({ ...history.state, [key]: true }, "");
    location.reload();
    return new Promise(() => {});
  }
}

new App().start();
