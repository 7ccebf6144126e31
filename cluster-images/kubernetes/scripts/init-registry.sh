#!/usr/bin/env bash
# Installs and starts the image registry of this host. The installer has put its content below $registryData already.
# shellcheck source=lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

safe_dir registryData "$registryData"
safe_dir registryConfig "$registryConfig"
: "${SEALOS_SYS_SEALINSTALL:?the installer names its own program here}"
[[ -x $SEALOS_SYS_SEALINSTALL ]] || die "$SEALOS_SYS_SEALINSTALL is not there or not executable"

use_state registry
make_dir 0755 "$registryData"
make_dir 0700 "$registryConfig"

# The installer marks a tree as this cluster's before its first blob, and only where none was before: now that it is
# filled, nobody can tell. A tree without the mark is served and added to, and never removed.
if [[ -e $registryData/.sealos-registry ]]; then
	:
elif [[ -z $(ls -A -- "$registryData") ]]; then
	printf 'This registry was made by a cluster installation and is removed with it.\n' >"$registryData/.sealos-registry"
else
	warn "$registryData held something before this cluster; it will stay when the cluster is removed"
fi

install_file 0600 "$rootfs/etc/registry_config.yml" "$registryConfig/config.yml" conf
install_file 0644 "$rootfs/etc/registry.service" /etc/systemd/system/registry.service conf

# The registry looks at these with every connection and request; a change needs no restart.
pending=no
[[ -e $state/restart ]] && pending=yes
install_file 0600 "$rootfs/etc/registry_tls.key" "$registryConfig/tls.key" conf
install_file 0644 "$rootfs/etc/registry_tls.crt" "$registryConfig/tls.crt" conf
if [[ -f $rootfs/etc/registry_htpasswd ]]; then
	install_file 0600 "$rootfs/etc/registry_htpasswd" "$registryConfig/htpasswd" conf
elif [[ -n ${registryPassword:-} ]]; then
	die "etc/registry_htpasswd is missing though a registry password is set"
fi
if [[ $pending == no ]]; then rm -f -- "$state/restart"; fi

# systemd may not execute files of a data directory where SELinux enforces.
if have getenforce && [[ $(getenforce) != Disabled ]] && have chcon; then
	chcon -t bin_t -- "$SEALOS_SYS_SEALINSTALL" || warn "cannot label $SEALOS_SYS_SEALINSTALL for SELinux"
fi
# The program may have been replaced by a newer one since the service was started.
pid=$(systemctl show -p MainPID registry 2>/dev/null | cut -d= -f2) || pid=
if [[ ${pid:-0} != 0 && $(readlink -- "/proc/$pid/exe" 2>/dev/null) == *' (deleted)' ]]; then
	: >"$state/restart"
fi
start_unit registry

listening() { (: </dev/tcp/127.0.0.1/"$registryPort"); }
wait_for 60 registry listening
systemctl is-active --quiet registry || unit_failed registry
rm -f -- "$state/restart"
say "registry listens on port $registryPort"
