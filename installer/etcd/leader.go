package etcd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/ground/wait"
)

// maxBehind is how many entries of the log a member may lack that counts as caught up. The members are asked at the same time, not
// in the same moment: in between a busy cluster writes some.
const maxBehind = 100

// CaughtUp is an error, with the cause, unless the member of a host answers, has a vote, follows a leader that answers, and has
// applied what that one knows to be decided. Any alarm is an error, too. It judges what [Client.Cluster] gives.
func (c Cluster) CaughtUp(ip string) error {
	m, ok := c.Of(ip)
	switch {
	case !ok:
		return fmt.Errorf("etcd has no member of %s", ip)
	case !m.Answers:
		return fmt.Errorf("the member of %s does not answer: %s", ip, m.Error)
	case m.Learner:
		return fmt.Errorf("the member of %s is a learner: it has no vote yet", ip)
	case m.Follows == "":
		return fmt.Errorf("the member of %s knows no leader", ip)
	}
	for _, other := range c.Members {
		if len(other.Alarms) > 0 {
			return fmt.Errorf("etcd has raised an alarm: %s", strings.Join(other.Alarms, ", "))
		}
	}
	i := slices.IndexFunc(c.Members, func(l Member) bool { return l.Answers && l.Leads })
	if i < 0 {
		return errors.New("no member of etcd says that it is the leader")
	}
	leader := c.Members[i]
	if m.Follows != leader.ID {
		return fmt.Errorf("the member of %s follows member %s, and that of %s is the leader", ip, m.Follows, leader.Host())
	}
	return m.behind(leader)
}

// behind is an error if a member lacks more than a few entries of the leader's log.
func (m Member) behind(leader Member) error {
	if m.Applied == 0 || leader.Committed == 0 {
		return fmt.Errorf("the members of %s and %s do not both tell how far they are", m.Host(), leader.Host())
	}
	if m.Applied+maxBehind < leader.Committed {
		return fmt.Errorf("the member of %s is at entry %d of the log, the leader (%s) at %d", m.Host(), m.Applied, leader.Host(), leader.Committed)
	}
	return nil
}

// transferTimeout is how long a member may take to hand over: twice the election timeout that kubeadm's members have here.
const transferTimeout = 5 * time.Second

// confirmPatience is how long the members may take to agree who leads, after a member has said so.
const confirmPatience = 5 * time.Second

// Yield gives the leadership to another voter that is caught up, if the member at the endpoint has it, and gives the cluster as
// it is then: another member says that it leads, and this one follows it. A single voter keeps the leadership.
func (c *Client) Yield(ctx context.Context) (Cluster, error) {
	cluster, own, err := c.withOwn(ctx)
	if err != nil {
		return Cluster{}, err
	}
	if own.Follows == "" {
		return Cluster{}, errors.New("etcd has no leader")
	}
	if voters, _ := cluster.Voters(); !own.Leads || voters == 1 {
		return cluster, nil
	}
	to, none := cluster.heirs(own)
	if len(to) == 0 {
		return Cluster{}, fmt.Errorf("no other member can lead: %w", none)
	}
	heir, err := c.transfer(ctx, c.endpoint, to)
	if err != nil {
		return Cluster{}, err
	}
	wctx, cancel := context.WithTimeout(ctx, c.confirm)
	defer cancel()
	err = wait.Until(wctx, 200*time.Millisecond, func(context.Context) (err error) {
		// An answer that was asked for in time counts, however slow the host is.
		if cluster, own, err = c.withOwn(ctx); err != nil {
			return err
		}
		for _, m := range cluster.Members {
			if m.ID != own.ID && m.Leads && m.ID == own.Follows {
				return nil
			}
		}
		return fmt.Errorf("the leadership was to go to the member of %s, and no other member says that it leads", heir.Host())
	})
	return cluster, err
}

// withOwn gives the cluster, and of it the member at the endpoint.
func (c *Client) withOwn(ctx context.Context) (Cluster, Member, error) {
	body, err := c.post(ctx, c.endpoint, "/v3/maintenance/status", `{}`, statusTimeout)
	if err != nil {
		return Cluster{}, Member{}, err
	}
	id, err := decodeOwn(body)
	if err != nil {
		return Cluster{}, Member{}, err
	}
	cluster, err := c.Cluster(ctx)
	if err != nil {
		return Cluster{}, Member{}, err
	}
	i := slices.IndexFunc(cluster.Members, func(m Member) bool { return m.ID == id })
	if i < 0 {
		return Cluster{}, Member{}, fmt.Errorf("member %s, which answers at %s, is none of the cluster's", id, c.endpoint)
	}
	return cluster, cluster.Members[i], nil
}

// heirs are the members that can lead instead of the leader, the one that is furthest first; why tells of the others why not.
func (c Cluster) heirs(leader Member) (to []Member, why error) {
	var errs []error
	for _, m := range c.Members {
		err := m.behind(leader)
		switch {
		case m.ID == leader.ID || m.Learner:
			continue
		case !m.Answers:
			err = fmt.Errorf("the member of %s does not answer: %s", m.Host(), m.Error)
		case m.Follows != leader.ID:
			err = fmt.Errorf("the member of %s does not follow it", m.Host())
		}
		if err == nil {
			to = append(to, m)
		}
		errs = append(errs, err)
	}
	slices.SortStableFunc(to, func(a, b Member) int { return cmp.Compare(b.Applied, a.Applied) })
	return to, errors.Join(errs...)
}

// transfer asks the leader, at its endpoint, to hand over, and gives the first member that takes it. etcd answers once that one
// leads.
func (c *Client) transfer(ctx context.Context, leader string, to []Member) (Member, error) {
	var errs []error
	for _, m := range to {
		q, err := json.Marshal(map[string]string{"targetID": m.ID})
		if err != nil {
			return Member{}, err
		}
		if _, err = c.post(ctx, leader, "/v3/maintenance/transfer-leadership", string(q), transferTimeout); err == nil {
			return m, nil
		}
		errs = append(errs, fmt.Errorf("hand the leadership to the member of %s: %w", m.Host(), err))
	}
	return Member{}, errors.Join(errs...)
}

// moveLeader gives the leadership to another member if m has it, so that nobody waits for an election when m is removed.
// It is worth a try only: etcd elects a leader by itself.
func (c *Client) moveLeader(ctx context.Context, m Member, members []Member) {
	for _, at := range m.ClientURLs {
		at = strings.TrimSuffix(at, "/")
		body, err := c.post(ctx, at, "/v3/maintenance/status", `{}`, statusTimeout)
		if err != nil {
			continue
		}
		var now Member
		if _, err := decodeState(body, &now); err != nil || !now.Leads {
			return
		}
		others := slices.DeleteFunc(slices.Clone(members), func(o Member) bool { return o.ID == m.ID || o.Learner || !o.Started() })
		if _, err := c.transfer(ctx, at, others); err == nil {
			return
		}
	}
}
