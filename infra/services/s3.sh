# S3: the weights. It is a bucket of the user's own, or a folder that rclone serves; where rclone
# cannot, MLflow reads and writes that folder itself, and nothing else changes.

has_s3() { # whether there is an S3, or can be
    # Not by 'serve s3 --help', which answers 0 where rclone knows no s3.
    [ -n "$OWN_S3" ] || runs s3 || grep -q "^  s3 " <<<"$(rclone serve --help 2>&1)"
}

why_no_s3() {
    if command -v rclone >/dev/null; then
        echo "$(sed -n 1p <<<"$(rclone version 2>&1)") cannot serve S3: install rclone 1.65 or newer" \
            "(https://rclone.org/downloads), or name a bucket of your own by S3_ENDPOINT"
    else
        echo "S3 needs rclone 1.65 or newer: https://rclone.org/downloads, or brew install rclone;" \
            "or name a bucket of your own by S3_ENDPOINT"
    fi
}

s3_start() {
    if [ -n "$OWN_S3" ]; then
        own_bucket
        return
    fi
    has_s3 || fail "$(why_no_s3)"
    mkdir -p "$DIR/s3/$S3_BUCKET" "$DIR/s3/dvc"
    hand_over s3 "$DIR/s3"
    # By the environment, for a command line can be read by everybody.
    RCLONE_AUTH_KEY="\"$S3_ACCESS_KEY_ID,$S3_SECRET_ACCESS_KEY\"" \
        launch s3 rclone serve s3 --config "" --log-level NOTICE --no-cleanup \
        --addr "127.0.0.1:$S3_PORT" "$DIR/s3"
}

own_bucket() { # cannot be started, only found
    local why
    ! why=$(bucket 2>&1) || return 0
    why=$(tail -1 <<<"$why")
    [ "$why" != NoSuchBucket ] ||
        fail "there is no bucket $S3_BUCKET at $S3_ENDPOINT: make it, or name another by S3_BUCKET"
    fail "bucket $S3_BUCKET at $S3_ENDPOINT cannot be read: $why;" \
        "correct S3_ENDPOINT, S3_ACCESS_KEY_ID or S3_SECRET_ACCESS_KEY"
}

bucket() {
    AWS_ENDPOINT_URL_S3=$S3_ENDPOINT AWS_DEFAULT_REGION=$S3_REGION \
        AWS_ACCESS_KEY_ID=$S3_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY=$S3_SECRET_ACCESS_KEY \
        python "$here/bucket.py" "$S3_BUCKET"
}

s3_healthy() { bucket >/dev/null 2>&1; }
s3_runs() { if [ -n "$OWN_S3" ]; then s3_healthy; else runs s3; fi; }

s3_stop() {
    [ -n "$OWN_S3" ] || ! runs s3 || { quit s3 && echo "stopped s3"; }
}

s3_kill() { [ -n "$OWN_S3" ] || end s3; }
