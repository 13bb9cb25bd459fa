# What cron runs, by `sh`, in this directory: `./inv renew`, which tells of its own failures. Where it does not even
# come to that (no Python, a file that is missing or damaged, memory that ran out), ALERT_COMMAND is told here, once for
# each new problem. `status` looks for log/renew.unheard.
log=log/renew.log
# Of this run alone: another one may be waiting for the lock.
heard=log/renew.heard.$$
mkdir -p log
rm -f "$heard"
./inv renew --log "$log" --heard "$heard" >>"$log" 2>&1
status=$?
if [ -e "$heard" ]; then
    rm -f "$heard" log/renew.unheard
    exit "$status"
fi

# As `sync` writes it: KEY='value', with \\ and \' in it.
setting() { sed -n "s/^$1='\(.*\)'\$/\1/p" settings.env | sed 's/\\\(.\)/\1/g'; }
problem="cron could not run ./inv renew (exit status $status): $(tail -n 1 "$log" | tr -d '\000-\037\177' | cut -c 1-300)"
[ "$problem" != "$(cat log/renew.unheard 2>/dev/null)" ] || exit "$status"
domain=$(setting REGISTRY_DOMAIN)
ALERT_COMMAND=$(setting ALERT_COMMAND)
export ALERT_COMMAND
if [ -n "$ALERT_COMMAND" ]; then
    # Through the environment: an argument, maybe with a token in it, is everybody's to see.
    printf '%s: %s\n  -> ./fab -H %s sync, then ./fab -H %s status\n' "$domain" "$problem" "$domain" "$domain" |
        timeout 60 sh -c 'eval "$ALERT_COMMAND"' >>"$log" 2>&1 || exit "$status"
fi
# Only now: what could not be told is told by the next run.
printf '%s\n' "$problem" >log/renew.unheard
exit "$status"
