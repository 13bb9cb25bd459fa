# Brings Docker Engine, Compose 2, cron, Python 3 and rsync to Debian and Ubuntu, and starts them.
# $1: modules that Python must have, with spaces between; $2: seconds to wait for somebody else's apt; $3, $4: the
# lowest version of Compose, 2 and 17 of 2.17. cron_runs.sh stands before it.
# Says `doing WHAT` while it is at it, then `did WHAT` for each thing that it has done, and in the end `done`; or
# `refused WHAT` and `remedy WHAT`. POSIX sh: Python may be missing.
set -eu
export LC_ALL=C DEBIAN_FRONTEND=noninteractive PATH="$PATH:/usr/sbin:/sbin"
# What packages bring, and what is made below /etc, is for others, too, whatever root's own umask is.
umask 022
modules=$1 patience=$2

least_major=$3 least_minor=$4

refuse() {
    echo "refused $1"
    echo "remedy ${2:-correct that, then ./fab -H … provision again}"
    exit 0
}
have() { command -v "$1" >/dev/null 2>&1; }
candidate() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: //p' | grep -v none || true; }
engine() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }
# Without Compose there is no line at all.
compose() { docker compose version --short 2>/dev/null | awk -F'[.v]' -v major="$least_major" -v minor="$least_minor" '{ n = $1 == "" ? 2 : 1; found = $n > major || ($n == major && $(n + 1) >= minor) } END { exit !found }'; }
python() {
    # shellcheck disable=SC2086
    python3 -I -S -c 'import sys; [__import__(name) for name in sys.argv[1:]]' $modules 2>/dev/null
}

# Who has one of apt's locks, as `PROGRAM (process 123)`: the kernel's list has the inode of the file (proc(5)).
holder() {
    for file in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock /var/cache/apt/archives/lock; do
        [ -e "$file" ] || continue
        pid=$(awk -v inode=":$(stat -c %i "$file")" '$2 == "POSIX" && substr($6, length($6) - length(inode) + 1) == inode { print $5; exit }' /proc/locks)
        [ -z "$pid" ] || named "$pid"
        [ -z "$pid" ] || return 0
    done
}
named() { echo "$(tr '\0\n' '  ' 2>/dev/null <"/proc/$1/cmdline" | sed 's/ *$//' | cut -c 1-60) (process $1)"; }

# Does it as soon as nobody else's apt or dpkg is in the way: apt-get waits for some of the locks and says nothing
# meanwhile, dpkg for none. Leaves our standard input alone, and tells the error of another kind.
patiently() {
    while ! said=$("$@" 2>&1 >/dev/null </dev/null); do
        case $said in
            *"Could not get lock"* | *"nable to lock"* | *"nable to acquire"*lock* | *"lock "*"locked by "*) ;;
            *) printf '%s\n' "$said" >&2 && return 1 ;;
        esac
        who=$(holder)
        # The one that had it may have ended just now.
        [ -n "$who" ] || who=$(printf '%s\n' "$said" | sed -n 's/.*\(process\|pid\) \([0-9][0-9]*\).*/process \2/p' | head -n 1)
        who=${who:-a program that ended just now}
        if [ "$waited" -ge "$patience" ]; then
            case $who in *"process "*) pid=${who##*process } ;; *) pid=-e ;; esac
            refuse "$who works with apt's packages, and has not ended for $patience s" "wait for it (on the server: ps ${pid%)} shows it), then ./fab -H … provision again"
        fi
        [ $((waited % 15)) != 0 ] || echo "doing waiting for $who, which works with apt's packages"
        sleep 1
        waited=$((waited + 1))
    done
}
waited=0

# Never remove anything.
apt() { patiently apt-get -qq -o DPkg::Lock::Timeout=0 --no-remove "$@"; }

. /etc/os-release
packages=
have docker || packages="$packages docker"
have docker && compose || packages="$packages compose"
have cron || have crond || [ -x /usr/sbin/cron ] || packages="$packages cron"
have python3 && python || packages="$packages python3"
have rsync || packages="$packages rsync"
case $(docker --version 2>/dev/null) in *[Pp]odman*) refuse "Podman goes by the name of docker here" "apt-get remove podman-docker, then ./fab -H … provision again" ;; esac

docker_repository() {
    # Docker's own, where the distribution has no Compose 2 (docs.docker.com/engine/install/debian).
    echo "doing adding Docker's own repository: the distribution has no Compose 2"
    install -m 0755 -d /etc/apt/keyrings
    apt install -y --no-install-recommends ca-certificates curl
    curl -fsSL "https://download.docker.com/linux/$ID/gpg" -o /etc/apt/keyrings/docker.asc ||
        refuse "download.docker.com, which has Compose 2 for this system, cannot be reached" "open the way there, or install the plugin by hand (docs.docker.com/compose/install/linux); then ./fab -H … provision again"
    chmod 0644 /etc/apt/keyrings/docker.asc
    printf 'deb [arch=%s signed-by=/etc/apt/keyrings/docker.asc] https://download.docker.com/linux/%s %s stable\n' \
        "$(dpkg --print-architecture)" "$ID" "$VERSION_CODENAME" >/etc/apt/sources.list.d/docker.list
    apt update
}

if [ -n "$packages" ]; then
    case ${ID:-} in debian | ubuntu) ;; *) refuse "${PRETTY_NAME:-this system} is neither Debian nor Ubuntu: install$packages by hand" ;; esac
    # What an earlier run, or a new server's own first update, was in the middle of.
    [ -z "$(dpkg --audit)" ] || patiently dpkg --configure -a
    echo "doing reading the lists of packages"
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
    # For `backup` and `restore`.
    case $packages in *rsync*) names="${names:+$names }rsync" ;; esac
    echo "doing installing $names"
    # shellcheck disable=SC2086
    apt install -y --no-install-recommends iptables ca-certificates $names
    echo "did installed $names"
    # What was there already, or comes first in root's PATH, may be in the way of what was installed.
    compose || refuse "docker compose does not work, though $names is installed" "on the server: docker compose version shows why"
    python || refuse "$(command -v python3) has not all of Python's own library, though python3 is installed" "move that one away, then ./fab -H … provision again"
fi

start() {
    if [ -d /run/systemd/system ]; then systemctl enable --now "$1"; else service "$1" start; fi </dev/null >/dev/null 2>&1 || true
    echo "did started $1"
}
engine || start docker
cron_runs || start cron
waited=0
until engine; do
    [ "$waited" -lt 60 ] || refuse "Docker is installed but does not answer" "on the server: journalctl -u docker shows why"
    sleep 1
    waited=$((waited + 1))
done
echo "done"
