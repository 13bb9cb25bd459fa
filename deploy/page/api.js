// Every address: those of the page, which look like the names of images, so that a pasted pull command opens its
// image; and those that are asked, all below /-/ of the own origin. The page itself never asks /v2/.

const IMAGE = /^(?<repository>[a-z0-9][a-z0-9._/-]*?)(?::(?<tag>\w[\w.-]*))?(?:@(?<digest>sha256:[0-9a-f]{64}))?$/;
const MANIFESTS = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.docker.distribution.manifest.v2+json",
].join(", ");

/** { screen, repository, reference, query } of an address; screen "" where it means nothing. */
export function placeOf({ pathname, hash, search }) {
  const path = decode(hash.length > 1 ? hash.slice(1) : pathname).replace(/^\/+|\/+$/g, "");
  const query = new URLSearchParams(search);
  if (path === "" || path === "-") return { screen: "home", query };
  if (path === "-/account") return { screen: "account", query };
  const found = IMAGE.exec(path)?.groups;
  if (!found) return { screen: "", query };
  const reference = found.digest ?? found.tag;
  return { screen: reference ? "image" : "repository", repository: found.repository, reference, query };
}

/** The address of a repository, or of an image in it. */
export function addressOf(repository, reference = "", values = {}) {
  const mark = reference.startsWith("sha256:") ? "@" : ":";
  const name = repository + (reference && mark + reference);
  const query = queryOf(values);
  // The registry's own API begins with /v2.
  return /^v2($|[/:@])/.test(name) ? `/${query}#${name}` : `/${name}${query}`;
}

export const ACCOUNT = "/#-/account";

/** "?q=app&sort=name", or "". Empty values are left out. */
export function queryOf(values) {
  const text = new URLSearchParams(Object.entries(values).filter(([, value]) => value)).toString();
  return text && `?${text}`;
}

/** What is searched for by a text that may be a whole pull command or address. */
export const searched = (text) =>
  text
    .trim()
    .toLowerCase()
    .replace(/^(docker|podman) pull /, "")
    .replace(`${location.host}/`, "");

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

/** An answer that is none: `status` is 0 where nobody answered, `wait` seconds where it says so. */
export class Refused extends Error {
  constructor(status, message = "", wait = 0) {
    super(message);
    this.status = status;
    this.wait = wait;
  }

  /** The server, or the registry behind it, does not answer just now. */
  get down() {
    return this.status === 0 || this.status >= 500;
  }
}

export class Api {
  /** `sessionOver` is called when the session ended, and says whether somebody signed in again. */
  constructor(sessionOver) {
    this.sessionOver = sessionOver;
    this.account = "";
    this.skew = 0;
  }

  /** Now, by the server's clock, in seconds since 1970. */
  now() {
    return Date.now() / 1000 + this.skew;
  }

  /** Who is signed in. */
  async me() {
    const answer = await send("/-/me", { cache: "no-store" });
    const date = Date.parse(answer.headers.get("Date"));
    if (date) this.skew = Math.round((date - Date.now()) / 1000);
    const me = await answer.json();
    this.account = me.account;
    return me;
  }

  /** A file that the server's job wrote: "site.json", "views/all.json". */
  async data(name) {
    return (await this.ask(`/-/data/${name}`, { cache: "no-cache" })).json();
  }

  /** The tags that are there now, those of signatures too; null where the registry shows only a part of them. */
  async tags(repository) {
    const answer = await this.ask(`/-/v2/${repository}/tags/list`, { cache: "no-store" });
    const { tags } = await answer.json();
    return answer.headers.has("Link") ? null : new Set(tags ?? []);
  }

  /** The whole digest of a tag, without what it names. */
  async digest(repository, reference) {
    const init = { method: "HEAD", headers: { Accept: MANIFESTS }, cache: "no-store" };
    const answer = await this.ask(`/-/v2/${repository}/manifests/${reference}`, init);
    return answer.headers.get("Docker-Content-Digest");
  }

  /** A manifest: { digest, type, bytes, content }. The bytes are what the digest is of. */
  async manifest(repository, reference) {
    const init = { headers: { Accept: MANIFESTS }, cache: reference.startsWith("sha256:") ? "default" : "no-store" };
    const answer = await this.ask(`/-/v2/${repository}/manifests/${reference}`, init);
    const held = await answer.arrayBuffer();
    const type = answer.headers.get("Content-Type") ?? "";
    return {
      digest: answer.headers.get("Docker-Content-Digest"),
      type,
      bytes: held,
      content: JSON.parse(new TextDecoder().decode(held)),
    };
  }

  /** A blob that is JSON: a config. */
  async blob(repository, digest) {
    return (await this.ask(blobAddress(repository, digest))).json();
  }

  /** Deletes a tag, or a manifest with all its tags. The digest that was shown goes along, for the log. */
  async remove(repository, reference, digest) {
    const headers = { "X-Page": "1", ...(digest && { "X-Digest": digest }) };
    await this.ask(`/-/v2/${repository}/manifests/${reference}`, { method: "DELETE", headers });
  }

  /** Puts a manifest under a tag or its digest. Returns the digest that the registry computed. */
  async put(repository, reference, { type, bytes }) {
    const init = { method: "PUT", headers: { "X-Page": "1", "Content-Type": type }, body: bytes };
    const answer = await this.ask(`/-/v2/${repository}/manifests/${reference}`, init);
    return answer.headers.get("Docker-Content-Digest");
  }

  async login(name, password) {
    const text = String.fromCharCode(...new TextEncoder().encode(`${name}:${password}`));
    await send("/-/login", { method: "POST", headers: { "X-Page": "1", Authorization: `Basic ${btoa(text)}` } });
  }

  async logout() {
    await send("/-/logout", { method: "POST", headers: { "X-Page": "1" } });
  }

  /** Sends it; once more where the session was over and somebody signed in again. */
  async ask(address, init = {}) {
    try {
      return await send(address, init);
    } catch (refused) {
      const may = refused.status === 401 || refused.status === 403 || refused.status === 404;
      if (!may || !this.account || !(await this.ended())) throw refused;
      if (!(await this.sessionOver())) throw refused;
      return send(address, init);
    }
  }

  async ended() {
    const answer = await send("/-/me", { cache: "no-store" });
    return (await answer.json()).account !== this.account;
  }
}

export const blobAddress = (repository, digest) => `/-/v2/${repository}/blobs/${digest}`;

async function send(address, init) {
  let answer;
  try {
    answer = await fetch(address, { credentials: "same-origin", redirect: "error", ...init });
  } catch {
    throw new Refused(0);
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, said.errors?.[0]?.message, Number(answer.headers.get("Retry-After")) || 0);
}
