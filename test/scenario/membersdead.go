package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/test/testbed"
)

// MembersDead loses masters and a node for ever, the first master among them, takes them out from the third, on which nobody has
// installed anything, and puts others in their place: with the same name and address and with others. Then hosts that were taken
// out come back with their old disks.
func MembersDead(ctx context.Context, out io.Writer) (err error) {
	m, err := openMembers(ctx, newStory(out), 4)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(m.end(ctx), err, m.Close()) }()
	first, second, third, other := m.Masters[0], m.Masters[1], m.Masters[2], m.Masters[3]
	node := m.Nodes[1]
	m.Masters = []*testbed.Host{first, second, third}
	if err := m.begin(ctx); err != nil {
		return err
	}
	if err := m.spreadOut(ctx, "load", "app=asked"); err != nil {
		return err
	}
	m.Masters = []*testbed.Host{third, first, second}
	if err := m.carryIn(ctx, m.st, m.built); err != nil {
		return err
	}

	if err := m.buried(ctx, second, deleteDeadMaster); err != nil {
		return err
	}
	if err := m.replacedBy(ctx, second, second, addMaster); err != nil {
		return err
	}
	if err := m.buried(ctx, first, deleteDeadFirst); err != nil {
		return err
	}
	if err := m.replacedBy(ctx, first, first, addFirst); err != nil {
		return err
	}
	if err := m.buried(ctx, first, deleteDeadFirst); err != nil {
		return err
	}
	if err := m.replacedBy(ctx, first, other, addAnotherMaster); err != nil {
		return err
	}
	if err := m.certificates(ctx); err != nil {
		return err
	}
	if err := m.returnsWithItsDisk(ctx, node, deleteDeadNode, addNode); err != nil {
		return err
	}
	if err := m.returnsWithItsDisk(ctx, second, deleteDeadMaster, addMaster); err != nil {
		return err
	}
	return m.nothingMoreToDo(ctx)
}

// deadLimit is how long it may take after the command until replicas that were on a dead host run elsewhere.
const deadLimit = 60 * time.Second

// buried takes the power from a host, and then takes the host out of the cluster, by the third master.
func (m *memberSite) buried(ctx context.Context, dead *testbed.Host, command string) error {
	what := dead.Name + " is dead for ever"
	m.st.heading("%s", what)
	m.load.enter(false, "%s loses its power", dead.Name)
	if err := dead.PowerOff(ctx); err != nil {
		return err
	}
	if err := m.load.stop(dead); err != nil {
		m.st.say("%s asks nothing any more: %v", dead.Name, err)
	}
	wasNode := slices.Contains(m.Nodes, dead)
	if !wasNode {
		if err := m.load.waitQuiet(ctx, 2*time.Minute); err != nil {
			return err
		}
		res, err := m.asked(ctx)
		if res.Code != 1 || !strings.Contains(res.Stdout, dead.Addr) {
			m.found(what, fmt.Errorf("status ends with %d and does not tell of %s: %w", res.Code, dead.Addr, err))
		}
	}
	// Half of the requests go to a replica that died with its node until Kubernetes has noticed.
	m.load.enter(!wasNode, "%s is deleted, dead", dead.Name)
	m.Masters, m.Nodes = without(m.Masters, dead), without(m.Nodes, dead)
	if _, _, err := m.run(ctx, command); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if again, _, err := m.run(ctx, command); err != nil || again.Changes != 0 {
		m.found(what, fmt.Errorf("a second delete: %d changes, %w", again.Changes, err))
	}
	if wasNode {
		m.found(what, m.replicasRun(ctx))
	}
	return m.settle(ctx, dead.Name+" is deleted, dead")
}

// replicasRun fails unless both replicas are ready before the limit.
func (m *memberSite) replicasRun(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, deadLimit, fmt.Errorf("after %s", deadLimit))
	defer cancel()
	return until(ctx, func() error {
		ready, err := m.kubectl(ctx, "get", "deployment", "-n", "load", "asked", "-o", "jsonpath={.status.readyReplicas}/{.status.replicas}")
		if err == nil && ready != "2/2" {
			err = fmt.Errorf("%s replicas are ready", ready)
		}
		return err
	})
}

// replacedBy boots a machine that was never in a cluster, and takes it in as a master: in the place of the dead one, or another.
func (m *memberSite) replacedBy(ctx context.Context, dead, fresh *testbed.Host, command string) error {
	what := fmt.Sprintf("%s takes the place of %s", fresh.Name, dead.Name)
	if fresh == dead {
		what = "a fresh machine with the name and address of " + dead.Name
		if err := dead.NewDisk(); err != nil {
			return err
		}
		if err := m.back(ctx, dead); err != nil {
			return err
		}
	}
	m.Masters = append(m.Masters, fresh)
	return m.added(ctx, what, command)
}

// certificates lists and renews them from the third master, and nothing fails meanwhile.
func (m *memberSite) certificates(ctx context.Context) error {
	m.st.heading("certificates, from %s", m.master0().Name)
	m.load.enter(true, "certificates are renewed")
	for _, more := range [][]string{nil, {"--renew", "all"}} {
		argv := slices.Concat([]string{"/root/sealinstall"}, withAddresses(listCertificates, nil), more)
		start := time.Now()
		res, err := m.master0().Run(ctx, testbed.Command{Argv: argv, Dir: "/root"})
		m.took = append(m.took, StepFigure{strings.Join(argv[1:], " "), time.Since(start).Seconds()})
		m.st.say("%s# ./sealinstall %s\n%s%s", m.master0().Name, strings.Join(argv[1:], " "), res.Stdout, res.Stderr)
		if err != nil {
			m.found("certificates", err)
			continue
		}
		for _, h := range m.Masters {
			if !strings.Contains(res.Stdout+res.Stderr, h.Addr) {
				m.found("certificates", fmt.Errorf("%q does not tell of %s", argv[1:], h.Addr))
			}
		}
	}
	return m.settle(ctx, "certificates are renewed")
}

// told fails unless status tells of a host that is not in the cluster. A machine under load may not ask every host in time.
func (m *memberSite) told(ctx context.Context, h *testbed.Host) error {
	ctx, cancel := context.WithTimeoutCause(ctx, membersLimit, fmt.Errorf("after %s", membersLimit))
	defer cancel()
	return until(ctx, func() error {
		res, err := m.asked(ctx)
		if strings.Contains(res.Stdout, h.Addr) || strings.Contains(res.Stdout, h.Name) {
			return nil
		}
		return fmt.Errorf("status (%d, %v) does not tell of %s", res.Code, err, h.Name)
	})
}

// returnsWithItsDisk takes out a host that has no power, and then gives it its power back, with all that was on its disk. It must
// do no harm, the operator must hear of it, and `add` must take it in.
func (m *memberSite) returnsWithItsDisk(ctx context.Context, h *testbed.Host, remove, add string) error {
	masters, nodes := m.Masters, m.Nodes
	if err := m.buried(ctx, h, remove); err != nil {
		return err
	}
	what := h.Name + " returns with its old disk"
	m.st.heading("%s", what)
	if err := m.load.waitQuiet(ctx, 2*time.Minute); err != nil {
		return err
	}
	m.load.enter(true, "%s", what)
	if err := m.back(ctx, h); err != nil {
		return err
	}
	// Long enough for everything on it to start, and to be tried again.
	if err := wait(ctx, time.Minute); err != nil {
		return err
	}
	m.found(what, m.exact(ctx, time.Now()))
	m.found(what, m.told(ctx, h))
	m.Masters, m.Nodes = masters, nodes
	if err := m.added(ctx, h.Name+" is taken in with its old disk", add); err != nil {
		return err
	}
	if slices.Contains(nodes, h) {
		return m.load.start(ctx, h)
	}
	return nil
}
