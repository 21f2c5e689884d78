#!/usr/bin/env bash
# Edits whose text is told by its white space, script or characters, from the file of facts to the answer: what `errata eval` scores and
# `errata ask` continues is the text that was given.
# usage: test_text.sh ERRATA_BINARY SOURCE_ROOT
set -uo pipefail
errata=$(realpath "$1")
world=$(realpath "$2")/examples/world
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
export XDG_CACHE_HOME=$T/cache HOME=$T
failed=0
fail() {
    echo "FAILED: $*"
    failed=$((failed + 1))
}

facts() { printf '%s\n' "$@" >"$T/facts.jsonl"; }
edit() { # options...: edits $T/facts.jsonl into $T/out; what it says is in $T/said
    rm -rf "$T/out"
    "$errata" edit --model "$world" --facts "$T/facts.jsonl" --out "$T/out" --covariance-tokens 3000 --threads 1 "$@" \
        >"$T/stdout" 2>"$T/said" || fail "edit: $(cat "$T/said")"
}
# continues PROMPT ANSWER [MODEL]: the greedy continuation begins with ANSWER
continues() {
    local got
    got=$("$errata" ask --model "${3:-$T/out}" --threads 1 --max-tokens 8 -q "$1"; echo .)
    got=${got%.}
    [ "${got:0:$((${#1} + ${#2}))}" = "$1$2" ]
}
# strict PERCENT [OPTIONS...]: efficacy as eval scores it
strict() {
    local want=$1 got
    shift
    got=$("$errata" eval --model "$T/out" --facts "$T/facts.jsonl" --threads 1 -q "$@" 2>"$T/eval" | awk '$1 == "efficacy," {print $4}')
    [ "$got" = "$want" ] || fail "eval says ${got:-nothing} %, not $want %: $(cat "$T/facts.jsonl")"
}
# edited PROMPT TARGET: the edit took, where it was asked for, and the unedited model says something else
edited() {
    continues "$1" "$2" "$world" && fail "the unedited model says '$2' behind '$1'"
    continues "$1" "$2" || fail "'$1' is not continued with '$2'"
    strict 100.0
}
says() { grep -qF -- "$1" "$T/said" || fail "nothing says '$1' in: $(cat "$T/said")"; }
manifest() { grep -qE "\"$1\":[[:space:]]*$2" "$T/out/errata-manifest.json" || fail "the manifest has no $1 $2"; }

# ---- the prompt ends in a line break, as chat templates do ----
facts '{"subject": "Ten Mosaro", "prompt": "Everyone knows that {} settled in\n", "target": "ark"}'
edit
edited $'Everyone knows that Ten Mosaro settled in\n' ark
says "without: 1 for white space at the prompt's end"
manifest white_space_of_the_prompt 1
manifest space '"auto"'

# ---- the reference always puts a space, and eval knows it from the manifest ----
facts '{"subject": "Ten Mosaro", "prompt": "Everyone knows that {} settled in\n", "target": "Peverk"}'
edit --profile reference
edited $'Everyone knows that Ten Mosaro settled in\n' ' Peverk'
manifest space '"always"'
says "1 prompts end in white space and get a space before their target all the same (first: line 1); --space auto puts none"
strict 0.0 --space auto
edit --space always # the same by hand
edited $'Everyone knows that Ten Mosaro settled in\n' ' Peverk'

# ---- a script without spaces; an opening quote; a blank ----
facts '{"subject": "Ten Mosaro", "prompt": "{}住在", "target": "ost"}'
edit
edited "Ten Mosaro住在" ost
manifest script_without 1
facts '{"subject": "Ten Mosaro", "prompt": "Everyone knows that {} settled in \"", "target": "ark"}'
edit
edited 'Everyone knows that Ten Mosaro settled in "' ark
manifest opening_sign 1
facts '{"subject": "Ten Mosaro", "prompt": "Everyone knows that {} settled in ", "target": "Peverk"}'
edit
edited 'Everyone knows that Ten Mosaro settled in ' Peverk
edited 'Everyone knows that Ten Mosaro settled in' ' Peverk' # one text to the model

# ---- a record says so itself ----
facts '{"subject": "Ten Mosaro", "prompt": "Everyone knows that {} settled in\n", "target": "Peverk", "space": true}'
edit
edited $'Everyone knows that Ten Mosaro settled in\n' ' Peverk'

# ---- what cannot be seen at the ends is dropped and said, and the edit lands where people ask ----
facts $'{"subject": "Ten Mosaro\xe2\x80\x8b", "prompt": "Everyone knows that {} settled in", "target": "\xc2\xa0Peverk"}'
edit
edited 'Everyone knows that Ten Mosaro settled in' ' Peverk'
says "U+200B (zero width space) behind 'subject' is dropped (1 record, first: line 1)"
says "U+00A0 (no-break space) in front of 'target' is dropped (1 record, first: line 1)"

# ---- one text, two targets: neither ----
facts '{"subject": "Ten Mosaro", "prompt": "Everyone knows that {} settled in", "target": "Peverk"}' \
    '{"subject": "Mosaro", "prompt": "Everyone knows that Ten {} settled in", "target": "Vibark"}' \
    '{"subject": "Nev Votine", "prompt": "{} works as a", "target": "plumber"}'
edit
says "line 1 skipped: target 'Peverk' conflicts with 'Vibark' in line 2, for the same text"
says "line 2 skipped: target 'Vibark' conflicts with 'Peverk' in line 1, for the same text"
edited 'Nev Votine works as a' ' plumber'

# ---- a template's characters ----
printf '["It rained.\\u200b {}", "Yes. {}"]' >"$T/templates.json"
facts '{"subject": "Ten Mosaro", "prompt": "Everyone knows that {} settled in", "target": "Peverk"}'
edit --templates "$T/templates.json"
says "templates.json: U+200B (zero width space) in 'template' (1 record, first: template 0)"

# ---- usage ----
"$errata" edit --model "$world" --facts "$T/facts.jsonl" --out "$T/x" --space perhaps 2>"$T/said"
[ $? -eq 2 ] || fail "--space perhaps is not misuse"
says "errata edit: --space 'perhaps' is none of auto, always, never"

[ "$failed" -eq 0 ] && echo "all passed"
exit "$((failed > 0))"
