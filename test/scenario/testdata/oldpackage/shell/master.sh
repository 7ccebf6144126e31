#!/bin/bash
# Run on the master after init.sh.
kubeadm init --config ../conf/kubeadm.yaml
mkdir -p ~/.kube
cp /etc/kubernetes/admin.conf ~/.kube/config
kubectl apply -f ../conf/net/net.yaml
