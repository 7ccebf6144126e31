package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/registry/storesync"
)

const (
	fanoutHosts = 16
	fanoutLimit = 1.5 // times as long as one host
)

// fanouts measures how much longer sixteen hosts take than one, on links of
// their own. The hosts share this machine's cores, so at the full rate it is
// those that are measured; a quarter of it is about what two cores can do, and a
// tenth leaves them idle most of the time.
func (b *bench) fanouts(ctx context.Context) (err error) {
	s, done, err := b.newSyncing(ctx, "fanout")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	f, err := s.bundle(ctx, "fanout", applications(fanoutImages))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	site, err := s.openSite(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.close(context.WithoutCancel(ctx))) }()
	for _, r := range []struct{ name, rate string }{{"fanout", "1gbit"}, {"fanout-250M", "250mbit"}, {"fanout-100M", "100mbit"}} {
		if err := site.lab.shape(ctx, r.rate); err != nil {
			return err
		}
		if err := s.fanout(ctx, site, f, r.name, r.rate); err != nil {
			return fmt.Errorf("links of %s: %w", r.rate, err)
		}
	}
	return nil
}

// labSite is hosts in a lab, each with its own sshd and its own store in memory:
// real hosts have a disk each, these would share one.
type labSite struct {
	lab    *lab
	sshd   []*sshd
	conns  []host.Host
	stores string
}

func (s *syncing) openSite(ctx context.Context) (_ *labSite, err error) {
	x := &labSite{}
	defer func() {
		if err != nil {
			err = errors.Join(err, x.close(context.WithoutCancel(ctx)))
		}
	}()
	if x.stores, err = os.MkdirTemp("/dev/shm", "sealbuild-bench-"); err != nil {
		return nil, fmt.Errorf("stores in memory: %w", err)
	}
	if x.lab, err = newLab(ctx, fanoutHosts); err != nil {
		return nil, err
	}
	keys, err := makeKeys(s.dir)
	if err != nil {
		return nil, err
	}
	for i := 1; i <= fanoutHosts; i++ {
		d, err := startSSHD(ctx, s.dir, x.lab.address(i), 22, keys, "ip", "netns", "exec", x.lab.ns(i))
		if err != nil {
			return nil, err
		}
		x.sshd = append(x.sshd, d)
	}
	for _, d := range x.sshd {
		err := x.lab.inside(0, func() error {
			h, err := d.dial(ctx)
			if err != nil {
				return err
			}
			x.conns = append(x.conns, h)
			return h.Run(ctx, host.Cmd{Argv: []string{"true"}, Root: true}) // finds out how to be root there
		})
		if err != nil {
			return nil, err
		}
	}
	return x, nil
}

func (x *labSite) close(ctx context.Context) error {
	var errs []error
	for _, c := range x.conns {
		errs = append(errs, c.Close())
	}
	for _, d := range x.sshd {
		errs = append(errs, d.stop())
	}
	if x.lab != nil {
		errs = append(errs, x.lab.close(ctx))
	}
	return errors.Join(append(errs, os.RemoveAll(x.stores))...)
}

func (s *syncing) fanout(ctx context.Context, x *labSite, f opened, name, rate string) error {
	var one, all, oneBusy, allBusy series
	var bytes int64
	for i := range s.runs {
		s.say("%s, run %d of %d", name, i+1, s.runs)
		seconds, busy, sent, err := s.pushTo(ctx, x, f, 1)
		if err != nil {
			return err
		}
		one, oneBusy, bytes = append(one, seconds), append(oneBusy, busy), sent
		if seconds, busy, _, err = s.pushTo(ctx, x, f, fanoutHosts); err != nil {
			return err
		}
		all, allBusy = append(all, seconds), append(allBusy, busy)
	}
	t := &s.table
	t.command = fmt.Sprintf("%.0f MB to one empty host behind a link of %s each way, over an open ssh connection; sender and host in network namespaces, store in memory", float64(bytes)/1e6, rate)
	t.add(name+"/one-host", "s", one)
	t.command = fmt.Sprintf("to %d such hosts at once, as the installer does", fanoutHosts)
	t.add(name+"/sixteen-hosts", "s", all)
	t.most(name+"/sixteen-to-one", "ratio", ratios(all, one), fanoutLimit)
	t.command = fmt.Sprintf("how busy the %d cores were that sender and hosts share, of this and of anything else", runtime.NumCPU())
	t.add(name+"/one-host-cores-busy", "share", oneBusy)
	t.add(name+"/sixteen-hosts-cores-busy", "share", allBusy)
	return nil
}

// pushTo fills the first n hosts and looks at what came.
func (s *syncing) pushTo(ctx context.Context, x *labSite, f opened, n int) (seconds, busy float64, sent int64, err error) {
	images, err := payload.Catalog(ctx, f.Reader)
	if err != nil {
		return 0, 0, 0, err
	}
	var want int64
	for _, b := range images.Blobs() {
		want += b.Size
	}
	defer func() {
		for i := range n {
			err = errors.Join(err, os.RemoveAll(x.store(i)))
		}
	}()
	var fan *storesync.Fanout
	if n > 1 {
		fan = new(storesync.Fanout)
	}
	receipts := make([]storesync.Receipt, n)
	before, start := readCores(), time.Now()
	g, gctx := errgroup.WithContext(ctx)
	for i := range n {
		g.Go(func() error {
			return agent.NewAgent(x.conns[i], s.stub).RegistryReceive(gctx, x.store(i), func(w io.Writer, in io.Reader) (err error) {
				receipts[i], err = storesync.Push(gctx, w, in, images, payload.Source(f.Reader), storesync.PushOptions{
					Fanout: fan, Address: x.lab.address(i + 1),
				})
				return err
			})
		})
	}
	if err := g.Wait(); err != nil {
		return 0, 0, 0, err
	}
	seconds, busy = time.Since(start).Seconds(), readCores().since(before)
	for i, r := range receipts {
		sent += r.BytesSent
		if got := r.BytesSent + r.BytesPassed; got < want {
			return 0, 0, 0, fmt.Errorf("host %d got %d bytes of %d", i+1, got, want)
		}
	}
	return seconds, busy, sent, nil
}

func (x *labSite) store(i int) string { return filepath.Join(x.stores, fmt.Sprint("host", i+1)) }

// cores is how long all cores together were busy and idle, in ticks.
type cores struct{ busy, idle float64 }

func readCores() (c cores) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return c
	}
	line, _, _ := strings.Cut(string(data), "\n")
	for i, f := range strings.Fields(line) {
		n, err := strconv.ParseFloat(f, 64)
		switch {
		case err != nil, i > 8: // the guests' time is counted among the others'
		case i == 4, i == 5:
			c.idle += n
		default:
			c.busy += n
		}
	}
	return c
}

func (c cores) since(before cores) float64 {
	busy, idle := c.busy-before.busy, c.idle-before.idle
	if busy+idle == 0 {
		return 0
	}
	return busy / (busy + idle)
}
