#!/bin/sh
# After an installation or an upgrade: dpkg says "configure" and the old version, if
# there was one; rpm says how many versions there are now.
set -e
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
case "$1:$2" in
configure:?* | 2:*)
	# Only if it runs. weir.socket keeps the addresses meanwhile, so nobody is refused.
	systemctl try-restart weir.service || true
	;;
esac
