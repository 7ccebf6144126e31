// Package etcd asks a member of etcd for the members of its cluster, removes members, moves leadership and takes snapshots. It
// uses the JSON gateway that every etcd has on its client port, since kubeadm does not remove a member in every case. It runs on a
// master.
package etcd

import (
	"net/netip"
	"net/url"
	"slices"
)

// Cluster is what one member knows of its cluster.
type Cluster struct {
	Members []Member `json:"members"`
	Leader  bool     `json:"leader"` // there is one, so a majority of the voters is up
	// Version is the one that all members can do, as "3.6.0"; empty if the member does not tell. Only [Client.Cluster] and
	// [Client.Yield] ask for it.
	Version string `json:"version,omitempty"`
}

// Member is a member of etcd's cluster. One that was added and never started has a peer address only, no name and no client
// address.
type Member struct {
	ID         string   `json:"id"` // as etcd writes it in JSON: decimal
	Name       string   `json:"name,omitempty"`
	PeerURLs   []string `json:"peerURLs"`
	ClientURLs []string `json:"clientURLs,omitempty"`
	Learner    bool     `json:"learner,omitempty"` // it has no vote
	Answers    bool     `json:"answers"`           // it told its state when it was asked for the list
	Error      string   `json:"error,omitempty"`   // why it does not

	// What the member tells of itself; [Client.Own] asks for it.

	Leads   bool     `json:"leads,omitempty"`   // it is the leader
	Version string   `json:"version,omitempty"` // of etcd
	Size    int64    `json:"size,omitempty"`    // of its database file in bytes
	InUse   int64    `json:"inUse,omitempty"`   // of that in use; the rest is given back by defragmentation
	Quota   int64    `json:"quota,omitempty"`   // what the file may grow to in bytes, at which etcd refuses writes; 0 if it does not tell, negative: none
	Alarms  []string `json:"alarms,omitempty"`  // raised for any member: NOSPACE, CORRUPT

	// Where it is in the log that all members have in common.

	Follows   string `json:"follows,omitempty"`   // ID of the member that it takes for the leader; empty: it knows none
	Committed uint64 `json:"committed,omitempty"` // the last entry that it knows to be at a majority
	Applied   uint64 `json:"applied,omitempty"`   // the last entry that its database has
	Revision  int64  `json:"revision,omitempty"`  // of its database
}

// DefaultQuota is what a database may grow to where nobody says otherwise, in bytes. Members before 3.6 do not tell theirs.
const DefaultQuota = 2 << 30

// Started tells whether the member was ever up.
func (m Member) Started() bool { return m.Name != "" }

// At tells whether the member is that of a host, by the addresses at which other members reach it.
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

// Without is the cluster without the members of a host.
func (c Cluster) Without(ip string) Cluster {
	c.Members = slices.DeleteFunc(slices.Clone(c.Members), func(m Member) bool { return m.At(ip) })
	return c
}

// Of gives the member of a host.
func (c Cluster) Of(ip string) (Member, bool) {
	i := slices.IndexFunc(c.Members, func(m Member) bool { return m.At(ip) })
	if i < 0 {
		return Member{}, false
	}
	return c.Members[i], true
}
