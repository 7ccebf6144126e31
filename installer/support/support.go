// Package support makes a support bundle: one file that tells whoever is asked for help how the hosts and the cluster are. It takes
// no lock, brings nothing to a host, and may be at work beside a run. A host, or an API, that is dead or hangs holds up nothing:
// what could not be had is said in the bundle.
//
// Its layout is that of troubleshoot.sh, whose readers open it. Secrets are taken out before anything is written to a disk, see
// package redact; Secrets of the cluster are not even read.
package support

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/status"
	"github.com/sealbuild/sealbuild/installer/support/redact"
)

// Room makes a bundle of the hosts of a fleet.
type Room struct {
	*fleet.Fleet
	Cluster *installer.Cluster
	State   *installer.State // of this machine
	Redact  *redact.Redactor
	Version string        // of this program
	Since   time.Time     // lines of logs that are older are left out
	Within  time.Duration // for each host
	Dir     string        // where what hosts tell is kept meanwhile, in files without a name
	// Status asks hosts and cluster how they are.
	Status func(context.Context) (status.Status, error)
	// Ended, if not nil, is called when a host has told all it can, and how much of it is missing. It is called by one goroutine.
	Ended func(host string, missing int)
}

// Missing is what could not be had.
type Missing struct {
	Host      string    `json:"host,omitempty"`
	Collector string    `json:"collector"`
	Error     string    `json:"error"`
	At        time.Time `json:"timestamp"`
}

// Summary tells what is in a bundle.
type Summary struct {
	Hosts   int // that were asked
	Files   int
	Missing []Missing
}

// Bounds of a bundle, in bytes before it is compressed. Hosts share theirs, so that 200 of them fill no disk.
const (
	mostOfHosts   = 1 << 30
	mostOfAHost   = 64 << 20
	mostOfCluster = 256 << 20
	mostOfHere    = 64 << 20
	mostOfAFile   = 8 << 20
)

// Bounds of waiting.
const (
	reach  = 45 * time.Second // to log in to a host and to learn its secrets: nothing is kept of any host before
	answer = 30 * time.Second // for one question to a host
	grace  = 5 * time.Second  // for a question to end that was broken off
)

// Write writes the bundle, a tar that is compressed with gzip, in which all lies below the directory root. It is whole unless there
// is an error: then ctx has ended, or a disk is full.
func (r *Room) Write(ctx context.Context, out io.Writer, root string) (Summary, error) {
	packed := gzip.NewWriter(out)
	to := tar.NewWriter(packed)
	b := &bundle{Room: r, to: to, root: root, made: time.Now(), unasked: map[*fleet.Target]error{}}
	if err := b.write(ctx); err != nil {
		return Summary{}, err
	}
	if err := errors.Join(to.Close(), packed.Close()); err != nil {
		return Summary{}, fmt.Errorf("write the bundle: %w", err)
	}
	return Summary{len(r.Targets), b.files, b.missing}, nil
}

// bundle is one that is being written.
type bundle struct {
	*Room
	to      *tar.Writer
	root    string
	made    time.Time
	files   int
	missing []Missing
	hosts   []hostFacts
	status  *status.Status // nil: not known; what collects it writes it before its part is taken

	mu      sync.Mutex
	unasked map[*fleet.Target]error // only read once all hosts were tried
}

func (b *bundle) write(ctx context.Context) error {
	b.learnHere()
	b.learn(ctx)
	parts := make(chan *part)
	var all sync.WaitGroup
	begin := func(host string, most int64, slots chan struct{}, limit time.Duration, collect func(context.Context, *part)) error {
		p, err := newPart(b.Dir, host, most, b.Redact)
		if err != nil {
			return err
		}
		all.Go(func() {
			slots <- struct{}{}
			within(ctx, limit, p, collect)
			<-slots
			parts <- p
		})
		return nil
	}
	own := make(chan struct{}, 2)
	err := errors.Join(
		begin("", mostOfHere, own, max(b.Within, time.Minute), b.here),
		begin("", mostOfCluster, own, max(b.Within, time.Minute), b.cluster),
	)
	most := min(mostOfAHost, mostOfHosts/int64(max(1, len(b.Targets))))
	slots := make(chan struct{}, max(1, b.Jobs))
	for _, t := range b.Targets {
		err = errors.Join(err, begin(t.IP.String(), most, slots, b.Within, func(ctx context.Context, p *part) { b.askHost(ctx, t, p, most/8) }))
	}
	go func() {
		all.Wait()
		close(parts)
	}()
	for p := range parts { // also after an error: each is to end
		if err == nil {
			err = b.take(p)
		} else {
			_ = p.file.Close() // it has no name: nothing stays of it
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	return b.conclude()
}

// within has a part collected, and leaves it as it is soon after the time is over: a call that does not end is left behind.
func within(ctx context.Context, limit time.Duration, p *part, collect func(context.Context, *part)) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer for %s (--timeout)", limit.Round(time.Second)))
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		collect(ctx, p)
	}()
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
		p.lacks("rest", fmt.Errorf("it hangs: %w", context.Cause(ctx)))
	}
}

// take moves a part into the bundle.
func (b *bundle) take(p *part) error {
	missing, err := p.take(b.to, b.root)
	b.files += len(p.files)
	b.missing = append(b.missing, missing...)
	if p.host != "" {
		p.mu.Lock()
		facts := p.about
		p.mu.Unlock()
		facts.Host, facts.Missing = p.host, len(missing)
		b.hosts = append(b.hosts, facts)
		if b.Ended != nil {
			b.Ended(p.host, len(missing))
		}
	}
	return err
}

// conclude adds what is said about the whole.
func (b *bundle) conclude() error {
	slices.SortFunc(b.hosts, func(x, y hostFacts) int { return b.place(x.Host) - b.place(y.Host) })
	slices.SortStableFunc(b.missing, func(x, y Missing) int { return b.place(x.Host) - b.place(y.Host) })
	p, err := newPart(b.Dir, "", 64<<20, b.Redact)
	if err != nil {
		return err
	}
	var names []string
	for _, h := range b.hosts {
		if h.Reached {
			names = append(names, h.Host)
		}
	}
	findings := b.findings()
	p.host = ""
	err = errors.Join(
		p.safe("version.yaml", fmt.Appendf(nil, "apiVersion: troubleshoot.sh/v1beta2\nkind: SupportBundle\nspec:\n  versionNumber: %q\n", "sealinstall "+b.Version)),
		p.json("host-collectors/system/node_list.json", map[string]any{"nodes": orEmpty(names)}),
		p.json("analysis.json", findings),
	)
	for _, m := range b.missing {
		err = errors.Join(err, p.json(m.file(), m))
	}
	page, pageErr := b.page(findings)
	if err = errors.Join(err, pageErr, p.safe("index.html", page)); err != nil {
		return errors.Join(err, p.file.Close())
	}
	return b.take(p)
}

// place is that of a host among those that were asked; what is no host's comes first.
func (b *bundle) place(host string) int {
	return slices.IndexFunc(b.Targets, func(t *fleet.Target) bool { return t.IP.String() == host })
}

// file is where it is said in the bundle, as troubleshoot.sh does.
func (m Missing) file() string {
	if m.Host == "" {
		return "collector-errors/" + m.Collector + "-error.json"
	}
	return "host-collectors/errors/" + m.Host + "-" + m.Collector + "-error.json"
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func tell(err error, host string) string { return installer.TellAt(err, host) }
