# Stamps of the long checks, for check.sh: deploy/ci/long.tsv has a row for each, written when it passed.
#
#   step, hash of its inputs, committer date of the commit (seconds since 1970), seconds, passed, skipped
#
# The inputs of a step are paths of the repository. While they are unchanged a stamp holds at any age. When they have
# changed it holds for 7 days and 150 commits, counted to HEAD; that of an `exact` step does not. No clock is read.

readonly stamp_days=7 stamp_commits=150
stamps="${STAMPS:-deploy/ci/long.tsv}"

# The hash of the files of these paths, in which `*` stands for any text.
inputs_hash() {
  git ls-files --stage -- "$@" | sha256sum | cut -c 1-16
}

# Writes the stamp of a step: NAME HASH SECONDS PASSED SKIPPED PATH…, with the hash of the inputs before the run; not of files
# that are not committed, or that changed meanwhile.
write_stamp() {
  local name="$1" hash="$2" row
  row="$3"$'\t'"$4"$'\t'"$5"
  shift 5
  if [ -n "$(git status --porcelain -- "$@" 2>&1)" ] || [ "$hash" != "$(inputs_hash "$@")" ]; then
    echo "no stamp: $name ran on changes that are not committed"
    return
  fi
  {
    grep '^#' "$stamps" 2>/dev/null || true
    { grep -v '^#' "$stamps" 2>/dev/null || true; } | awk -F '\t' -v name="$name" '$1 != name'
    printf '%s\t%s\t%s\t%s\n' "$name" "$hash" "$(git log --max-count=1 --format=%ct)" "$row"
  } >"$stamps.new"
  { grep '^#' "$stamps.new" || true; grep -v '^#' "$stamps.new" | sort; } >"$stamps"
  rm "$stamps.new"
}

# Judges the stamp of a step, NAME INPUTS; the first of the inputs may be `exact`. Prints its age, or what is wrong with it;
# exit code 1 then.
judge_stamp() {
  local name="$1" exact="" row hash date passed skipped head commits
  read -ra paths <<<"$2"
  if [ "${paths[0]}" = exact ]; then
    exact=yes
    paths=("${paths[@]:1}")
  fi
  row="$(awk -F '\t' -v name="$name" '$1 == name' "$stamps" 2>/dev/null)"
  IFS=$'\t' read -r _ hash date _ passed skipped <<<"$row"
  if [ -z "$row" ] || [ -z "$skipped" ]; then
    echo "$name: no stamp in $stamps"
    return 1
  fi
  if [ "$skipped" != 0 ] || [ "$passed" = 0 ]; then
    echo "$name: its last run passed $passed tests and skipped $skipped; none may be skipped"
    return 1
  fi
  head="$(git log --max-count=1 --format=%ct)"
  commits="$(git rev-list --count --since=$((date + 1)) HEAD)"
  if [ "$hash" = "$(inputs_hash "${paths[@]}")" ]; then
    echo "$name: stamp of $(day "$date"), inputs unchanged since"
  elif [ -n "$exact" ]; then
    echo "$name: its inputs changed since its stamp of $(day "$date"): ${paths[*]}"
    return 1
  elif [ $((head - date)) -gt $((stamp_days * 86400)) ] || [ "$commits" -gt "$stamp_commits" ]; then
    echo "$name: its inputs changed, and its stamp of $(day "$date") is $(((head - date) / 86400)) days and $commits commits old;" \
      "at most $stamp_days days and $stamp_commits commits"
    return 1
  else
    echo "$name: stamp of $(day "$date"), inputs changed since, $commits commits ago"
  fi
}

day() {
  date --utc --date="@$1" +%Y-%m-%d
}
