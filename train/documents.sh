#!/usr/bin/env bash
# Train what the documents report, one run after the other; RESULTS.md is made from it by
# `python -m train.tables RUNS`. Stopped at any time, the same command goes on where it was.
#
#     train/documents.sh DATA RUNS [SCALE]
#
# DATA holds cifar10-*.zip, photos-train-*.zip and photos2-train-*.zip; RUNS takes the runs.
# SCALE multiplies pictures and epochs: 1 takes about ten minutes of one core, 4 some two hours.
# Faces (`masks`) stand for the Georgia Tech faces of S4, grocery shelves for its NCD.
set -u
data=$1 runs=$2 scale=${3:-1}
faces=() shelves=()
for pack in "$data"/photos2-train-*.zip; do faces+=(--data "$pack"); done
for pack in "$data"/photos-train-*.zip; do shelves+=(--data "$pack"); done
faces+=(--set 'classes=["masks"]') shelves+=(--set 'classes=["grocery"]')

train() { # FOLDER ARGUMENTS...: one training, or a grid's; grids skip what is done by themselves
    local folder=$runs/$1
    shift
    if ! grep -qsE '"status": "(finished|stopped early|diverged)"' "$folder/results.json"; then
        date "+%H:%M:%S $folder"
        local resume=(--resume-or-begin)
        [[ " $* " =~ " --grid "|" --variants " ]] && resume=()
        vidcolor train "$@" "${resume[@]}" --data-root "$data" --device cpu --threads 1 -o "$folder"
    fi
}

# 64 faces and 5 epochs for 100 and 500: an epoch here is 1/100 of the document's 500, or 1/100 of its 300
# and 100 at 3/5 and 1/5 of the run: a run of 5 begins with the same steps as one of 3
s4=(--limit $((64 * scale)) --epochs $((5 * scale)))
s4b=(--set size=64 --precision bf16)
horses=(--set 'classes=["horse"]' --limit $((500 * scale)) --precision bf16)
s2=(--recipe S2 --set test_part=split --limit $((500 * scale)))
s1=(--recipe S1a --data cifar10 --set size=32 --set fit=stretch --limit $((200 * scale))
    --epochs $((4 * scale)) --precision bf16)

# S4, tables I and II
train S4a --recipe S4a "${faces[@]}" "${s4[@]}" --grid
train S4a --recipe S4a "${faces[@]}" "${s4[@]}" --variants tanh
# S2, its further experiments
train S2 "${s2[@]}" --variants
# S3, questions 1 (b) and 1 (d), 2 (c)
train S3a-horses --recipe S3a "${horses[@]}"
train S3a-affine --recipe S3a "${horses[@]}" --set model_options.scale=10 --set model_options.shift=10
train S3b-horses --recipe S3b "${horses[@]}"
# S4, tables III and IV
train S4b --recipe S4b "${faces[@]}" "${s4[@]}" "${s4b[@]}" --grid
# S1
train S1a-plateau "${s1[@]}" --set plateau=1
train S1a-cut-to-a-tenth "${s1[@]}" --set plateau=1 --set lr=[1e-2,1e-3,1e-4]
train S1a-at-picture "${s1[@]}" --set objective_options.at=picture
train S1a-gamut-bins "${s1[@]}" --set objective=gamut_bins --set model_options.temperature=0.38
train S1a-norm-each "${s1[@]}" --set model_options.norm_each=true
# S4, tables V and VI: the best weights of the faces, trained on at 1e-3 on other pictures, twice as
# long as the longest run
further=(--limit $((64 * scale)) --epochs $((10 * scale)) --lr 1e-3)
longest="epochs=$((5 * scale))"
best_regressor=variant=2,lr=1e-05,$longest
train S4a-transfer-relu --recipe S4a "${shelves[@]}" "${further[@]}" \
    --init "$runs/S4a/grid/$best_regressor/weights.safetensors"
train S4a-transfer-tanh --recipe S4a "${shelves[@]}" "${further[@]}" \
    --set model_options.activation=tanh --init "$runs/S4a/variants/tanh/weights.safetensors"
for activation in sigmoid tanh; do
    train S4b-transfer-$activation --recipe S4b "${shelves[@]}" "${further[@]}" "${s4b[@]}" \
        --set model_options.activation=$activation \
        --init "$runs/S4b/grid/activation=$activation,lr=0.001,$longest/weights.safetensors"
done
# S3, question 2 (d)
train S3b --recipe S3b "${horses[@]}" --grid
# S4, table II: the fully connected network, 1/100 of its 100 epochs
train S4a-connected --recipe S4a "${faces[@]}" --set model=mean_chroma_fc \
    --set 'model_options={ activation = "relu" }' --limit $((64 * scale)) --epochs "$scale"
# S0
train S0 --recipe S0 --limit $((200 * scale))
# S2, the grid: layers, kernels and rates that its text compares, then all 45
train S2 "${s2[@]}" --grid --lr 0.1 --set model_options.kernels=4
train S2 "${s2[@]}" --grid --lr 0.1 --set model_options.layers=2
train S2 "${s2[@]}" --grid
