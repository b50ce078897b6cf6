# What the script of a page begins with: broker/tests/live/clients/blocks.rs writes it.

page_server=

# Says which block comes.
block() {
  echo "--- $1"
}

# Writes stdin to a file of the page.
write() {
  mkdir -p "$(dirname "$1")"
  cat >"$1"
}

# Starts a block that serves until it is ended, as in another terminal, and waits for its ready line.
serve() {
  leave
  cat >"$HOME/server"
  : >"$HOME/server.out"   # the ready line of one that was served before is not this one's
  set -m   # a process group of its own
  bash -e "$HOME/server" >"$HOME/server.out" 2>&1 </dev/null &
  page_server=$!
  set +m
  local tries
  for ((tries = 0; tries < 300; tries++)); do
    ! command grep -q '^ready ' "$HOME/server.out" || return 0
    kill -0 "$page_server" 2>/dev/null || break
    sleep 0.1
  done
  cat "$HOME/server.out"
  echo "it is not ready"
  return 1
}

# Ends it, as Ctrl-C does: with exit code 0.
leave() {
  [ -n "$page_server" ] || return 0
  local code=0
  kill -INT -- "-$page_server"
  wait "$page_server" || code=$?
  cat "$HOME/server.out"
  page_server=
  return "$code"
}

# For commands that look for something: to find nothing is an answer.
diagnose() {
  grep() {
    command grep "$@" || [ $? -eq 1 ]
  }
}
