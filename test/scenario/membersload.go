package scenario

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/test/testbed"
)

// askedApp is the application that is asked while hosts come and go: as users are told to write one that outlives the drain of a
// host. Two replicas on two hosts where there are two; one may be away; a replica serves on until nobody sends it requests.
const askedApp = `apiVersion: v1
kind: Namespace
metadata: {name: load}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: asked, namespace: load}
spec:
  replicas: 2
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  selector: {matchLabels: {app: asked}}
  template:
    metadata: {labels: {app: asked}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 20
      affinity:
        podAntiAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
          - weight: 100
            podAffinityTerm: {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: asked}}}
      containers:
      - name: asked
        image: ghcr.io/sealbuild/hello:1.0
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
        lifecycle: {preStop: {sleep: {seconds: 5}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: asked, namespace: load}
spec:
  maxUnavailable: 1
  selector: {matchLabels: {app: asked}}
---
apiVersion: v1
kind: Service
metadata: {name: asked, namespace: load}
spec:
  type: NodePort
  selector: {app: asked}
  ports: [{port: 80, targetPort: 8080, nodePort: 30090}]
`

// How often each worker asks, in requests a second.
const (
	appRate = 20
	apiRate = 5
)

// loadProgram is where a host has the program that asks: snapshots leave /var/log out.
const loadProgram = "/var/log/load"

// loadOrder and loadTally are what test/load reads and prints.
type loadOrder struct {
	App                  []string
	AppRate              int
	API                  string
	APIRate              int
	Namespace, Object    string
	CA, Certificate, Key string
}

type loadTally struct {
	Begin         time.Time
	Kind          string
	Asked, Failed int
	Slowest       time.Duration
	Target, Error string
}

// phase is a part of the story, in which what fails is counted by itself.
type phase struct {
	name    string
	planned bool // a change that somebody asked for: nothing may fail in it
	begin   time.Time
	sums    map[string]loadTally // by kind
}

// load is the asking from the workers, and what came of it.
type load struct {
	st    *story
	site  *Site
	order loadOrder

	mu     sync.Mutex
	phases []*phase
	doing  string // what the scenario does
	runs   map[string]*loadRun
}

// loadRun is the program on one host.
type loadRun struct {
	end   io.Closer
	asks  chan struct{} // closed when something of each kind was asked
	ended chan struct{}
	err   error
}

// buildLoad builds the program that asks.
func (b Built) buildLoad(ctx context.Context, st *story) (string, error) {
	program := b.work.path("load")
	return program, command(ctx, st.out, b.Root, []string{"CGO_ENABLED=0"}, "go", "build", "-trimpath", "-buildvcs=false", "-o", program, "./test/load")
}

// prepareLoad brings the program onto the workers.
func prepareLoad(ctx context.Context, st *story, site *Site) (*load, error) {
	program, err := site.built.buildLoad(ctx, st)
	if err != nil {
		return nil, err
	}
	for _, h := range site.Nodes {
		if err := h.Copy(ctx, program, loadProgram, 0o755); err != nil {
			return nil, err
		}
	}
	return &load{st: st, site: site, runs: map[string]*loadRun{}}, nil
}

// deploy makes the application, and asks.
func (l *load) deploy(ctx context.Context) error {
	res, err := l.site.master0().Run(ctx, testbed.Command{
		Argv:  []string{"kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", "--cache-dir", "/root/.sealos/kubectl-of-test", "apply", "-f", "-"},
		Stdin: strings.NewReader(askedApp),
	})
	if err != nil {
		return fmt.Errorf("deploy the application: %w", err)
	}
	l.st.say("%s", strings.TrimSpace(res.Stdout))
	return l.begin(ctx)
}

// begin takes the certificate of the administrator to ask the API with, and lets every worker ask it and the application.
func (l *load) begin(ctx context.Context) error {
	l.st.heading("an application of two replicas, asked %d times a second on each worker; the API %d times through its virtual address", appRate, apiRate)
	if _, err := l.site.kubectl(ctx, "rollout", "status", "-n", "load", "deployment/asked", "--timeout=120s"); err != nil {
		return err
	}
	ip, err := l.site.kubectl(ctx, "get", "service", "-n", "load", "asked", "-o", "jsonpath={.spec.clusterIP}")
	if err != nil {
		return err
	}
	config, err := l.site.kubectl(ctx, "config", "view", "--raw", "-o",
		`jsonpath={.clusters[0].cluster.certificate-authority-data} {.users[0].user.client-certificate-data} {.users[0].user.client-key-data}`)
	if err != nil {
		return err
	}
	var pem [3]string
	fields := strings.Fields(config)
	if len(fields) != len(pem) {
		return fmt.Errorf("the kubeconfig has %d of %d pieces", len(fields), len(pem))
	}
	for i, f := range fields {
		raw, err := base64.StdEncoding.DecodeString(f)
		if err != nil {
			return err
		}
		pem[i] = string(raw)
	}
	l.order = loadOrder{
		App: []string{"http://" + ip + "/"}, AppRate: appRate, API: "https://apiserver.cluster.local:6443", APIRate: apiRate,
		Namespace: "load", CA: pem[0], Certificate: pem[1], Key: pem[2],
	}
	for _, h := range l.site.Nodes {
		if err := l.start(ctx, h); err != nil {
			return err
		}
	}
	return nil
}

// answered waits until a worker has the rules for a new Service.
func (l *load) answered(ctx context.Context, h *testbed.Host, urls []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("the application does not answer after a minute"))
	defer cancel()
	return until(ctx, func() error {
		_, err := h.Exec(ctx, append([]string{"curl", "--silent", "--fail", "--max-time", "2", "--output", "/dev/null"}, urls...)...)
		return err
	})
}

// start lets a worker ask until it is stopped or has no power: the Service and the node port on itself in turn.
func (l *load) start(ctx context.Context, h *testbed.Host) error {
	order := l.order
	order.App = append(slices.Clone(order.App), "http://"+h.Addr+":30090/")
	order.Object = h.Name
	if err := l.answered(ctx, h, order.App); err != nil {
		return fmt.Errorf("before %s asks: %w", h.Name, err)
	}
	raw, err := json.Marshal(order)
	if err != nil {
		return err
	}
	in, feed := io.Pipe()
	printed, out := io.Pipe()
	r := &loadRun{end: feed, asks: make(chan struct{}), ended: make(chan struct{})}
	go func() { _, _ = feed.Write(raw) }()
	go func() {
		_, err := h.Run(ctx, testbed.Command{Argv: []string{loadProgram}, Stdin: in, Stdout: out})
		out.CloseWithError(err)
		in.Close()
	}()
	go func() {
		defer close(r.ended)
		lines := json.NewDecoder(printed)
		kinds := map[string]bool{}
		for {
			var t loadTally
			if err := lines.Decode(&t); err != nil {
				if !errors.Is(err, io.EOF) {
					r.err = err
				}
				printed.Close()
				return
			}
			l.count(h, t)
			if kinds[t.Kind] = true; len(kinds) == 2 {
				kinds["both"] = true
				close(r.asks)
			}
		}
	}()
	l.mu.Lock()
	l.runs[h.Name] = r
	l.mu.Unlock()
	select {
	case <-r.asks: // what begins now meets requests
		return nil
	case <-r.ended:
		return fmt.Errorf("%s does not ask: %w", h.Name, r.err)
	case <-time.After(time.Minute):
		return fmt.Errorf("%s has asked nothing within a minute", h.Name)
	}
}

// stop ends the asking from a host. One that has lost its power has ended by itself.
func (l *load) stop(h *testbed.Host) error {
	l.mu.Lock()
	r := l.runs[h.Name]
	delete(l.runs, h.Name)
	l.mu.Unlock()
	if r == nil {
		return nil
	}
	r.end.Close()
	<-r.ended
	return r.err
}

// stopAll ends all asking; it is an error if a program had ended before.
func (l *load) stopAll() (err error) {
	for _, h := range l.site.Hosts {
		if e := l.stop(h); e != nil {
			err = errors.Join(err, fmt.Errorf("the asking on %s: %w", h.Name, e))
		}
	}
	return err
}

// enter begins a phase.
func (l *load) enter(planned bool, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doing = fmt.Sprintf(format, args...)
	l.phases = append(l.phases, &phase{name: l.doing, planned: planned, begin: time.Now(), sums: map[string]loadTally{}})
}

// mostToldFailures is how many failures of a phase and a kind are shown one by one.
const mostToldFailures = 20

// count adds to the phase in which a request was made, and tells of one that failed.
func (l *load) count(h *testbed.Host, t loadTally) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.phases) == 0 {
		return
	}
	p := l.phases[0]
	for _, later := range l.phases[1:] {
		if !later.begin.After(t.Begin) {
			p = later
		}
	}
	sum := p.sums[t.Kind]
	if t.Error == "" {
		sum.Asked += t.Asked
		sum.Slowest = max(sum.Slowest, t.Slowest)
	} else if sum.Failed++; sum.Failed <= mostToldFailures {
		l.st.say("  %5.1fs FAILED on %s, in %q: %s after %.1f s: %s", t.Begin.Sub(l.st.start).Seconds(), h.Name, p.name, t.Target, t.Slowest.Seconds(), t.Error)
	}
	p.sums[t.Kind] = sum
}

// waitQuiet waits until nothing has failed for some seconds: an outage that nobody asked for is over.
func (l *load) waitQuiet(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("requests fail for more than %s", patience))
	defer cancel()
	failed := func() (n int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, p := range l.phases {
			n += p.sums["app"].Failed + p.sums["api"].Failed
		}
		return n
	}
	const quiet = 12 * time.Second // longer than any request may take
	last, since := failed(), time.Now()
	return until(ctx, func() error {
		if n := failed(); n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) < quiet {
			return errNotYet
		}
		return nil
	})
}

// report shows what was asked in each phase, and is an error if something failed in a planned change.
func (l *load) report(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.st.heading("requests")
	l.st.say("| phase | application: asked | failed | slowest | API: asked | failed | slowest |\n|---|---|---|---|---|---|---|")
	var errs []error
	for _, p := range l.phases {
		app, api := p.sums["app"], p.sums["api"]
		l.st.say("| %s | %d | %d | %.1f s | %d | %d | %.1f s |", p.name, app.Asked, app.Failed, app.Slowest.Seconds(), api.Asked, api.Failed, api.Slowest.Seconds())
		if p.planned && app.Failed+api.Failed > 0 {
			errs = append(errs, fmt.Errorf("%s: %d of %d requests to the application and %d of %d to the API failed", p.name, app.Failed, app.Asked, api.Failed, api.Asked))
		}
		if p.planned && p.begin.Add(5*time.Second).Before(time.Now()) && app.Asked+api.Asked == 0 {
			errs = append(errs, fmt.Errorf("%s: nobody asked anything", p.name))
		}
	}
	if len(errs) > 0 {
		errs = append(errs, fmt.Errorf("events of the application:\n%s", l.events(ctx)))
	}
	return errors.Join(errs...)
}

// events is what Kubernetes tells of the application: a replica that was not ready for a moment is no fault of the change.
func (l *load) events(ctx context.Context) string {
	out, err := l.site.kubectl(ctx, "get", "events", "-n", "load", "--sort-by=.lastTimestamp")
	if err != nil {
		return err.Error()
	}
	return out
}
