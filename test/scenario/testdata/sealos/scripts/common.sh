#!/bin/bash
# Sourced by the other scripts, which run in their own directory.
export BIN_DIR=${BIN_DIR:-/usr/bin}

info() { echo "INFO $*"; }
error() {
	echo "ERROR $*" >&2
	exit 1
}

# start_service NAME: enables and starts it, and looks once whether it runs.
start_service() {
	systemctl daemon-reload
	systemctl enable "$1"
	systemctl restart "$1" || error "$1 does not start"
	if systemctl status "$1" | grep -q 'active (running)'; then
		info "$1 runs"
	else
		error "$1 does not run"
	fi
}

remove_service() {
	systemctl stop "$1"
	systemctl disable "$1"
	rm -rf "/etc/systemd/system/$1.service" "/etc/systemd/system/$1.service.d"
	systemctl daemon-reload
}
