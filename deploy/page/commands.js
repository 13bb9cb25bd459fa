// The lines that people type elsewhere, filled in with this host and this account.

/** Which clients can fetch what. */
export const CLIENTS = {
  image: ["docker", "podman", "skopeo", "compose", "kubernetes"],
  chart: ["helm", "oras"],
  artifact: ["oras", "skopeo"],
  cache: ["buildx", "skopeo"],
};
CLIENTS.index = CLIENTS.image;

const LINES = {
  docker: (image) => `docker pull ${image}`,
  podman: (image) => `podman pull ${image}`,
  skopeo: (image) => `skopeo copy docker://${image} oci:image`,
  compose: (image) => `image: ${image}`,
  kubernetes: (image) => `kubectl create deployment app --image=${image}`,
  oras: (image) => `oras pull ${image}`,
  buildx: (image) => `docker buildx build --cache-from type=registry,ref=${image} .`,
};

/** The line that fetches an image with a client, by its tag or, where one is given, by its digest. */
export function pullLine(client, kind, repository, tag, digest = "") {
  const usable = CLIENTS[kind] ?? CLIENTS.image;
  const name = `${location.host}/${repository}`;
  const chosen = usable.includes(client) ? client : usable[0];
  if (chosen === "helm")
    return digest ? `helm pull oci://${name}@${digest}` : `helm pull oci://${name} --version ${tag}`;
  return LINES[chosen](digest ? `${name}@${digest}` : `${name}:${tag}`);
}

/** [name of the client, its lines] for signing in. */
export function loginLines(account) {
  const { host } = location;
  return [
    ["docker", [`docker login ${host} -u ${account}`]],
    ["podman", [`podman login ${host} -u ${account}`]],
    ["ci", [`printf %s "$REGISTRY_PASSWORD" | docker login ${host} -u ${account} --password-stdin`]],
    [
      "kubernetes",
      [
        `kubectl create secret docker-registry registry --docker-server=${host} --docker-username=${account} --docker-password="$REGISTRY_PASSWORD"`,
        `kubectl patch serviceaccount default -p '{"imagePullSecrets":[{"name":"registry"}]}'`,
      ],
    ],
    ["containerd", [`nerdctl login ${host} -u ${account}`, `ctr images pull --user ${account} ${host}/REPOSITORY:TAG`]],
  ];
}
