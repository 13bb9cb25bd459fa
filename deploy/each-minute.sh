# What cron runs each minute, by `sh`, in this directory: `./inv quota`, which looks whether a quota is reached or the images'
# disk nearly full, and `./inv page`, which makes the lists that the page shows. Here it is only found out whether there
# is anything to look at, so that a server at rest does next to nothing. log/quota.seen: its time says that cron was here,
# its content how much of the log of uses is known. METRICS: `./inv metrics`, which counts the requests of the minute.
uses=log/uses/uses.log
seen=log/quota.seen
record=log/quota.json
log=log/quota.log
mkdir -p log
# EVENT_COMMAND: `./inv notify` stays for this minute, and is alone by a lock of its own. Where nobody shall be told,
# it is forgotten up to where somebody was.
if grep -q "^EVENT_COMMAND='..*'\$" settings.env 2>/dev/null; then
    ./inv notify --log log/events.log >>log/events.log 2>&1 &
else
    rm -f log/events.json
fi
# Several servers: has an account changed elsewhere? Here nobody is served until that is known.
if grep -q "^HOSTS='..*'\$" settings.env 2>/dev/null; then
    ./inv accounts --log log/accounts.log >>log/accounts.log 2>&1 &
fi
# Who was to take leave did not, nor came back: whoever was at it is dead.
find nginx/full/draining -mmin +60 -exec rm -f {} + 2>/dev/null
exec 9>>log/quota.running
flock -n 9 || exit 0

known=$(cat "$seen" 2>/dev/null)
case $known in '' | *[!0-9]*) known=0 ;; esac
size=$(stat -c %s "$uses" 2>/dev/null) || size=0
# nginx begins a new one each night.
[ "$size" -ge "$known" ] || known=0

# What must be free, as of the last look; in it are bytes, df has blocks of 1024.
limit=$(sed -n 's/.*"limit": \([0-9]*\).*/\1/p' "$record" 2>/dev/null)
free=$(df -Pk registry/data 2>/dev/null | awk 'NR == 2 { print $4 }')

look=
[ -n "$limit" ] && [ -n "$free" ] && [ "$free" -ge $((limit / 1024)) ] || look=room
[ -z "$(find retention.ini -newer "$record" 2>/dev/null)" ] || look=rules
# What is refused is let in again whatever made room for it.
for flag in nginx/full/*.json; do
    [ "$flag" = nginx/full/standby.json ] || [ ! -e "$flag" ] || look=refused
done
# What came, was put elsewhere or went: time, account, method, and more, with tabs between them.
tab=$(printf '\t')
if [ -z "$look" ] && [ "$size" -gt "$known" ] &&
    tail -c "+$((known + 1))" "$uses" | grep -qE "^[0-9.]+${tab}[^${tab}]*${tab}(POST|PUT|DELETE)${tab}"; then
    look=pushed
fi

# The page's lists: of manifests alone, as only these have a reference, in the fifth field. A new log begins each night,
# with lists that are made anew; a new day, with new tokens for its sessions.
tend=
if [ -e nginx/live/page.conf ]; then
    today=$(date -u +%F)
    [ -e page/state.json ] || tend=none
    [ "$(cat page/day 2>/dev/null)" = "$today" ] || tend=day
    if [ -z "$tend" ] && [ "$size" -gt "$known" ] && tail -c "+$((known + 1))" "$uses" |
        grep -qE "^[0-9.]+${tab}[^${tab}]*${tab}(PUT|DELETE)${tab}[^${tab}]+${tab}[^${tab}-]"; then
        tend=pushed
    fi
fi

failed=
if [ -n "$tend" ] && [ -n "$look" ]; then
    # One start for both. Where one of them fails, each is run alone below.
    if ./inv page --log log/page.log quota --log "$log" >>"$log" 2>&1; then
        echo "$today" >page/day
        look='' tend=''
    fi
elif [ -z "$tend" ] && [ -d page/data ]; then
    # Up to now they are right.
    printf '{"seen":%s}' "$(date +%s)" >page/data/.seen && mv page/data/.seen page/data/seen.json
fi
if [ -n "$tend" ]; then
    if ./inv page --log log/page.log >>log/page.log 2>&1; then
        echo "$today" >page/day
    else
        failed=page
    fi
fi
# It says nothing where nothing changed.
if [ -n "$look" ] && ! ./inv quota --log "$log" >>"$log" 2>&1; then
    failed=quota
fi
[ -n "$failed" ] || echo "$size" >"$seen"

if grep -q "^METRICS='on'\$" settings.env 2>/dev/null; then
    ./inv metrics --log log/metrics.log >>log/metrics.log 2>&1
else
    rm -f nginx/metrics/metrics
fi
