package verbs_test

import (
	"context"
	"net"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/agent/verbs"
)

func TestPortsAreReachedOnlyWhileTheyAreHeldOpen(t *testing.T) {
	agenttest.Everywhere(t, func(t *testing.T, a *agent.Agent) {
		open, taken := freePort(t), freePort(t)
		other, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: taken})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		go func() {
			for {
				conn, err := other.Accept()
				if err != nil {
					return
				}
				conn.Write([]byte("SSH-2.0-somebody else\n"))
				conn.Close()
			}
		}()
		l, err := a.Listen(t.Context(), "127.0.0.1", []int{open, taken}, "open sesame")
		if err != nil {
			t.Fatal(err)
		}
		ends := []agent.Endpoint{{IP: "127.0.0.1", Port: open}, {IP: "127.0.0.1", Port: taken}, {IP: "127.0.0.1", Port: freePort(t)}, {IP: "example", Port: 1}}
		got, err := a.Reach(t.Context(), ends, "open sesame")
		if err != nil {
			t.Fatal(err)
		}
		want := []agent.Unreached{{Endpoint: ends[1], Why: "another answers"}, {Endpoint: ends[2], Why: "refused"}, {Endpoint: ends[3], Why: "not an address"}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		busy, err := l.Close()
		if err != nil || !slices.Equal(busy, []int{taken}) {
			t.Errorf("busy %v, %v", busy, err)
		}
		if got, err := a.Reach(t.Context(), ends[:1], "open sesame"); err != nil || len(got) != 1 || got[0].Why != "refused" {
			t.Errorf("after Close: %+v, %v", got, err)
		}
	})
}

func TestAPortThatSaysNothingIsSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // never accepted: the kernel takes the connection, and nothing comes back
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e := agent.Endpoint{IP: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}
	got, err := agenttest.Local(t).Reach(t.Context(), []agent.Endpoint{e}, "word")
	if err != nil || len(got) != 1 || got[0].Why != "silent" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestListenerEndsWithItsContext(t *testing.T) {
	port := freePort(t)
	a := agenttest.Local(t)
	ctx, cancel := context.WithCancel(t.Context())
	l, err := a.Listen(ctx, "127.0.0.1", []int{port}, "word")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	l.Close() // it may have noticed already
	if got, err := a.Reach(t.Context(), []agent.Endpoint{{IP: "127.0.0.1", Port: port}}, "word"); err != nil || len(got) != 1 {
		t.Errorf("the port is still open: %+v, %v", got, err)
	}
	if _, err := a.Listen(t.Context(), "127.0.0.1", make([]int, verbs.MaxListeners+1), "word"); err == nil {
		t.Error("too many ports were taken")
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestAPortOfWhichNoWordIsExpectedIsReachedOnceItTakesConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	says := agent.Endpoint{IP: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}
	not := agent.Endpoint{IP: "127.0.0.1", Port: freePort(t)}
	got, err := agenttest.Local(t).Reach(t.Context(), []agent.Endpoint{says, not}, "")
	if diff := cmp.Diff([]agent.Unreached{{Endpoint: not, Why: "refused"}}, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}
