package storesync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

// fanOut pushes to hosts at once, over the sender's one uplink, and returns what each push says.
func fanOut(t testing.TB, ctx context.Context, c catalog.Catalog, src catalog.Source, hosts []*simHost, up *link, broken func(i int, sent int64) bool) ([]Receipt, []error) {
	t.Helper()
	f := &Fanout{}
	receipts, errs := make([]Receipt, len(hosts)), make([]error, len(hosts))
	var wg sync.WaitGroup
	for i, h := range hosts {
		wg.Go(func() {
			sr, sw := io.Pipe()
			rr, rw := io.Pipe()
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, err := Receive(ctx, h.store, sr, rw, h.options)
				rw.CloseWithError(io.ErrUnexpectedEOF)
				sr.CloseWithError(errCut)
				if err != nil && ctx.Err() == nil && broken == nil {
					t.Errorf("host %d: %v", i, err)
				}
			}()
			var w io.Writer = overLinks{sw, []*link{up, h.down}}
			if broken != nil {
				w = &breaking{w, i, 0, broken, sw}
			}
			var left, came int64
			receipts[i], errs[i] = Push(ctx, w, rr, c, src, PushOptions{
				Fanout: f, Address: "127.0.0.1", Left: func(n int64) { left = n }, Progress: func(n int64) { came += n },
			})
			if r := receipts[i]; errs[i] == nil && (left != r.BytesMissing || came != r.BytesSent+r.BytesPassed) {
				t.Errorf("host %d is told of %d of %d bytes, and got %d and %d of %d", i, came, left, r.BytesSent, r.BytesPassed, r.BytesMissing)
			}
			sw.Close()
			<-done
		})
	}
	wg.Wait()
	return receipts, errs
}

// breaking ends a stream when a function says so.
type breaking struct {
	io.Writer
	host   int
	sent   int64
	broken func(int, int64) bool
	pipe   *io.PipeWriter
}

func (b *breaking) Write(p []byte) (int, error) {
	b.sent += int64(len(p))
	if b.broken(b.host, b.sent) {
		b.pipe.CloseWithError(io.ErrUnexpectedEOF)
		return 0, errCut
	}
	return b.Writer.Write(p)
}

func (h *simHost) mustHold(t *testing.T, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, registrytest.Tree(t, h.store.Root())); diff != "" {
		t.Errorf("a store differs:\n%.2000s", diff)
	}
}

func wholeTree(t *testing.T, c catalog.Catalog, src registrytest.Source) map[string]string {
	t.Helper()
	whole := disk.Open(registrytest.MemoryDir(t))
	mustSync(t, c, src, whole, PushOptions{})
	return registrytest.Tree(t, whole.Root())
}

func noErrors(t *testing.T, errs []error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestFanoutSendsEachBlobOnce(t *testing.T) {
	src, c := registrytest.Images(t, 3_000_000, 10, 0, 700_000, 300_000, 1_000_000)
	want := wholeTree(t, c, src)
	hosts := make([]*simHost, 5)
	for i := range hosts {
		hosts[i] = newSimHost(t, 0)
	}
	receipts, errs := fanOut(t, t.Context(), c, src, hosts, nil, nil)
	noErrors(t, errs)
	var sent, passed, missing int64
	for i, r := range receipts {
		sent += r.BytesSent
		passed += r.BytesPassed
		missing += r.BytesMissing
		hosts[i].mustHold(t, want)
	}
	if one := missing / int64(len(hosts)); sent != one || passed != missing-one {
		t.Errorf("%d bytes sent and %d passed on of %d, want %d sent", sent, passed, missing, one)
	}
}

func TestFanoutWithDifferentStores(t *testing.T) {
	src, c := registrytest.Images(t, 200_000, 300_000, 400_000)
	want := wholeTree(t, c, src)
	hosts := make([]*simHost, 4)
	for i := range hosts {
		hosts[i] = newSimHost(t, 0)
		for _, r := range c.Repositories[:i] { // host 0 has nothing, host 3 everything
			registrytest.Fill(t, catalog.Catalog{Repositories: []catalog.Repository{r}}, src, hosts[i].store)
		}
	}
	hosts[1].refuse = true
	receipts, errs := fanOut(t, t.Context(), c, src, hosts, nil, nil)
	noErrors(t, errs)
	for i, h := range hosts {
		h.mustHold(t, want)
		if r := receipts[i]; r.BytesSent+r.BytesPassed != r.BytesMissing {
			t.Errorf("host %d: %+v", i, r)
		}
	}
}

// Each link carries each blob once, and bytes go on while they arrive: a further host adds the time of two pieces at most. Time
// is that of the links alone, whatever the machine does; what it costs a machine is told by BenchmarkFanout and make bench.
func TestFanoutToSixteenHostsCostsLittleMoreThanToOne(t *testing.T) {
	const rate = 5e6
	src, c := registrytest.Images(t, 6_000_000, 1_000_000, 1_000_000, 1_000_000, 500_000, 500_000)
	took := func(n int) (took time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			hosts, network := make([]*simHost, n), newSimNet()
			for i := range hosts {
				hosts[i] = network.host(t, rate)
			}
			start := time.Now()
			receipts, errs := fanOut(t, t.Context(), c, src, hosts, &link{perSecond: rate}, nil)
			took = time.Since(start)
			noErrors(t, errs)
			var sent, most int64
			for i, r := range receipts {
				sent += r.BytesSent
				most = max(most, hosts[i].relayed.Load())
			}
			t.Logf("%d hosts: %v, %d bytes sent, %d by the busiest relay", n, took.Round(time.Millisecond), sent, most)
			missing := receipts[0].BytesMissing
			if sent != missing {
				t.Errorf("the sender's link carries %d bytes of %d", sent, missing)
			}
			if most > missing*102/100 {
				t.Errorf("a relay's link carries %d bytes of %d", most, missing)
			}
		})
		return took
	}
	piece := float64(relayPiece) / rate
	one, sixteen := took(1), took(16)
	if further := (sixteen - one) / 15; further.Seconds() > 2*piece {
		t.Errorf("16 hosts take %v, one takes %v: each adds %v, more than two pieces' %.3f s", sixteen, one, further, 2*piece)
	}
}

func TestFanoutGoesRoundARelayThatFails(t *testing.T) {
	src, c := registrytest.Images(t, 4_000_000, 500_000, 500_000)
	want := wholeTree(t, c, src)
	for name, breakIt := range map[string]func(hosts []*simHost) func(i int, sent int64) bool{
		"it ends in the middle of a blob": func([]*simHost) func(int, int64) bool {
			var once atomic.Bool
			return func(_ int, sent int64) bool { return sent > 1_500_000 && once.CompareAndSwap(false, true) }
		},
		"it says nothing more": func(hosts []*simHost) func(int, int64) bool {
			var once atomic.Bool
			return func(i int, sent int64) bool {
				if sent > 1_500_000 && once.CompareAndSwap(false, true) {
					hosts[i].dead.Store(true)
				}
				return false
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hosts := make([]*simHost, 4)
			for i := range hosts {
				hosts[i] = newSimHost(t, 2e6)
			}
			_, errs := fanOut(t, t.Context(), c, src, hosts, nil, breakIt(hosts))
			failed := 0
			for i, err := range errs {
				if err != nil {
					failed++
					continue
				}
				hosts[i].mustHold(t, want)
			}
			if failed > 1 {
				t.Errorf("%d hosts failed: %v", failed, errs)
			}
		})
	}
}

func TestFanoutGoesRoundARelayThatIsSlow(t *testing.T) {
	src, c := registrytest.Images(t, 40_000_000)
	synctest.Test(t, func(t *testing.T) {
		hosts, network := make([]*simHost, 3), newSimNet()
		for i := range hosts {
			hosts[i] = network.host(t, 8e6)
			hosts[i].up.perSecond = 400e3 // every relay is, whoever comes first
		}
		start := time.Now()
		receipts, errs := fanOut(t, t.Context(), c, src, hosts, nil, nil)
		took := time.Since(start)
		noErrors(t, errs)
		// Through a relay it would take 100 s. Two looks 3 s apart tell that it is slow.
		if took > 30*time.Second {
			t.Errorf("it took %v: %+v", took, receipts)
		}
		t.Logf("it took %v", took)
	})
}

// A relay that sends something else costs time and nothing else.
func TestFanoutDoesNotBelieveRelays(t *testing.T) {
	src, c := registrytest.Images(t, 300_000, 200_000, 100_000)
	want := wholeTree(t, c, src)
	hosts := []*simHost{newSimHost(t, 0), newSimHost(t, 0)}
	liar := hosts[0]
	registrytest.Fill(t, c, src, liar.store)
	for _, b := range c.Repositories[0].Layers {
		if b.Size > 1000 {
			if err := os.WriteFile(liar.store.Path(disk.BlobData(b.Digest)), make([]byte, b.Size), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	f := &Fanout{}
	out := make(chan error, 2)
	push := func(h *simHost) {
		sr, sw := io.Pipe()
		rr, rw := io.Pipe()
		received := make(chan struct{})
		go func() {
			defer close(received)
			_, err := Receive(t.Context(), h.store, sr, rw, h.options)
			rw.CloseWithError(io.ErrUnexpectedEOF)
			if err != nil {
				t.Error(err)
			}
		}()
		_, err := Push(t.Context(), sw, rr, c, src, PushOptions{Fanout: f, Address: "127.0.0.1"})
		sw.Close()
		<-received // until then its session lies in the store
		out <- err
	}
	f.join(nil) // a host that stays keeps the relays open
	go push(liar)
	for f.relayCount() == 0 {
		time.Sleep(time.Millisecond)
	}
	go push(hosts[1])
	for f.arrived() < 3 {
		time.Sleep(time.Millisecond)
	}
	f.leave(nil)
	for range hosts {
		if err := <-out; err != nil {
			t.Fatal(err)
		}
	}
	hosts[1].mustHold(t, want)
}

func (f *Fanout) arrived() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.came
}

func (f *Fanout) relayCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.relays)
}

func TestRelaysAnswerOnlyThoseWhoKnowTheirToken(t *testing.T) {
	src, c := registrytest.Images(t, 1000)
	store := disk.Open(t.TempDir())
	registrytest.Fill(t, c, src, store)
	table, _, err := newTable(c)
	if err != nil {
		t.Fatal(err)
	}
	rc := &receiver{store: store, table: table, missing: make([]bool, len(table))}
	r := rc.newRelay()
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	defer r.close()
	info := r.info
	info.address = "127.0.0.1"
	d := table[0].key.digest()
	ask := func(p relayInfo) string {
		q, err := p.request(t.Context(), "GET", d)
		if err != nil {
			t.Fatal(err)
		}
		client := p.client(nil)
		defer client.CloseIdleConnections()
		resp, err := client.Do(q)
		if err != nil {
			return "error"
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return fmt.Sprint(resp.StatusCode, " ", len(body))
	}
	if got, want := ask(info), fmt.Sprint("200 ", table[0].size); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	other := info
	other.token[0] ^= 1
	if got := ask(other); got != "401 0" {
		t.Errorf("another token: %s", got)
	}
	other = info
	other.sum[0] ^= 1
	if got := ask(other); got != "error" {
		t.Errorf("another certificate: %s", got)
	}
}

// Relays stay open for a host that is slow to come, and its content need not wait for that host on the others.
func TestAHostThatIsExpectedTakesFromThoseThatWereThereBefore(t *testing.T) {
	src, c := registrytest.Images(t, 300_000, 10)
	hosts := []*simHost{newSimHost(t, 0), newSimHost(t, 0)}
	f := &Fanout{}
	f.Expect(3)
	push := func(h *simHost, durable func() error) Receipt {
		sr, sw := io.Pipe()
		rr, rw := io.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := Receive(t.Context(), h.store, sr, rw, h.options); err != nil {
				t.Error(err)
			}
		}()
		receipt, err := Push(t.Context(), sw, rr, c, src, PushOptions{Fanout: f, Address: "127.0.0.1", Durable: durable})
		if err != nil {
			t.Error(err)
		}
		sw.Close()
		<-done
		return receipt
	}
	complete, first := make(chan struct{}), make(chan Receipt)
	go func() { first <- push(hosts[0], func() error { close(complete); return nil }) }()
	<-complete // though two more are expected
	go f.Absent()
	second := push(hosts[1], nil)
	if r := <-first; r.BytesSent == 0 || second.BytesSent != 0 || second.BytesPassed != r.BytesSent {
		t.Errorf("%d bytes were sent to the first, %d to the second, which took %d from it", r.BytesSent, second.BytesSent, second.BytesPassed)
	}
}
