# Steps that the examples share; sourced, not run. They need `concordat` and its `python` on the PATH.
# Everything is written below $work, which is removed at the end unless KEEP=1.

set -euo pipefail
examples=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
served=()

finish() {
    local status=$?
    for process in "${served[@]}"; do kill "$process" 2>/dev/null || true; done
    for process in "${served[@]}"; do wait "$process" 2>/dev/null || true; done
    if [ "${KEEP:-}" = 1 ]; then echo "kept: $work"; else rm -rf "$work"; fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '\n== %s\n' "$*"; }

field() {  # the value of one field of the JSON object on standard input
    python -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

free_port() {
    python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

make_node() {  # NAME COUNTRY AUTHORITY: an auditor, a node, its descriptor
    concordat audit keygen "$work/$1-auditor"
    concordat node init "$work/$1" --country "$2" --authority "$3" --workers 1 \
        --endpoint "https://127.0.0.1:$(free_port)" --auditor "$work/$1-auditor.pub"
    concordat peer export "$work/$1" --output "$work/$1.descriptor"
}

accept() {  # NAME PEER: here the fingerprint comes from the peer's own directory; in life, by another way
    local fingerprint
    fingerprint=$(concordat peer export "$work/$2" --json | field fingerprint)
    concordat peer add "$work/$1" "$work/$2.descriptor" --fingerprint "$fingerprint"
}

sign_by_both() {  # FIRST SECOND: the file goes to and fro; the first signs again to put it in force
    concordat agreement sign "$work/$1" "$work/agreement"
    concordat agreement sign "$work/$2" "$work/agreement"
    concordat agreement sign "$work/$1" "$work/agreement"
    concordat agreement verify "$work/agreement"
}

serve() {  # NAME: in the background, until it answers
    concordat node serve "$work/$1" --log-file "$work/$1.log" &
    served+=($!)
    for _ in $(seq 600); do
        if [ -S "$work/$1/admin.sock" ] && [ "$(concordat node status "$work/$1" --json | field served)" = True ]; then return; fi
        sleep 0.1
    done
    echo "$1 does not answer" >&2
    exit 1
}

stop_nodes() {
    for process in "${served[@]}"; do kill -INT "$process"; wait "$process" || true; done
    served=()
}

audit() {  # FIRST SECOND: with the keys of both auditors, which in life are two persons
    for name in "$1" "$2"; do
        concordat audit verify "$work/$name/ledger" --policy "$work/$name/ledger/policy" --key "$work/$name-auditor"
    done
    concordat audit reconcile "$work/$1/ledger" "$work/$2/ledger" --key "$work/$1-auditor" --key "$work/$2-auditor"
}

expect() {  # STATUS COMMAND...: the command must end with this exit status
    local wanted=$1 status=0
    shift
    "$@" || status=$?
    [ "$status" = "$wanted" ] || { echo "exit $status, expected $wanted: $*" >&2; exit 1; }
}
