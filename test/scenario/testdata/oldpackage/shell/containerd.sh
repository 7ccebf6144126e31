#!/bin/bash
# The container runtime; in older packages docker.sh was here.
if ! command -v containerd >/dev/null; then
	tar -xzf ../docker/containerd.tar.gz -C /
	chmod a+x /usr/local/bin/*
	mkdir -p /etc/containerd
	containerd config default >/etc/containerd/config.toml
	cp ../conf/crictl.yaml /etc/
	systemctl daemon-reload
	systemctl enable containerd
	systemctl restart containerd
fi
