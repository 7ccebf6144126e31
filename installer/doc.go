// Package installer holds what an installation is about: the cluster that is
// wanted ([Cluster], read from flags or a Clusterfile and immutable once
// validated), the cluster images that make it ([Image]), the environment their
// scripts and templates see, and the engine that runs named steps and tells
// the operator about them.
//
// It touches no machine. Hosts are reached by package host, the verbs that run
// on them are package node, and the pipeline itself is package steps.
package installer
