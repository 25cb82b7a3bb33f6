#!/usr/bin/env bash
# Chile and the United States may ask each other. Chile finds somebody; the United States does not.
source "$(dirname "${BASH_SOURCE[0]}")/../two_nodes.sh"

say "Two nodes, each with its auditor"
make_node cl CL "Example police authority of Chile"
make_node us US "Example border authority of the United States"
accept cl us
accept us cl

say "One agreement, both directions, signed by both"
concordat agreement new "$work/agreement" --name "Example of biometric cooperation, United States and Chile" \
    --party "$work/cl.descriptor" --party "$work/us.descriptor" \
    --modality face --profile embedding-128 \
    --purpose organised-crime --purpose border-control \
    --offence trafficking-in-persons --offence drug-trafficking \
    --person suspect --person convicted --legal-basis "statement-of-intent" --years 2
sign_by_both cl us

say "A gallery of synthetic people on each side"
python "$examples/people.py" "$work/people-us" 41 500
python "$examples/people.py" "$work/people-cl" 42 500
concordat gallery import "$work/us" "$work/people-us/gallery.npz" --modality face --profile embedding-128
concordat gallery import "$work/cl" "$work/people-cl/gallery.npz" --modality face --profile embedding-128
serve us
serve cl

say "Chile asks the United States about somebody whom the United States holds"
expect 0 concordat query "$work/cl" --to US --modality face --probe "$work/people-us/known.npz" \
    --purpose organised-crime --offence drug-trafficking --person suspect --legal-basis "statement-of-intent" \
    --case CL-2026-0117 --officer cl-officer-7 --approver cl-prosecutor-2

say "The United States asks Chile about a stranger"
expect 0 concordat query "$work/us" --to CL --modality face --probe "$work/people-us/stranger.npz" \
    --purpose border-control --offence trafficking-in-persons --person suspect --legal-basis "statement-of-intent" \
    --case US-2026-0452 --officer us-officer-3 --approver us-supervisor-1

say "Audit: each ledger by its bytes, then one against the other"
stop_nodes
audit cl us
