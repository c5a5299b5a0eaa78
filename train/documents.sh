#!/usr/bin/env bash
# Train what the documents report, one run after the other; RESULTS.md is made from it by
# `python -m train.tables RUNS`. Stopped at any time, the same command goes on where it was.
#
#     train/documents.sh DATA RUNS [SCALE [ROWS]]
#
# DATA holds cifar10-*.zip, photos-train-*.zip and photos2-train-*.zip; RUNS takes the runs.
# SCALE multiplies pictures and epochs: 1 takes about ten minutes of one core, 4 some two hours.
# ROWS is an expression that the names of the runs begin with, such as S4 or 'S[0-3]'.
# Faces (`masks`) stand for the Georgia Tech faces of S4, grocery shelves for its NCD.
set -u
data=$1 runs=$2 scale=${3:-1} rows=${4:-S}
faces=() shelves=()
for pack in "$data"/photos2-train-*.zip; do faces+=(--data "$pack"); done
for pack in "$data"/photos-train-*.zip; do shelves+=(--data "$pack"); done
faces+=(--set 'classes=["masks"]') shelves+=(--set 'classes=["grocery"]')

train() { # FOLDER ARGUMENTS...: one training, or a grid's; grids skip what is done by themselves
    [[ $1 =~ ^$rows ]] || return
    local folder=$runs/$1
    shift
    if ! grep -qsE '"status": "(finished|stopped early|diverged)"' "$folder/results.json"; then
        date "+%H:%M:%S $folder"
        local resume=(--resume-or-begin)
        [[ " $* " =~ " --grid "|" --variants " ]] && resume=()
        vidcolor train "$@" "${resume[@]}" --data-root "$data" --device cpu --threads 1 -o "$folder"
    fi
}

# 5 epochs for the 500 of S4's grids. A run of 500 begins with the same steps as those of 100 and 300,
# so the grids are of 9 runs, and the tables read them at 1/5 and 3/5 too.
s4=(--limit $((64 * scale)) --epochs $((5 * scale)))
s4b=(--set size=64 --precision bf16)
horses=(--set 'classes=["horse"]' --limit $((500 * scale)) --precision bf16)
s2=(--recipe S2 --set test_part=split --limit $((500 * scale)))
s1=(--data cifar10 --set size=32 --set fit=stretch --set plateau=1 --limit $((200 * scale))
    --epochs $((4 * scale)) --precision bf16)

# S4, tables I and II
train S4a --recipe S4a "${faces[@]}" "${s4[@]}" --grid
train S4a --recipe S4a "${faces[@]}" "${s4[@]}" --variants tanh
# S2, its further experiments
train S2 "${s2[@]}" --variants
# S3, questions 1 (b), 1 (d), 2 (c) and 2 (d)
train S3a --recipe S3a "${horses[@]}" --variants horses,affine
train S3b --recipe S3b "${horses[@]}" --grid
# S1
train S1a --recipe S1a "${s1[@]}" --variants
# S2, what its text compares of the grid
train S2 "${s2[@]}" --grid --lr 0.1 --set model_options.kernels=4
train S2 "${s2[@]}" --grid --set model_options.layers=2 --set model_options.kernels=8
train S2 "${s2[@]}" --grid --lr 0.1 --set model_options.layers=2
# S4, tables III and IV
train S4b --recipe S4b "${faces[@]}" "${s4[@]}" "${s4b[@]}" --grid
# S4, tables V and VI: the best weights of the faces, trained on at 1e-3 on other pictures, twice as
# long as the longest run
further=(--limit $((64 * scale)) --epochs $((10 * scale)) --lr 1e-3)
longest="epochs=$((5 * scale))"
train S4a-transfer-relu --recipe S4a "${shelves[@]}" "${further[@]}" \
    --init "$runs/S4a/grid/variant=2,lr=1e-05,$longest/weights.safetensors"
train S4a-transfer-tanh --recipe S4a "${shelves[@]}" "${further[@]}" \
    --set model_options.activation=tanh --init "$runs/S4a/variants/tanh/weights.safetensors"
for activation in sigmoid tanh; do
    train S4b-transfer-$activation --recipe S4b "${shelves[@]}" "${further[@]}" "${s4b[@]}" \
        --set model_options.activation=$activation \
        --init "$runs/S4b/grid/activation=$activation,lr=0.001,$longest/weights.safetensors"
done
# S4, table II: the fully connected network, 1/100 of its 100 epochs
train S4a-connected --recipe S4a "${faces[@]}" --set model=mean_chroma_fc \
    --set 'model_options={ activation = "relu" }' --limit $((64 * scale)) --epochs "$scale"
# S0
train S0 --recipe S0 --limit $((200 * scale))
# S2, all 45 runs
train S2 "${s2[@]}" --grid
