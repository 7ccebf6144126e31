#!/bin/bash
# Run as: cd kube/shell && bash init.sh
bash containerd.sh

systemctl stop firewalld && systemctl disable firewalld
modprobe -- br_netfilter
cat >/etc/sysctl.d/k8s.conf <<CONF
net.bridge.bridge-nf-call-ip6tables = 1
net.bridge.bridge-nf-call-iptables = 1
net.ipv4.conf.all.rp_filter = 0
CONF
sysctl -p /etc/sysctl.d/k8s.conf
sysctl -w net.ipv4.ip_forward=1
setenforce 0

ctr -n k8s.io images import ../images/images.tar || true
chmod -R 755 ../bin/*
cp ../bin/* /usr/bin
mkdir -p /etc/systemd/system/kubelet.service.d
cp ../conf/kubelet.service /etc/systemd/system/
cp ../conf/10-kubeadm.conf /etc/systemd/system/kubelet.service.d/
mkdir -p /var/lib/kubelet
systemctl enable kubelet
