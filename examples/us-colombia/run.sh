#!/usr/bin/env bash
# Only Colombia may ask, and only for one purpose. What the agreement does not cover is refused before anything is encrypted.
source "$(dirname "${BASH_SOURCE[0]}")/../two_nodes.sh"

say "Two nodes, each with its auditor"
make_node co CO "Example migration authority of Colombia"
make_node us US "Example border authority of the United States"
accept co us
accept us co

say "One agreement, one direction, one purpose"
concordat agreement new "$work/agreement" --name "Example of biometric cooperation, United States and Colombia" \
    --party "$work/co.descriptor" --party "$work/us.descriptor" --requester CO \
    --modality face --profile embedding-128 --purpose organised-crime --offence trafficking-in-persons \
    --person suspect --legal-basis "statement-of-intent" --years 1
sign_by_both co us
concordat agreement show "$work/agreement"

say "A gallery of synthetic people"
python "$examples/people.py" "$work/people-us" 43 500
concordat gallery import "$work/us" "$work/people-us/gallery.npz" --modality face --profile embedding-128
serve us
serve co

ask() {  # FROM TO PURPOSE
    concordat query "$work/$1" --to "$2" --modality face --probe "$work/people-us/stranger.npz" --purpose "$3" \
        --offence trafficking-in-persons --person suspect --legal-basis "statement-of-intent" \
        --case EX-2026-0031 --officer officer-12 --approver supervisor-4
}

say "Colombia asks about a stranger: no hit"
expect 0 ask co US organised-crime

say "Colombia asks for a purpose that the agreement does not name: refused"
expect 1 ask co US border-control

say "The United States asks, though only Colombia may: refused"
expect 1 ask us CO organised-crime

say "Audit: the refusals are on the ledgers too"
stop_nodes
audit co us
