// Package testbed boots real hosts for tests: systemd-nspawn machines with
// their own kernel network stack, systemd and sshd, on a bridge from which no
// packet can leave.
//
// It promises:
//   - hosts are real enough for kubeadm, kubelet and containerd: init is
//     systemd, /var/lib is a plain directory (so an overlay snapshotter works),
//     each host owns its branch of every cgroup hierarchy;
//   - the network is closed: whatever is routed out of the bed's subnet is
//     counted by source and destination and dropped (Bed.Escaped);
//   - nothing outlives a bed: Bed.Close ends every process and removes every
//     namespace, cgroup and directory the bed made; what a killed test binary
//     left is found and removed by Sweep, which Start calls first.
//
// Tests that need it must run as root on Linux; Missing tells what else the
// machine lacks.
package testbed
