#!/usr/bin/env bash
# Makes a folder of 2,781 spoken phrases in five languages, to train a speech tokenizer on and to test it on:
#
#     tools/speech.sh FOLDER
#
# Studio voices, one for each language: English, Spanish and French (women), Italian and Russian (a man, a woman), 8,000
# samples a second. FOLDER/train gets nine phrases of ten, FOLDER/test every tenth, each as VOICE/NAME.wav.
#
# The sounds of Asterisk 1.6.1 (CC BY-SA 3.0, the Russian ones CC BY 3.0), from Debian's packages
# asterisk-core-sounds-{en,es,fr,it,ru}-wav. Nothing of them is part of this repository.
#
# It downloads 98 MB and needs 230 MB of disk while it works, 130 MB after. What it has fetched lies in FOLDER.part, beside
# FOLDER: run it again after an interruption and it goes on from there. Packages that you put there are used and removed.

set -euo pipefail
export LC_ALL=C

debian=https://deb.debian.org/debian/pool/main/a/asterisk-core-sounds
version=1.6.1-1
packages="\
en 2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d
es 9283a09a6d56fccdcc2bcfe86c48f0f844289cfbd46a3184d8785a6f7f569903
fr 8d4e1bc32ed5ba7fbda40841ca1825ed20cc6232724a473c90f8bb0e53e6073e
it 5a26638089e134b8ac39363fe249c5c93c50cd8bfdc9b2499ae61ec4a35e2fcb
ru ccbfaebfa450b7a9ddf644ae0f3d1e9017d5df7c0aebe816e946345589d38201"

# The SHA-256 of the list of the SHA-256 of all files, by path.
set_sum=839d4bb914b3fdf590addb19305d96b7c0cc9304f91050e0fe80b841d0b954f4

# shellcheck source=tools/common.sh
. "$(dirname -- "$0")/common.sh"

# Whether folder $1 holds the finished set.
is_made() {
    [ -d "$1/train" ] && [ -d "$1/test" ] &&
        [ "$(cd -- "$1" && find train test -name '*.wav' | sort | xargs sha256sum | sha256sum | sed 's/ .*//')" = "$set_sum" ]
}

# Removes what this script put into the temporary folder.
tidy() {
    [ -d "$part" ] || return 0
    (cd -- "$part" && rm -rf -- set unpacked asterisk-core-sounds-*_"$version"_all.deb)
    rmdir -- "$part" || say "$part is not empty; delete it by hand"
}

if [ $# -ne 1 ] || [ -z "$1" ] || [ "${1#-}" != "$1" ]; then
    fail "expected: tools/speech.sh FOLDER"
fi
need curl ar tar xz sha256sum sed find sort xargs awk
unset CDPATH
folder=${1%"${1##*[!/]}"}
[ -n "$folder" ] || fail "$1 is no folder to write to"
mkdir -p -- "$(dirname -- "$folder")" || fail "the folder around $folder cannot be made"
folder=$(cd -- "$(dirname -- "$folder")" && pwd)/$(basename -- "$folder")
part=$folder.part

if is_made "$folder" 2>/dev/null; then
    tidy
    say "$folder is complete: nothing to do"
    exit 0
fi
if [ -e "$folder" ] || [ -L "$folder" ]; then
    { [ -d "$folder" ] && [ -z "$(ls -A -- "$folder")" ]; } ||
        fail "$folder exists and is not this set" "name another folder, or delete this one"
fi

mkdir -p -- "$part" || fail "$part cannot be made"
cd -- "$part"
rm -rf -- set unpacked
mkdir -p -- set/train set/test
step=0
while read -r language sum; do
    step=$((step + 1))
    package=asterisk-core-sounds-$language-wav_${version}_all.deb
    say "$step/5 $package"
    fetch "$debian/$package" "$package" "$sum"
    mkdir -- unpacked
    ar p "$package" data.tar.xz | xz -dc | tar -xf - -C unpacked || fail "$package cannot be unpacked"
    voice=$(ls unpacked/usr/share/asterisk/sounds)
    mv -- "unpacked/usr/share/asterisk/sounds/$voice" set/all
    # Nothing is said in them.
    rm -r -- set/all/silence
    (cd -- set/all && find . -name '*.wav' | sort) |
        awk '{ half = "train" } NR % 10 == 0 { half = "test" } { print half, substr($0, 3) }' |
        while read -r half name; do
            mkdir -p -- "set/$half/$voice/$(dirname -- "$name")"
            mv -- "set/all/$name" "set/$half/$voice/$name"
        done
    rm -r -- set/all unpacked
done <<<"$packages"
is_made set || fail "$part/set is not what is expected" "please report it"
[ ! -d "$folder" ] || rmdir -- "$folder"
mv -- set "$folder"
cd -- "$folder"
tidy
say "$folder: 2506 phrases in train, 275 in test"
