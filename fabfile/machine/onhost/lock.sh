# Holds the lock of this host for as long as standard input is open, and writes the audit log.
# Arguments: lock file, seconds to wait, audit log, who, task, file that tells which version deployed
# this, and what tells that it has moved. A wait of '-': only write the log.
# Says `held VERSION`, or `busy WHO`, or `away NAMES` (see away.sh, a function that stands before this), or `moved TO`
# where the registry is on another server by now; then reads one line: the outcome; an empty one is not logged.
# Without a line we were cut off: the kernel frees the lock with this process, so the lock of a dead
# holder is never in anyone's way.
lock=$1 wait=$2 log=$3 who=$4 task=$5 record=$6 moved=$7
now() { date -u +%Y-%m-%dT%H:%M:%SZ; }
if [ "$wait" != - ]; then
    umask 077
    exec 9>>"$lock"
    flock -w "$wait" 9
    got=$?
    if [ "$got" = 1 ]; then
        echo "busy $(head -n 1 "$lock.holder" 2>/dev/null)"
        exit 0
    fi
    # No flock, or none on this file system: that is no holder.
    [ "$got" = 0 ] || exit "$got"
    printf '%s since %s, task %s\n%s\n' "$who" "$(now)" "$task" $$ >"$lock.holder"
fi
gone=$(away "${record%/*}")
if [ -n "$gone" ]; then
    echo "away $gone"
    [ "$wait" = - ] || rm -f "$lock.holder"
    exit 0
fi
# Where somebody else could put a link or a fifo in its place, nothing is read or written. A link that is root's own,
# DEPLOY_DIR itself or `log`, is followed first.
roots() { [ -d "$1" ] && [ ! -L "$1" ] && [ -z "$(find "$1" -maxdepth 0 \( ! -user 0 -o -perm -0002 -o \( -perm -0020 ! -group 0 \) \))" ]; }
version=
roots "$(readlink -f -- "${record%/*}")" && [ -f "$record" ] && [ ! -L "$record" ] && IFS= read -r version <"$record"
to=
roots "$(readlink -f -- "${record%/*}")" && [ -f "$moved" ] && [ ! -L "$moved" ] && IFS= read -r to <"$moved"
if [ -n "$to" ]; then echo "moved $to"; else echo "held $version"; fi
IFS= read -r outcome || outcome='cut off'
above=$(readlink -f -- "${record%/*}")
directory=$(readlink -f -- "$above/log")
log=$directory/${log##*/}
[ -n "$outcome" ] && roots "$above" && roots "$directory" && [ ! -L "$log" ] && { [ ! -e "$log" ] || [ -f "$log" ]; } && printf '%s\t%s\t%s\t%s\n' "$(now)" "$who" "$task" "$outcome" >>"$log"
[ "$wait" = - ] || rm -f "$lock.holder"
