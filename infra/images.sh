#!/usr/bin/env bash
# The digests of images made by others, in infra/. Asks their registries by docker buildx.
#   infra/images.sh check    compare them with what each tag is today; 1 if one differs
#   infra/images.sh renew    write those of today
# A tag that is rebuilt gets another digest; the pinned one stays what it was, and works on.
set -euo pipefail
cd "$(dirname "$0")"
case ${1:-} in check | renew) ;; *) echo "usage: infra/images.sh check|renew" >&2; exit 2 ;; esac
mapfile -t files < <(grep -rlE '@sha256:[0-9a-f]{64}' Dockerfile compose.yaml k8s)
pinned=$(grep -hoE '[a-z0-9./-]+:[A-Za-z0-9._-]+@sha256:[0-9a-f]{64}' "${files[@]}" | sort -u)
differ=0
for image in $pinned; do
    tag=${image%@*} old=${image#*@}
    new=$(docker buildx imagetools inspect "$tag" --format '{{.Manifest.Digest}}')
    [[ $new =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "error: $tag: no digest, but '$new'" >&2; exit 2; }
    if [ "$new" = "$old" ]; then
        echo "$tag: the same"
        continue
    fi
    differ=1
    echo "$tag: $old is now $new"
    [ "$1" = check ] || sed -i.old "s|$image|$tag@$new|" "${files[@]}"
done
for file in "${files[@]}"; do rm -f "$file.old"; done
[ "$1" = renew ] || exit "$differ"
