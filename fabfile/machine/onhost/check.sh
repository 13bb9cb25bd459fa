# Facts about this host for `check`, one `key value` a line. Changes nothing.
# $1: DEPLOY_DIR; $2: directories of ours below it, $3: modules that Python must have, both with spaces between;
# $4: what the registry has, $5: the images, $6: the mark in these, $7: the record of it: of store.py, below DEPLOY_DIR;
# $8: our Compose project; $9: host:port of the ACME server, or nothing; then every name that the registry must answer to.
# cron_runs.sh and away.sh stand before it. POSIX sh and nothing else that may be missing: it runs before anything was
# installed.
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
directory=$1 ours=$2 modules=$3 store=$4 data=$1/$5 mark=$1/$5/$6 record=$1/$7 project=$8 acme=$9
shift 9

fact() { printf '%s %s\n' "$1" "$2"; }

# shellcheck disable=SC1091
[ -r /etc/os-release ] && fact system "$(. /etc/os-release && echo "$ID ${VERSION_ID:-}")"
fact architecture "$(uname -m)"
fact uid "$(id -u)"
fact time "$(date +%s)"

place=$directory
while [ ! -d "$place" ]; do place=$(dirname "$place"); done
fact disk_kib "$(df -Pk "$place" | awk 'NR == 2 { print $4 }')"
# Free and all; a file system that makes them as it needs them says 0 for both.
fact inodes "$(stat -f -c '%d %c' "$place")"
if [ -d "$data" ] && [ "$(stat -L -c %d "$data")" != "$(stat -L -c %d "$place")" ]; then
    fact images_kib "$(df -Pk "$data/." | awk 'NR == 2 { print $4 }')"
    fact images_inodes "$(stat -f -c '%d %c' "$data/.")"
fi
# See store.py: what the registry may have put there is not waited for.
if [ -f "$record" ]; then
    { [ -f "$mark" ] && [ ! -L "$mark" ] && [ "$(head -c 100 "$mark")" = "$(cat "$record")" ]; } || fact other_store "$(cat "$record")"
fi
fact away "$(away "$directory")"

# Who can change what root's cron runs: find -H looks at what a link points to.
open_to_others() {
    [ -z "$(find -H "$2" -maxdepth 0 \( ! -user 0 -o -perm -0002 -o \( -perm -0020 ! -group 0 \) \) 2>/dev/null)" ] ||
        fact "$1" "$(stat -L -c '%n %U %a' "$2")"
}
open_to_others directory "$directory"
for name in $ours; do open_to_others directory "$directory/$name"; done
for place in "$directory" "$(readlink -f "$directory")"; do
    while [ "$place" != / ] && [ -n "$place" ]; do
        place=$(dirname "$place")
        open_to_others above "$place"
    done
done

# Which registry serves the images that are here: an old one, or none.
[ ! -d "$directory/$store/repositories" ] ||
    fact store "$(docker ps --filter "name=^$project-registry-1$" --format '{{.Image}}' 2>/dev/null)"

# Each line below goes out whole, so what takes its time runs beside the rest; `wait` is at the end.
# Named are the modules of the standard library that ours need and that a distribution may have cut off.
# shellcheck disable=SC2086
python3 -I -B -S -c '
import sys
print("python %d.%d" % sys.version_info[:2])
for name in sys.argv[1:]:
    try:
        __import__(name)
    except ImportError:
        print("python_lacks", name)
' $modules 2>/dev/null &
python=$(command -v python3) && fact python_path "$python"
cron_runs && fact cron running

if command -v docker >/dev/null 2>&1; then
    fact docker_client yes
    # Beside the answer there may be warnings, of a damaged ~/.docker/config.json for example.
    if engine=$(docker version --format '{{.Server.Version}}' 2>/dev/null); then
        fact docker "$engine"
    else
        case $(docker version --format '{{.Server.Version}}' 2>&1 >/dev/null) in *"permission denied"*) fact docker_denied yes ;; esac
    fi
    case "$(command -v docker) $(readlink -f "$(command -v docker)")" in */snap*) fact docker_kind snap ;; esac
    case $(docker --version 2>/dev/null) in *[Pp]odman*) fact docker_kind podman ;; esac
    docker info --format '{{range .SecurityOptions}}{{println .}}{{end}}' 2>/dev/null |
        sed -n 's/^name=\(rootless\).*/docker_kind \1/p' &
    if compose=$(docker compose version --short 2>/dev/null); then
        fact compose "$compose"
    else
        fact compose_v1 "$(docker-compose version --short 2>/dev/null)"
    fi
fi

# Listening sockets first (state 0A; the port is the hexadecimal number behind the colon), then the
# containers: one that is just being started has its port before Docker counts it as running.
ports() {
    for port in 80:0050 443:01BB; do
        if cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v p="${port#*:}" '$4 == "0A" && $2 ~ ":" p "$" { found = 1 } END { exit !found }'; then
            owner=$(ss -Hltnp "sport = :${port%:*}" 2>/dev/null | sed -n 's/.*users:((\("[^"]*"\),pid=\([0-9]*\).*/\1 \2/p' | head -n 1)
            fact port_taken "${port%:*} ${owner:-unknown}"
        fi
    done
    command -v docker >/dev/null 2>&1 || return 0
    for port in 80 443; do
        docker ps --all --filter "publish=$port" --filter status=created --filter status=running --filter status=restarting \
            --format "port_container $port {{.State}} {{.Names}} {{.Label \"com.docker.compose.project.config_files\"}}" 2>/dev/null
    done
}

# Docker's proxy without a container is one that comes or goes at this moment.
for attempt in 1 2 3 4 5; do
    found=$(ports)
    passing=
    for port in 80 443; do
        case $found in
        *"port_container $port "*) ;;
        *"port_taken $port \"docker-proxy\""*) passing=yes ;;
        esac
    done
    [ -n "$passing" ] && [ "$attempt" != 5 ] || break
    sleep 1
done
[ -z "$found" ] || printf '%s\n' "$found"

# Whether something speaks HTTP on port 80 and TLS on 443, here: Docker's own proxy takes connections for nobody, too.
python3 -I -B -S -c '
import socket, ssl, sys
for port in 80, 443:
    try:
        with socket.create_connection(("127.0.0.1", port), 3) as wire:
            if port == 80:
                wire.sendall(b"HEAD / HTTP/1.0\r\nHost: %s\r\n\r\n" % sys.argv[1].encode())
                answers = wire.recv(1)
            else:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                context.wrap_socket(wire, server_hostname=sys.argv[1])
                answers = True
        if answers:
            print("answers", port)
    except OSError:
        pass
' "$1" 2>/dev/null &

# Whether the ACME server is reached from here, and from a container, by the same addresses: names are no matter then.
reaches() {
    # Addresses with spaces between.
    # shellcheck disable=SC2086
    "$@" python3 -I -B -S -c '
import socket, sys
for address in sys.argv[2:]:
    try:
        socket.create_connection((address, int(sys.argv[1])), 4).close()
    except OSError:
        continue
    print("yes")
    break
' "${acme##*:}" $found 2>/dev/null
}
way_out() {
    found=$(getent ahosts "${acme%:*}" | awk '{ print $1 }' | sort -u)
    fact acme_host "$(reaches env)"
    pid=$(docker inspect --format '{{.State.Pid}}' "$(docker ps --quiet --filter "name=^$project-nginx-1$" 2>/dev/null)" 2>/dev/null)
    [ -n "$pid" ] && command -v nsenter >/dev/null 2>&1 && fact acme_container "$(reaches nsenter --target "$pid" --net)"
}
[ -z "$acme" ] || way_out &
grep -qs '"iptables"[[:space:]]*:[[:space:]]*false' /etc/docker/daemon.json && fact no_iptables yes

# Without the bridges of Docker, which nobody outside reaches.
addresses=$(ip -o addr show 2>/dev/null | awk '$2 !~ /^(lo|docker|br-|veth)/ { sub("/.*", "", $4); printf "%s ", $4 }')
fact addresses "${addresses:-$(hostname -I 2>/dev/null)}"
# getent says the same of a name without addresses and of a DNS that is silent (EAI_AGAIN).
silent='
import socket, sys
try:
    socket.getaddrinfo(sys.argv[1], None)
except socket.gaierror as error:
    print("yes" if error.errno == socket.EAI_AGAIN else "")
'
for name in "$@"; do
    fact a "$name $(getent ahostsv4 "$name" | awk '{ print $1 }' | sort -u | tr '\n' ' ')"
    fact aaaa "$name $(getent ahostsv6 "$name" | awk '$1 !~ /^::ffff:/ { print $1 }' | sort -u | tr '\n' ' ')"
    getent ahosts "$name" >/dev/null || [ -z "$(python3 -I -B -S -c "$silent" "$name" 2>/dev/null)" ] || fact dns_silent "$name"
done
wait
exit 0
