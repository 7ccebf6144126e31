package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/test/testbed"
)

// statusLimit is how long `status` may take, a dead host included.
const statusLimit = 20 * time.Second

// clusterStatus is what `sealinstall status -o json` prints.
type clusterStatus struct {
	Ready bool `json:"ready"`
	Hosts []struct {
		Address  string `json:"address"`
		Hostname string `json:"hostname"`
		Reached  bool   `json:"reached"`
		Joined   bool   `json:"joined"`
	} `json:"hosts"`
	Waiting  []string `json:"waiting"`
	Causes   []string `json:"causes"`
	Warnings []string `json:"warnings"`
	Problems []struct {
		Host, Check, Message string
	} `json:"problems"`
}

// status asks how the cluster of these masters and the site's nodes is, from the first master that is left.
func (s *Site) status(ctx context.Context, st *story, masters []*testbed.Host) (found clusterStatus, code int, took time.Duration, err error) {
	argv := []string{"/root/sealinstall", "status", "--masters", addresses(masters), "--nodes", addresses(s.Nodes), "-o", "json"}
	st.say("%s# ./sealinstall %s", s.master0().Name, strings.Join(argv[1:], " "))
	start := time.Now()
	res, err := s.master0().Run(ctx, testbed.Command{Argv: argv, Dir: "/root", Stderr: st.out})
	took = time.Since(start)
	if code = res.Code; err != nil && code != 1 {
		return found, code, took, err
	}
	line, _, _ := strings.Cut(res.Stdout, "\n")
	if err := json.Unmarshal([]byte(line), &found); err != nil {
		return found, code, took, fmt.Errorf("read what status says: %w: %q", err, res.Stdout)
	}
	return found, code, took, nil
}

// statusTellsOf asks while the first master is dead: the answer comes soon, through another one, says that the cluster
// is not ready, and names the host by its address and its name.
func (s *Site) statusTellsOf(ctx context.Context, st *story, dead *testbed.Host) error {
	found, code, took, err := s.status(ctx, st, append([]*testbed.Host{dead}, s.Masters...))
	if err != nil {
		return err
	}
	st.say("%d after %.1f s: ready %t; waiting: %q; problems: %v", code, took.Seconds(), found.Ready, found.Waiting, found.Problems)
	named := slices.ContainsFunc(found.Problems, func(p struct{ Host, Check, Message string }) bool { return p.Host == dead.Addr && p.Check == "connect" })
	switch {
	case code != 1 || found.Ready:
		return fmt.Errorf("with %s dead, status ends with %d and says ready: %t", dead.Name, code, found.Ready)
	case took > statusLimit:
		return fmt.Errorf("status took %s, more than %s", took, statusLimit)
	case !named || found.Hosts[0].Hostname != dead.Name || found.Hosts[0].Reached:
		return fmt.Errorf("status does not name %s (%s) as dead: %+v", dead.Name, dead.Addr, found)
	}
	for _, h := range found.Hosts[1:] {
		if !h.Reached || !h.Joined {
			return fmt.Errorf("status does not tell that %s is well: %+v", h.Address, found)
		}
	}
	return nil
}
