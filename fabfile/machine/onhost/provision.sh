# Brings Docker Engine, Compose 2, cron and Python 3 to Debian and Ubuntu, and starts them.
# $1, $2: the lowest version of Compose, 2 and 17 of 2.17.
# Says one line for each thing it does, and nothing when all is there. cron.sh stands before it.
# POSIX sh: Python may be missing.
set -eu
export LC_ALL=C DEBIAN_FRONTEND=noninteractive PATH="$PATH:/usr/sbin:/sbin"

least_major=$1 least_minor=$2

refuse() { echo "refused $1" && exit 0; }
have() { command -v "$1" >/dev/null 2>&1; }
candidate() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: //p' | grep -v none || true; }
engine() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }
compose() { docker compose version --short 2>/dev/null | awk -F'[.v]' -v major="$least_major" -v minor="$least_minor" '{ n = $1 == "" ? 2 : 1; exit !($n > major || ($n == major && $(n + 1) >= minor)) }'; }

# Never remove anything; wait for somebody else's apt; leave our standard input, this script, alone.
apt() { apt-get -qq -o DPkg::Lock::Timeout=300 --no-remove "$@" </dev/null >/dev/null; }

. /etc/os-release
packages=
have docker || packages="$packages docker"
have docker && compose || packages="$packages compose"
have cron || have crond || [ -x /usr/sbin/cron ] || packages="$packages cron"
have python3 || packages="$packages python3"

docker_repository() {
    # Docker's own, where the distribution has no Compose 2 (docs.docker.com/engine/install/debian).
    install -m 0755 -d /etc/apt/keyrings
    apt install -y --no-install-recommends ca-certificates curl
    curl -fsSL "https://download.docker.com/linux/$ID/gpg" -o /etc/apt/keyrings/docker.asc
    chmod 0644 /etc/apt/keyrings/docker.asc
    printf 'deb [arch=%s signed-by=/etc/apt/keyrings/docker.asc] https://download.docker.com/linux/%s %s stable\n' \
        "$(dpkg --print-architecture)" "$ID" "$VERSION_CODENAME" >/etc/apt/sources.list.d/docker.list
    apt update
}

if [ -n "$packages" ]; then
    case ${ID:-} in debian | ubuntu) ;; *) refuse "${PRETTY_NAME:-this system} is neither Debian nor Ubuntu: install$packages by hand" ;; esac
    # What an earlier run, or a new server's own first update, was in the middle of.
    [ -z "$(dpkg --audit)" ] || dpkg --configure -a </dev/null >/dev/null
    apt update
    names=
    case $packages in *compose*)
        case $(candidate docker-compose-v2) in
            ?*) names="docker-compose-v2" ;;
            *) case $(candidate docker-compose) in
                [2-9]*) names="docker-compose" ;;
                *) docker_repository; names="docker-compose-plugin" ;;
            esac ;;
        esac ;;
    esac
    case $packages in *docker*)
        case $names in
            docker-compose-plugin) names="docker-ce docker-ce-cli containerd.io $names" ;;
            *) names="docker.io $names"; [ -z "$(candidate docker-cli)" ] || names="$names docker-cli" ;;
        esac ;;
    esac
    case $packages in *cron*) names="$names cron" ;; esac
    case $packages in *python3*) names="$names python3" ;; esac
    # shellcheck disable=SC2086
    apt install -y --no-install-recommends iptables ca-certificates $names
    echo "installed $names"
fi

start() {
    if [ -d /run/systemd/system ]; then systemctl enable --now "$1"; else service "$1" start; fi >/dev/null 2>&1 || true
    echo "started $1"
}
engine || start docker
cron_runs || start cron
waited=0
until engine; do
    [ "$waited" -lt 60 ] || refuse "Docker was installed but does not answer: journalctl -u docker shows why"
    sleep 1
    waited=$((waited + 1))
done
