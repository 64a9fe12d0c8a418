#!/usr/bin/env bash
# Makes a folder of 2,019 animated emoji with their captions, to train on and to test on:
#
#     tools/emoji.sh FOLDER [MUSIVA]
#
# FOLDER/train gets 1,959 clips and FOLDER/test 60, each with a metadata.jsonl as Hugging Face's videofolder has it:
# `file_name` and `text`, and also `group`, `base` (the figure without its skin tones) and `tones`. The clips are the
# animated WebP files as they come: 256x256 pixels, 24 frames a second, transparent. MUSIVA, the command, is not
# needed; where it is given, it shows at the end what it finds.
#
# It downloads 730 MB and needs 0.95 GB of disk while it works, 0.7 GB after. What it has fetched lies in FOLDER.part, beside
# FOLDER: run it again after an interruption and it goes on from there. Tarballs that you put there are used and removed.
#
# Fluent Emoji: (c) Microsoft, MIT licence; from npm's @lobehub/fluent-emoji-anim-1 to -4 (MIT). The names: npm's
# unicode-emoji-json (MIT). Nothing of them is part of this repository.

set -euo pipefail
export LC_ALL=C

registry=https://registry.npmjs.org
packages="\
@lobehub/fluent-emoji-anim-1 1.0.0 4c03ac178c1eabf2e2a16dd498f3cc2b92dc30ec3466ae38fdc497d4774c99ea
@lobehub/fluent-emoji-anim-2 1.0.0 e431da8172e394036c330faa77648d6fbbae1fd3b0be95637c4497c9075019c0
@lobehub/fluent-emoji-anim-3 1.0.0 3624d0c34c819c1794b74ccf6ae9034adff7c4cb6318dd2a645145f0196feb43
@lobehub/fluent-emoji-anim-4 1.0.0 3d4c08f1e321f70808ef4996aba0ab575a9d97b6c56ffffc92cf6161a7836aa3
unicode-emoji-json 0.9.0 ae7efacb55533385bf8767d613dbd36c71226669759d95919a6e9059f5e4c401"

# Sums of the two metadata.jsonl that have to come out.
train_sum=23ca509fef561c0005bcda6e54444245a2ee3dcbcd9fb976b5e0bda44b276c20
test_sum=c817909fa183115277355a9f6b028018e573e9d34aa191f527d7b526875748cd

# Left out of both folders: one skin tone of each of 90 figures. No model here was trained or measured on them.
left_out="\
1f3c2-1f3fe 1f3c3-1f3fc-200d-2642-fe0f 1f3ca-1f3fc-200d-2640-fe0f 1f3ca-1f3ff 1f3cb-1f3fe 1f3cb-1f3fe-200d-2642-fe0f
1f3cb-1f3ff-200d-2640-fe0f 1f3cc-1f3fd-200d-2640-fe0f 1f3cc-1f3fd-200d-2642-fe0f 1f443-1f3fd 1f44d-1f3fc
1f468-1f3fb-200d-1f37c 1f468-1f3fb-200d-1f9b3 1f468-1f3fb-200d-1f9bd 1f468-1f3fb-200d-2708-fe0f
1f468-1f3fd-200d-1f3eb 1f468-1f3fd-200d-1f3ed 1f468-1f3fe-200d-1f373 1f468-1f3fe-200d-1f52c 1f468-1f3fe-200d-1f680
1f468-1f3ff-200d-1f9b2 1f469-1f3fb-200d-1f3eb 1f469-1f3fb-200d-2696-fe0f 1f469-1f3fc 1f469-1f3fe-200d-1f52c
1f469-1f3ff-200d-1f33e 1f469-1f3ff-200d-1f373 1f469-1f3ff-200d-1f37c 1f46b-1f3fd 1f46e-1f3fc
1f46e-1f3fe-200d-2640-fe0f 1f470-1f3fd-200d-2640-fe0f 1f470-1f3ff 1f471-1f3fd-200d-2642-fe0f
1f471-1f3fe-200d-2640-fe0f 1f473-1f3fd-200d-2642-fe0f 1f473-1f3fe 1f477-1f3fd-200d-2642-fe0f 1f481-1f3fb 1f482-1f3fb
1f482-1f3fb-200d-2640-fe0f 1f486-1f3fc 1f486-1f3fd-200d-2640-fe0f 1f487-1f3fe-200d-2640-fe0f 1f48f-1f3fe 1f575-1f3fd
1f575-1f3fd-200d-2642-fe0f 1f646-1f3fe-200d-2640-fe0f 1f64e-1f3fb-200d-2640-fe0f 1f64e-1f3fe
1f6a3-1f3fb-200d-2640-fe0f 1f6a3-1f3fd-200d-2642-fe0f 1f6b5-1f3fb 1f6b6-1f3fc 1f6b6-1f3fd-200d-2642-fe0f 1f919-1f3ff
1f91f-1f3fc 1f926-1f3fc-200d-2642-fe0f 1f934-1f3fd 1f935-1f3ff 1f937-1f3fe-200d-2640-fe0f 1f937-1f3ff-200d-2642-fe0f
1f938-1f3fb-200d-2640-fe0f 1f938-1f3fd-200d-2642-fe0f 1f93d-1f3fe-200d-2640-fe0f 1f93e-1f3fd-200d-2642-fe0f
1f977-1f3fc 1f9b5-1f3fd 1f9b6-1f3fc 1f9b8-1f3fb 1f9cd-1f3ff 1f9d1-1f3fb-200d-1f4bc 1f9d1-1f3fc-200d-1f52c
1f9d1-1f3fc-200d-1f9af 1f9d1-1f3fd-200d-1f393 1f9d1-1f3fe-200d-1f3a4 1f9d1-1f3fe-200d-1f692 1f9d3-1f3fb
1f9d4-1f3ff-200d-2642-fe0f 1f9d7-1f3fc-200d-2640-fe0f 1f9d8-1f3fc-200d-2640-fe0f 1f9d9-1f3ff-200d-2642-fe0f
1f9da-1f3fb-200d-2640-fe0f 1f9da-1f3fe 1f9db-1f3fc-200d-2642-fe0f 1f9dc-1f3fb 26f9-1f3fe-200d-2640-fe0f 270a-1f3fd
270c-1f3fe 270d-1f3fb"

# shellcheck source=tools/common.sh
. "$(dirname -- "$0")/common.sh"

# Number of clips in folder $1.
clips() { find "$1" -name '*.webp' | awk 'END { print NR }'; }

# Whether folder $1 holds the finished set.
is_made() {
    has_sum "$1/train/metadata.jsonl" "$train_sum" && has_sum "$1/test/metadata.jsonl" "$test_sum" &&
        [ "$(clips "$1/train")" = 1959 ] && [ "$(clips "$1/test")" = 60 ]
}

if [ $# -lt 1 ] || [ $# -gt 2 ] || [ -z "$1" ] || [ "${1#-}" != "$1" ]; then
    fail "expected: tools/emoji.sh FOLDER [MUSIVA]"
fi
need curl tar gzip sha256sum awk sed sort grep find xargs df du
unset CDPATH
musiva=${2-}
[ -z "$musiva" ] || musiva=$(command -v "$musiva") || fail "$2 is not a command"
case $musiva in
/* | '') ;;
*) musiva=$PWD/$musiva ;;
esac

folder=${1%"${1##*[!/]}"}
[ -n "$folder" ] || fail "$1 is no folder to write to"
if [ -d "$folder" ]; then
    folder=$(cd -- "$folder" && pwd)
else
    mkdir -p -- "$(dirname -- "$folder")" || fail "the folder around $folder cannot be made"
    folder=$(cd -- "$(dirname -- "$folder")" && pwd)/$(basename -- "$folder")
fi
part=$folder.part

# Removes what this script put into the temporary folder.
tidy() {
    [ -d "$part" ] || return 0
    (cd -- "$part" && rm -rf -- ./*.done data-by-emoji.json stems stills rows hashes bases held)
    rmdir -- "$part" || say "$part is not empty; delete it by hand"
}

# Shows what the command finds in the set.
check() {
    [ -n "$musiva" ] || return 0
    local recipe half status=0
    recipe=$(mktemp -d)
    # A recipe has to have a tokenizer; nothing runs this one.
    cat >"$recipe/emoji.toml" <<'TOML'
schema = 1
name = "emoji"

[data]
kind = "folder"
path = "."
frames = 5
size = [64, 64]
fps = 12

[tokenizer.video]
kind = "magvit2"
stages = [{ channels = 4, blocks = 1, frames = 1 }]
quantizer = { kind = "kl", channels = 4 }
TOML
    for half in train test; do
        "$musiva" data "$recipe/emoji.toml" --data "$folder/$half" || status=$?
    done
    rm -r -- "$recipe"
    [ "$status" = 0 ] || fail "$musiva cannot read $folder"
}

if is_made "$folder"; then
    say "$folder is complete: nothing to do"
    tidy
    check
    exit 0
fi
if [ -e "$folder" ] || [ -L "$folder" ]; then
    { [ -d "$folder" ] && [ -z "$(ls -A -- "$folder")" ]; } ||
        fail "$folder exists and is not this set" "name another folder, or delete this one"
fi

mkdir -p -- "$part/set/train" "$part/set/test" || fail "$part cannot be made"
cd -- "$part"

# 700 MB of clips and the largest tarball, less what is there.
needed=$((930000 - $(du -sk . | awk '{ print $1 }')))
free=$(df -Pk . | awk 'NR == 2 { print $(NF - 2) }')
[ "$free" -ge "$needed" ] ||
    fail "$((needed / 1000)) MB of disk are needed at $part; $((free / 1000)) MB are free" \
        "make room or name a folder elsewhere"

# Each package is unpacked and its tarball removed before the next one is fetched: that keeps the disk small.
step=0
while read -r package version sum; do
    step=$((step + 1))
    name=${package##*/}
    [ ! -f "$name.done" ] || continue
    say "$step/5 $package@$version"
    fetch "$registry/$package/-/$name-$version.tgz" "$name-$version.tgz" "$sum"
    say "  unpacking"
    if [ "$name" = unicode-emoji-json ]; then
        tar -xzf "$name-$version.tgz" --strip-components=1 package/data-by-emoji.json || fail "$name cannot be unpacked"
    else
        tar -xzf "$name-$version.tgz" -C set/train --strip-components=2 package/assets ||
            fail "$name cannot be unpacked: is the disk full?" "make room and run this again: it goes on from there"
    fi
    touch "$name.done"
    rm -- "$name-$version.tgz"
done <<<"$packages"

say "choosing the clips"
# An earlier run may have stopped below.
find set/test -name '*.webp' -exec mv -- {} set/train/ \;
# A still picture has no animation frame (chunk ANMF). grep's status has another meaning from version to version.
find set/train -name '*.webp' -exec grep -L ANMF {} + >stills || true
xargs rm -f -- <stills
# shellcheck disable=SC2086
printf 'set/train/%s.webp\n' $left_out | xargs rm -f --
rm -f set/train/.gitkeep

# A line for each clip: stem, base, number of tones, and what comes after `file_name` in its row. A file's name lists its
# code points. The names' table leaves skin tones out, and variation selectors (fe0f) are in one and not in the other.
find set/train -name '*.webp' | sed 's|.*/||' | sort | sed 's|\.webp$||' >stems
awk '
    BEGIN {
        for (i = 1; i < 256; i++) byte[sprintf("%c", i)] = i
        tone["1f3fb"] = "light"; tone["1f3fc"] = "medium-light"; tone["1f3fd"] = "medium"
        tone["1f3fe"] = "medium-dark"; tone["1f3ff"] = "dark"
    }
    # The code points of UTF-8 text in hexadecimal, without fe0f, each with a dash in front.
    function points(text, at, b, more, code, out) {
        for (at = 1; at <= length(text); at++) {
            b = byte[substr(text, at, 1)]
            if (b < 128) { code = b; more = 0 }
            else if (b < 192) { code = code * 64 + b - 128; more-- }
            else if (b < 224) { code = b - 192; more = 1 }
            else if (b < 240) { code = b - 224; more = 2 }
            else { code = b - 240; more = 3 }
            if (more == 0 && code != 65039) out = out sprintf("-%x", code)
        }
        return out
    }
    FNR == NR {
        split($0, field, "\"")
        if (/^  "/) key = points(field[2])
        if (/^    "name"/) name[key] = field[4]
        if (/^    "group"/) group[key] = field[4]
        next
    }
    {
        count = split($0, point, "-")
        key = base = spoken = list = ""
        tones = 0
        for (i = 1; i <= count; i++) {
            if (point[i] in tone) {
                said = tone[point[i]] " skin tone"
                if (index(list, "\"" said "\"") == 0) spoken = spoken ", " said
                list = list (tones++ ? ", " : "") "\"" said "\""
            } else {
                base = base "-" point[i]
                if (point[i] != "fe0f") key = key "-" point[i]
            }
        }
        base = substr(base, 2)
        if (!(key in name)) { print "error: " $0 " has no name" >"/dev/stderr"; exit 1 }
        printf "%s\t%s\t%d\t\"text\": \"%s%s\", \"group\": \"%s\", \"base\": \"%s\", \"tones\": [%s]\n", \
            $0, base, tones, name[key], spoken, group[key], base, list
    }' data-by-emoji.json stems >rows

# Held out: of the 60 figures with the smallest SHA-256, among those with at least four clips of one tone, the one of these
# clips whose name has the smallest SHA-256. The names ended in .mp4 when the set was split.
rm -rf hashes
mkdir -p hashes/base hashes/name
awk -F '\t' '$3 == 1 { file[$2] = file[$2] " " $1; if (++count[$2] == 4) enough[$2] }
    END {
        for (base in enough) {
            printf "%s", base >("hashes/base/" base)
            close("hashes/base/" base)
            stems = split(file[base], stem, " ")
            for (i = 1; i <= stems; i++) {
                printf "%s", stem[i] ".mp4" >("hashes/name/" stem[i])
                close("hashes/name/" stem[i])
            }
        }
    }' rows
(cd hashes/base && sha256sum -- *) | sort | sed -n '1,60s/^[^ ]* .//p' >bases
(cd hashes/name && sha256sum -- *) | sort | sed 's/^[^ ]* .//' |
    awk -F '\t' '
        FILENAME == "bases" { chosen[$1]; next }
        FILENAME == "rows" { base[$1] = $2; next }
        base[$1] in chosen { print $1; delete chosen[base[$1]] }' bases rows - >held

awk -F '\t' '
    FILENAME == "held" { held[$1]; next }
    { print "{\"file_name\": \"" $1 ".webp\", " $4 "}" >("set/" ($1 in held ? "test" : "train") "/metadata.jsonl") }
' held rows
while read -r stem; do
    mv -- "set/train/$stem.webp" set/test/
done <held

is_made set ||
    fail "the lists in $part/set are not those that are expected" \
        "awk or sort differ from those this was tried with; please report it"

[ ! -d "$folder" ] || rmdir -- "$folder"
mv -- set "$folder"
cd /
tidy
say "$folder: 1959 clips in train, 60 in test"
check
