#!/bin/sh
# Before a removal: dpkg says "remove", rpm that 0 versions will be left. An upgrade
# stops nothing.
set -e
[ -d /run/systemd/system ] || exit 0
case "$1" in
remove | 0)
	systemctl disable --now weir.socket weir.service || true
	;;
esac
