// Package etcd asks a member of etcd who belongs to its cluster, and takes members out: over the JSON that every etcd
// answers on its client port, since kubeadm removes a member only in the best of cases. It runs on a master.
package etcd

import (
	"net/netip"
	"net/url"
)

// Cluster is what one member knows of all.
type Cluster struct {
	Members []Member `json:"members"`
	Leader  bool     `json:"leader"` // there is one, so a majority of the voters lives
}

// Member is one member. One that was added and never started has no name and no client addresses, but a peer address.
type Member struct {
	ID         string   `json:"id"` // as etcd writes it in JSON: decimal
	Name       string   `json:"name,omitempty"`
	PeerURLs   []string `json:"peerURLs"`
	ClientURLs []string `json:"clientURLs,omitempty"`
	Learner    bool     `json:"learner,omitempty"` // it has no vote
	Answers    bool     `json:"answers"`           // it told its state when it was asked for the list
	Error      string   `json:"error,omitempty"`   // why it does not
}

// Started tells whether the member was ever up.
func (m Member) Started() bool { return m.Name != "" }

// At tells whether the member is that of a host: by the address that the other members reach it at.
func (m Member) At(ip string) bool {
	want, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	for _, text := range m.PeerURLs {
		if got, err := netip.ParseAddr(hostOf(text)); err == nil && got.Unmap() == want.Unmap() {
			return true
		}
	}
	return false
}

// Host is the address, or the name, at which the other members reach this one.
func (m Member) Host() string {
	for _, text := range m.PeerURLs {
		if host := hostOf(text); host != "" {
			return host
		}
	}
	return "an unknown host"
}

func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// Voters counts the members with a vote, and those of them that answer.
func (c Cluster) Voters() (all, answer int) {
	for _, m := range c.Members {
		if !m.Learner {
			all++
			if m.Answers {
				answer++
			}
		}
	}
	return all, answer
}

// Of gives the member of a host.
func (c Cluster) Of(ip string) (Member, bool) {
	for _, m := range c.Members {
		if m.At(ip) {
			return m, true
		}
	}
	return Member{}, false
}
