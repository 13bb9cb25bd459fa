# Who on this host still names DEPLOY_DIR ($1) though nothing of ours is in it: its disk is not mounted, or it was
# deleted. $2: our file of cron; $3: our Compose project. Says nothing where all is well. Changes nothing.
# Docker makes directories for what it cannot find, and cron a log: only other files count.
[ -z "$(find -H "$1" -path "$1/log" -prune -o -type f -print -quit 2>/dev/null)" ] || exit 0
names=
if grep -qsF "cd $1 &&" "$2"; then names=$2; fi
if command -v docker >/dev/null 2>&1; then
    label=label=com.docker.compose.project
    names="$names $(docker ps --all --filter "$label=$3" --filter "$label.working_dir=$1" --format '{{.Names}}' 2>/dev/null | sort | tr '\n' ' ')"
fi
# shellcheck disable=SC2086
echo $names
