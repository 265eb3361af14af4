#!/bin/sh
# Refuse passwords that nobody chose or that would not survive in a URL. The arguments are names of variables.
set -eu
refused=0
for name in "$@"; do
    eval "value=\${$name:-}"
    case $value in
    '') problem='is empty' ;;
    change-me) problem='is still the placeholder' ;;
    *[!A-Za-z0-9]*) problem='holds other signs than letters and digits' ;;
    ????????????*) continue ;;
    *) problem='is shorter than 12 letters and digits' ;;
    esac
    echo "$name $problem: choose one in .env, for example by 'openssl rand -hex 16'" >&2
    refused=1
done
exit "$refused"
