#!/usr/bin/env bash
# Settings files of other methods and models, through the command line: refused before any work, by name.
# usage: test_settings.sh ERRATA_BINARY SOURCE_ROOT
set -uo pipefail
errata=$(realpath "$1")
root=$(realpath "$2")
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
export XDG_CACHE_HOME=$T/cache HOME=$T
failed=0
passed=0
model=$root/examples/world
head -n 2 "$root/examples/world/facts_80.jsonl" >"$T/facts.jsonl"

# expect CODE STDERR COMMAND...: $T and $root are written as T and ROOT in STDERR
expect() {
    local code=$1 want=$2 got status
    shift 2
    got=$("$@" 2>&1 >"$T/stdout")
    status=$?
    got=${got//$T/T}
    got=${got//$root/ROOT}
    if [ "$status" -ne "$code" ] || [ "$got" != "$want" ]; then
        printf 'FAILED: %s\n  exit %s, expected %s\n  stderr:   %s\n  expected: %s\n' "${*//$T/T}" "$status" "$code" "$got" "$want"
        failed=$((failed + 1))
    else
        passed=$((passed + 1))
    fi
}
settings() { # FILE TEXT: errata check with these settings
    printf %b "$2" >"$T/$1"
    "$errata" check --model "$model" --facts "$T/facts.jsonl" --hparams "$T/$1" --threads 1 --quiet
}
other="settings of another method than MEMIT (if they are meant for it all the same, say alg_name MEMIT in the file)"
ours="settings of another method than MEMIT (alg_name in the file, or --editor, says which one is meant)"

alphaedit='{"model_name": "X", "layers": [0], "clamp_norm_factor": 0.75, "v_num_grad_steps": 25, "v_lr": 0.1, "mom2_adjustment": true, "mom2_update_weight": 15000, "nullspace_threshold": 0.02, "L2": 10}'
expect 78 "errata: T/alphaedit.json: 'nullspace_threshold' is a setting of AlphaEdit: $ours" settings alphaedit.json "$alphaedit"
expect 78 "errata: T/alphaedit.yaml: 'nullspace_threshold' is a setting of AlphaEdit: $ours" settings alphaedit.yaml "$alphaedit"
expect 78 "errata: T/ultraedit.yaml: 'class_name' is a setting of UltraEdit or MALMEN: $other" \
    settings ultraedit.yaml 'name: "x"\nname_or_path: "y"\nclass_name: AutoModelForCausalLM\nhalf: false\n'
expect 78 "errata: T/loss.yaml: v_loss_layer 13: the loss is taken at the model's output, behind layer 5" \
    settings loss.yaml 'alg_name: "MEMIT"\nlayers: [0]\nv_loss_layer: 13\n'
expect 78 "errata: T/deep.yaml: layer 13: the model has layers 0 to 5" settings deep.yaml 'layers: [3, 13]\n'
expect 78 "errata: T/desc.yaml: layers must ascend: 1 after 3" settings desc.yaml 'layers: [3, 1]\n'
expect 78 "errata: T/gptj.yaml: settings for another model: rewrite_module_tmp is \"transformer.h.{}.mlp.fc_out\", and this model's edited module is \"transformer.h.{}.mlp.c_proj\"" \
    settings gptj.yaml 'layers: [3, 4]\nrewrite_module_tmp: "transformer.h.{}.mlp.fc_out"\n'
expect 0 "" settings own.yaml '\xef\xbb\xbflayers: [0]\r\nv_lr: 0.5\r\nrewrite_module_tmp: "transformer.h.{}.mlp.c_proj"\r\n'
expect 0 "warning: T/size.yaml: model_name is 'gpt-j-6B', the model's family gpt2: settings for another model, perhaps" \
    settings size.yaml 'layers: [0]\nmodel_name: gpt-j-6B\n'
expect 0 "warning: T/slip.yaml: key 'v_num_grad_step' is not known and has no effect; 'v_num_grad_steps' may be meant" \
    settings slip.yaml 'layers: [0]\nv_num_grad_step: 20\n'
# As editors on other systems write them.
expect 0 "" settings pretty.json '\xef\xbb\xbf{\r\n  "alg_name": "MEMIT",\r\n  "layers": [0],\r\n  "v_lr": 0.5\r\n}\r\n'
expect 78 "errata: T/comma.json: line 2, column 14 (byte 15): a comma stands before this '}'" settings comma.json '{\n "v_lr": 0.5,}'
expect 78 "errata: T/comment.json: line 2, column 14 (byte 15): comments are not JSON" settings comment.json '{\n "v_lr": 0.5 // fast\n}'
expect 78 "errata: T/tab.yaml: line 2: found a tab character that violates indentation" settings tab.yaml 'v_lr: 0.5\n\tlayers: [0]\n'
expect 78 "errata: T/wide.json: is UTF-16 text: save it as UTF-8 first" settings wide.json '\xff\xfe{\x00}\x00'
expect 78 "errata: T/wide.yaml: is UTF-16 text: save it as UTF-8 first" settings wide.yaml '\xff\xfea\x00:\x00'
expect 78 "errata: T/pointer.yaml: is a Git LFS pointer: the file itself was not fetched (git lfs pull)" \
    settings pointer.yaml 'version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 5\n'
expect 78 "errata: T/list.yaml: line 1: not a mapping of keys to values" settings list.yaml '- v_lr\n- 3\n'
expect 78 "errata: --layers: layer 9: the model has layers 0 to 5" "$errata" check --model "$model" --facts "$T/facts.jsonl" --layers 9 --quiet

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
