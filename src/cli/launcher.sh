#!/bin/sh
# The command `creche`, as installed. `creche guard` becomes the guard without Node in between: it is there at once, and every
# descriptor of the caller's reaches the command. All the rest, and a guard that was not built, is bin.js's.
self=$0
while [ -h "$self" ]; do
  link=$(readlink "$self")
  case $link in
    /*) self=$link ;;
    *) self=${self%/*}/$link ;;
  esac
done
here=${self%/*}
if [ "${1-}" = guard ] && [ "${2-}" != --help ] && [ "${2-}" != -h ]; then
  case $(uname -m) in
    x86_64) machine=x64 ;;
    aarch64) machine=arm64 ;;
    *) machine= ;;
  esac
  guard=${CRECHE_GUARD:-$here/../../native/prebuilt/linux-$machine/guard}
  if [ -x "$guard" ]; then
    shift
    exec "$guard" --run --parent "$PPID" "$@"
  fi
fi
exec node "$here/bin.js" "$@"
