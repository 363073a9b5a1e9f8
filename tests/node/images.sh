#!/usr/bin/env bash
# Builds the images of the node itself, FROM scratch, and prints their archives:
#   localhost/pause:1  the first process of each pod
#   localhost/probe:1  an HTTP server that also talks to the API server (images/probe)
# Kept in the cache by the hash of their sources. Needs a C compiler with a static libc, Go and buildah.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/node/parts/settings.sh
. "$HERE/parts/settings.sh"
FOLDER=$CACHE/node/images

archive() { # name, sources...
  local name=$1
  shift
  echo "$FOLDER/$name-$(cat "$0" "$@" | sha256sum | cut -c1-16).tar"
}

pack() { # name, static program, archive
  local container tool=(buildah --root "$WORK/root" --runroot "$WORK/run" --storage-driver vfs)
  container=$("${tool[@]}" from scratch)
  "${tool[@]}" copy --quiet --chmod 0755 "$container" "$2" "/$1" > /dev/null
  "${tool[@]}" config --entrypoint "[\"/$1\"]" --os linux "$container"
  "${tool[@]}" commit --quiet --rm "$container" "oci-archive:$WORK/$1.tar:localhost/$1:1" > /dev/null
  mv "$WORK/$1.tar" "$3"
}

{
  mkdir -p "$FOLDER"
  WORK=$(mktemp -d "$FOLDER/work.XXXXXX")
  trap 'rm -rf "$WORK"' EXIT
  PAUSE=$(archive pause "$HERE/images/pause.c")
  if [ ! -s "$PAUSE" ]; then
    cc -O2 -static -s -o "$WORK/pause" "$HERE/images/pause.c"
    pack pause "$WORK/pause" "$PAUSE"
  fi
  PROBE=$(archive probe "$HERE"/images/probe/{main.go,go.mod})
  if [ ! -s "$PROBE" ]; then
    (cd "$HERE/images/probe" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$WORK/probe" .)
    pack probe "$WORK/probe" "$PROBE"
  fi
  printf '%s\n' "$PAUSE" "$PROBE"
  exit
}
