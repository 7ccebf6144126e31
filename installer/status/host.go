package status

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/certs"
	"github.com/sealbuild/sealbuild/installer/etcd"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/ledger"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/site"
)

// answers are what one host has told. Only the goroutine that asks writes them, until it hands them over.
type answers struct {
	t       *fleet.Target // a target of its own, with link, agent, facts and journal as far as they are known
	reach   error         // why nothing can be asked there
	none    bool          // no installer lies there
	look    error         // why it cannot be looked at, though reached
	older   []string      // what the stub there is too old to tell
	version string        // of the stub

	files   map[string][]byte // those that were asked for and are there
	certs   []certs.Info
	record  *installer.Cluster // on a master
	etcd    *etcd.Cluster      // as the master's own member has it
	etcdErr error
	blobs   map[string]int64
	store   error // why the registry's blobs are not known
	kubelet preflight.Settings
	places  preflight.Places
}

// Files of a host that are looked at.
const (
	authorityFile = installer.KubeDir + "/pki/ca.crt"
	kernelServers = "/proc/net/ip_vs"
	kubeletConfig = "/var/lib/kubelet/config.yaml"
)

// Certificates of kubelet: as a client of the API, and as a server that got a signed one or else made its own.
const (
	kubeletClient = "/var/lib/kubelet/pki/kubelet-client-current.pem"
	kubeletServer = "/var/lib/kubelet/pki/kubelet-server-current.pem"
	kubeletOwn    = "/var/lib/kubelet/pki/kubelet.crt"
)

// certFiles are the files of a host that have certificates.
func (r *Room) certFiles(t *fleet.Target) []string {
	out := []string{kubeletClient, kubeletServer, kubeletOwn}
	if !t.Master {
		return out
	}
	names := append(certs.MasterInput{SuperAdmin: true, WithSuperAdmin: true}.Paths(), "pki/ca.crt", "pki/front-proxy-ca.crt", "pki/etcd/ca.crt", "pki/registry-ca.crt")
	for _, name := range names {
		if !strings.HasSuffix(name, ".key") {
			out = append(out, path.Join(installer.KubeDir, name))
		}
	}
	return append(out, path.Join(cmp.Or(r.Share(t).RootfsEnv()["registryConfig"], "/etc/registry"), "tls.crt"))
}

// askHost asks one host. known is called once it is known whether it is in the cluster.
func (r *Room) askHost(ctx context.Context, patience time.Duration, of *fleet.Target, known func(*answers)) *answers {
	a := &answers{t: &fleet.Target{Host: of.Host}}
	t := a.t
	a.reach = installer.Within(ctx, patience, func(ctx context.Context) (err error) {
		t.Link, err = r.Dial(ctx, of)
		return err
	})
	if a.reach != nil {
		t.Link = nil
		return a
	}
	t.Agent = agent.NewAgent(t.Link, installer.StubPath)
	t.Journal.Open(r.Cluster.Name, t.Agent)
	if err := r.readFiles(ctx, a); err != nil {
		// Some ways to root tell a missing program like one that fails.
		var exit *host.ExitError
		gone := t.Link.Run(ctx, host.Cmd{Argv: []string{"test", "-e", installer.StubPath}, Root: true})
		if a.none = errors.As(gone, &exit) && exit.Code == 1; !a.none {
			a.look = err
		}
		return a
	}
	known(a)
	r.askMore(ctx, a)
	return a
}

// readFiles reads all files of a host that tell how it is, in one call.
func (r *Room) readFiles(ctx context.Context, a *answers) error {
	t := a.t
	also := append(r.certFiles(t), authorityFile, kubeletConfig)
	record := ledger.RecordOnMaster(r.Cluster.Name)
	if t.Master {
		also = append(also, record, site.EtcdManifest)
	} else {
		also = append(also, care.ListFile, kernelServers)
	}
	found, err := t.Journal.Read(ctx, r.Marks(), also...)
	if err != nil {
		return err
	}
	a.files = found
	if found[kubeletServer] != nil {
		delete(found, kubeletOwn) // it is not in force
	}
	for _, name := range r.certFiles(t) {
		if c, ok := certs.Describe(strings.TrimPrefix(name, installer.KubeDir+"/"), found[name]); ok {
			a.certs = append(a.certs, c)
		}
	}
	if text, ok := found[record]; ok {
		if a.record, err = installer.ParseClusterfile(t.IP.String()+":"+record, text); err != nil {
			a.look = fmt.Errorf("read the record of the cluster: %w", err)
		}
	}
	if k, err := preflight.ReadSettings(found[kubeletConfig]); err == nil {
		a.kubelet = k // else only a disk without any room counts as full
	}
	a.places = r.knowing(a.record).PlacesOf(t)
	if dir := site.ManifestDataDir(found[site.EtcdManifest]); dir != "" {
		a.places.Etcd = dir
	}
	return nil
}

// askMore asks what takes a call for each question, side by side.
func (r *Room) askMore(ctx context.Context, a *answers) {
	r = r.knowing(a.record)
	var all sync.WaitGroup
	var mu sync.Mutex
	older := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		a.older = append(a.older, what)
	}
	all.Go(func() {
		if err := r.askFacts(ctx, a); err != nil {
			a.look = err
		}
	})
	all.Go(func() {
		res, err := a.t.Agent.Exec(ctx, agent.ExecRequest{Argv: []string{installer.StubPath, "version"}, TimeoutSeconds: 10}, nil)
		if words := strings.Fields(string(res.Stdout)); err == nil && res.Code == 0 && len(words) > 0 {
			a.version = words[len(words)-1]
		}
	})
	if a.t.Master && a.t.Joined() {
		all.Go(func() {
			blobs, err := a.t.Agent.Blobs(ctx, r.Access().Data)
			if isOlder(err) {
				older("what its registry holds")
				return
			}
			a.blobs, a.store = blobs, err
		})
		if _, has := a.files[site.EtcdManifest]; has {
			all.Go(func() {
				if old := askEtcd(ctx, a); old {
					older("how its member of etcd is")
				}
			})
		}
	}
	all.Wait()
	slices.Sort(a.older)
}

// knowing is the room with the settings of a record, where this machine has no record of its own; record may be nil.
func (r *Room) knowing(record *installer.Cluster) *Room {
	if record == nil || r.Cluster.Status.Phase != "" {
		return r
	}
	on, c := *r.Site, *r.Cluster
	c.Env, on.Cluster = installer.MergeEnv(record.Env, c.Env), &c
	return &Room{Site: &on, State: r.State, Within: r.Within}
}

// askFacts looks at the host. A stub that is older is asked for everything: that takes it longer.
func (r *Room) askFacts(ctx context.Context, a *answers) error {
	t := a.t
	life := r.LifeRequest(t)
	q := agent.FactsRequest{
		Paths: a.places.All(), Sockets: life.Sockets, Programs: life.Programs, Lock: r.LockPath(), Lean: true,
	}
	f, err := t.Agent.Facts(ctx, q)
	if isOlder(err) {
		q.Lean = false
		f, err = t.Agent.Facts(ctx, q)
	}
	if err != nil {
		return fmt.Errorf("read facts: %w", err)
	}
	t.Skew = time.Until(time.Unix(0, f.UnixNano)) // the way of the answer does not matter here
	t.Facts, t.Looked = f, true
	return nil
}

// askEtcd asks the master's own member of etcd. older tells that the stub there cannot.
func askEtcd(ctx context.Context, a *answers) (older bool) {
	res, err := a.t.Agent.Exec(ctx, agent.ExecRequest{Argv: []string{installer.StubPath, "etcd", "own"}, TimeoutSeconds: 10}, nil)
	switch said := installer.Tail(string(res.Stderr), 1); {
	case err != nil:
		a.etcdErr = err
	case res.Code != 0 && strings.Contains(said, "unknown command"):
		return true
	case res.Code != 0:
		a.etcdErr = errors.New(strings.TrimPrefix(said, "error: "))
	default:
		var c etcd.Cluster
		if a.etcdErr = json.Unmarshal(res.Stdout, &c); a.etcdErr == nil {
			a.etcd = &c
		}
	}
	return false
}

// isOlder tells whether a stub does not know a request.
func isOlder(err error) bool {
	answered, ok := errors.AsType[*agent.Error](err)
	return ok && answered.Code == agent.CodeProtocol
}
