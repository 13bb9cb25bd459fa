// What a manifest and a config say, in the form that the screens show. Nothing here asks anybody.

const IN_TOTO = "application/vnd.in-toto+json";
const PREDICATE = "in-toto.io/predicate-type";
const TITLE = "org.opencontainers.image.title";
const KINDS = [
  ["cache", /buildkit\.cacheconfig/],
  ["chart", /cncf\.helm/],
  ["signature", /cosign|notary/],
  ["sbom", /spdx|cyclonedx|syft/],
  ["attestation", /in-toto/],
];
const RUNNABLE = /vnd\.(oci\.image\.config|docker\.container\.image)\.v1\+json/;
// A variable of such a name is not shown until somebody asks for it.
const SECRET = /pass(word|wd|phrase)?|secret|token|credential|api_?key|private_?key|(^|_)(key|pwd|auth|dsn)$/i;

export const isIndex = (content) => Array.isArray(content.manifests);

/** image, index, cache, chart, artifact, signature, sbom or attestation. */
export function kindOf(content) {
  if (isIndex(content))
    return content.manifests.some(({ mediaType }) => /layer|buildkit/.test(mediaType)) ? "cache" : "index";
  const layers = (content.layers ?? []).map(({ mediaType }) => mediaType);
  const types = [content.artifactType, content.config?.mediaType, ...layers].join(" ");
  const found = KINDS.find(([, pattern]) => pattern.test(types));
  if (found) return found[0];
  return RUNNABLE.test(content.config?.mediaType) ? "image" : "artifact";
}

/** linux/arm64/v8. */
export const platformName = ({ os, architecture, variant }) => [os, architecture, variant].filter(Boolean).join("/");

/** The members of an index: what runs somewhere, each with its attestations, and what belongs to none of them. */
export function members(content) {
  const attestations = new Map();
  const runnable = [];
  for (const member of content.manifests) {
    const subject = member.annotations?.["vnd.docker.reference.digest"];
    if (subject) attestations.set(subject, [...(attestations.get(subject) ?? []), member]);
    else runnable.push(member);
  }
  return runnable.map((member) => ({
    ...member,
    name: member.platform ? platformName(member.platform) : "",
    attestations: attestations.get(member.digest) ?? [],
  }));
}

export const sizeOf = (content) => (content.layers ?? []).reduce((sum, { size }) => sum + (size ?? 0), 0);

/** Each layer with the command that made it: { digest, size, command, title, what }. */
export function layers(content, config) {
  const commands = (config?.history ?? [])
    .filter((step) => !step.empty_layer)
    .map((step) => commandOf(step.created_by));
  const known = commands.length === content.layers?.length ? commands : [];
  return (content.layers ?? []).map(({ digest, size, mediaType, annotations }, at) => ({
    digest,
    size,
    mediaType,
    command: known[at] ?? "",
    title: annotations?.[TITLE] ?? "",
    what: mediaType === IN_TOTO ? (annotations?.[PREDICATE] ?? "") : "",
  }));
}

/** Every step of the build, those without a layer too. */
export const history = (config) =>
  (config.history ?? []).map((step) => ({
    command: commandOf(step.created_by),
    comment: step.comment,
    empty: Boolean(step.empty_layer),
  }));

/** A step as it stood in the Dockerfile, without what the builder put around it. */
export const commandOf = (text = "") =>
  text
    .replace(/^\/bin\/sh -c #\(nop\)\s+/, "")
    .replace(/^(RUN )?(\|\d+ .*? )?\/bin\/sh -c /, "RUN ")
    .replace(/\s+# buildkit\s*$/, "")
    .trim();

/** [name, value, whether it looks like a secret] of each variable. */
export const environment = (config) =>
  (config?.config?.Env ?? []).map((text) => {
    const cut = text.indexOf("=");
    const name = cut < 0 ? text : text.slice(0, cut);
    return [name, cut < 0 ? "" : text.slice(cut + 1), SECRET.test(name)];
  });

export const labels = (config) => Object.entries(config?.config?.Labels ?? {}).sort();

/** [name of the field, text] of what is run, and how. */
export function settings(config) {
  const { Entrypoint, Cmd, User, WorkingDir, ExposedPorts, Volumes, StopSignal, Healthcheck } = config?.config ?? {};
  const words = (list) => list?.map((word) => (/^[\w./:=@%+-]+$/.test(word) ? word : JSON.stringify(word))).join(" ");
  return [
    ["entrypoint", words(Entrypoint)],
    ["cmd", words(Cmd)],
    ["user", User],
    ["workdir", WorkingDir],
    ["ports", Object.keys(ExposedPorts ?? {}).join(", ")],
    ["volumes", Object.keys(Volumes ?? {}).join(", ")],
    ["healthcheck", words(Healthcheck?.Test)],
    ["stop", StopSignal],
  ].filter(([, text]) => text);
}

/** The date of the build; 0 where nobody told it. */
export function createdAt(config) {
  const time = Date.parse(config?.created ?? "") / 1000;
  return time > 86_400 ? time : 0;
}

/** What is other: { added, gone, changed } of two lists of [name, value]. */
export function difference(before, after) {
  const [old, now] = [new Map(before), new Map(after)];
  return {
    added: after.filter(([name]) => !old.has(name)),
    gone: before.filter(([name]) => !now.has(name)),
    changed: after
      .filter(([name, value]) => old.has(name) && old.get(name) !== value)
      .map(([name, value]) => [name, old.get(name), value]),
  };
}
