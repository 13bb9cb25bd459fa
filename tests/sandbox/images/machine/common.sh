# What server and client do alike. Sourced, in a container, as root; runs again at every restart.
set -eu

# Docker keeps a changed resolv.conf over a restart, so put its own DNS back first: that one
# knows the address which `ca` has now.
use_dns_of_ca() {
    echo 'nameserver 127.0.0.11' > /etc/resolv.conf
    ca=$(getent ahostsv4 ca | awk 'NR == 1 { print $1 }')
    echo "nameserver $ca" > /etc/resolv.conf
}

# Its DNS, and the authority whose root a client trusts.
wait_for_ca() {
    until curl -sk --fail-early --connect-timeout 5 "http://$ca:8055/" "https://$ca:15000/roots/0" >/dev/null; do
        sleep 0.1
    done
}

# Docker switches IPv6 off in a container on a network without it; the stack's own network, within
# this container, may have it all the same. (Not on a kernel without IPv6.)
allow_ipv6() {
    for interface in all default lo; do
        file=/proc/sys/net/ipv6/conf/$interface/disable_ipv6
        [ ! -w "$file" ] || echo 0 > "$file"
    done
}

# $1: more lines for daemon.json. Containers of this engine cannot use 127.0.0.11 either.
start_docker() {
    mkdir -p /etc/docker
    printf '{"dns": ["%s"], "shutdown-timeout": 2%s}\n' "$ca" "${1:-}" > /etc/docker/daemon.json
    # Left by an engine that was killed with this container.
    rm -rf /run/docker.pid /run/docker-ssd.pid /run/docker /run/containerd
    service docker start
}

stop_docker() {
    service docker stop
    exit 0
}
