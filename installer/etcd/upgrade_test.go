package etcd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealbuild/sealbuild/ground/wait"
)

// pieces are the lines of a snapshot of a database, as etcd's gateway sends them.
func pieces(database []byte) (lines []string) {
	left := len(database)
	for piece := range slices.Chunk(database, 32<<10) {
		left -= len(piece)
		remaining := ""
		if left > 0 { // zero is left out
			remaining = fmt.Sprintf(`"remaining_bytes":"%d",`, left)
		}
		lines = append(lines, fmt.Sprintf(`{"result":{%s"blob":%q,"version":"3.6.0"}}`, remaining, base64.StdEncoding.EncodeToString(piece)))
	}
	sum := sha256.Sum256(database)
	return append(lines, fmt.Sprintf(`{"result":{"blob":%q,"version":"3.6.0"}}`, base64.StdEncoding.EncodeToString(sum[:])))
}

// snapshotOf takes a snapshot of a member that answers so.
func snapshotOf(t *testing.T, silent bool, handle http.HandlerFunc) ([]byte, error) {
	t.Helper()
	endpoint, certs := server(t, handle)
	c := client(t, endpoint, certs)
	if silent {
		c.silence = 300 * time.Millisecond
	}
	var got bytes.Buffer
	err := c.Snapshot(t.Context(), func(int64) (io.Writer, error) { return &got, nil })
	return got.Bytes(), err
}

// hears reads a request to its end: a server notices only then that its client is gone.
func hears(r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }

func TestASnapshotIsRightOrAnError(t *testing.T) {
	database := bytes.Repeat([]byte("database"), 10_000) // 3 pieces, the last one short
	good := pieces(database)
	send := func(lines ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Join(lines, "\n")+"\n") }
	}
	got, err := snapshotOf(t, false, send(good...))
	sum := sha256.Sum256(database)
	if err != nil || !bytes.Equal(got, append(slices.Clone(database), sum[:]...)) {
		t.Fatalf("of a good one %d bytes: %v", len(got), err)
	}
	whole := bytes.Repeat([]byte("x"), 64<<10) // no short piece
	if _, err := snapshotOf(t, false, send(pieces(whole)...)); err != nil {
		t.Errorf("of whole pieces: %v", err)
	}
	abort := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, text)
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	}
	flipped := bytes.Clone(database)
	flipped[40_000] ^= 1
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		want   string
	}{
		"a connection that breaks in a piece":         {abort(good[0] + "\n" + good[1][:1000]), "broke off after 32768 of 80000 bytes"},
		"a connection that breaks between two pieces": {abort(good[0] + "\n" + good[1] + "\n"), "broke off after 65536 of 80000 bytes"},
		"a connection that breaks at the beginning":   {abort(""), "EOF"},
		"an end in a piece":                           {send(good[0], good[1][:1000]), "broke off after 32768"},
		"an end between two pieces":                   {send(good[:2]...), "ended after 65536 of 80000 bytes, without its sum"},
		"an end before the sum":                       {send(good[:3]...), "ended after 80000 of 80000 bytes, without its sum"},
		"nothing":                                     {send(), "ended after 0 of 0 bytes"},
		"a piece that is missing":                     {send(good[0], good[2], good[3]), "announced 80000 bytes of a database, and now"},
		"a piece twice":                               {send(good[0], good[0], good[1], good[2], good[3]), "announced 80000 bytes of a database, and now"},
		"another byte":                                {send(append(pieces(flipped)[:3], good[3])...), "not the one that was sent"},
		"another sum":                                 {send(append(slices.Clone(good[:3]), pieces(whole)[2])...), "not the one that was sent"},
		"half a sum":                                  {send(append(slices.Clone(good[:3]), `{"result":{"blob":"YWJj"}}`)...), "not the one that was sent"},
		"more than all":                               {send(append(slices.Clone(good), good[3])...), "more than the database"},
		"etcd that gives up":                          {send(good[0], `{"error":{"code":14,"message":"etcdserver: mvcc: closed"}}`), "broke the snapshot off after 32768 of 80000 bytes: etcdserver: mvcc: closed"},
		"a size that nobody has":                      {send(`{"result":{"remaining_bytes":"18446744073709551615","blob":"YWJj"}}`), "announces a database of"},
		"no base64":                                   {send(good[0], `{"result":{"blob":"%%%%"}}`), "broke off after 32768"},
		"a page of a proxy":                           {send("<html>"), "broke off after 0"},
		"a piece without end":                         {send(strings.Repeat(" ", maxPiece+1)), "buffer full"},
		"a refusal": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"message":"etcdserver: permission denied"}`, http.StatusForbidden)
		}, "permission denied"},
		"etcd without a gateway": {http.NotFound, "404"},
		"silence after a piece": {func(w http.ResponseWriter, r *http.Request) {
			hears(r)
			io.WriteString(w, good[0]+"\n")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, "nothing came from"},
		"silence at once": {func(_ http.ResponseWriter, r *http.Request) {
			hears(r)
			<-r.Context().Done()
		}, "nothing came from"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := snapshotOf(t, strings.HasPrefix(name, "silence"), c.handle); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestASnapshotEndsWithItsReceiver(t *testing.T) {
	database := bytes.Repeat([]byte("database"), 10_000)
	endpoint, certs := server(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Join(pieces(database), "\n")) })
	full := errors.New("the disk is full")
	if err := client(t, endpoint, certs).Snapshot(t.Context(), func(int64) (io.Writer, error) { return nil, full }); !errors.Is(err, full) {
		t.Errorf("refused before the first byte: %v", err)
	}
	if err := client(t, endpoint, certs).Snapshot(t.Context(), func(int64) (io.Writer, error) { return failing{full}, nil }); !errors.Is(err, full) {
		t.Errorf("refused later: %v", err)
	}
}

// A slow disk is not a silent member.
func TestASnapshotWaitsForItsReceiver(t *testing.T) {
	database := []byte("database") // one piece
	endpoint, certs := server(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Join(pieces(database), "\n")) })
	c := client(t, endpoint, certs)
	c.silence = 2 * time.Second
	if err := c.Snapshot(t.Context(), func(int64) (io.Writer, error) { return &slow{c.silence + time.Second}, nil }); err != nil {
		t.Error(err)
	}
}

// slow takes its time for the first write.
type slow struct{ first time.Duration }

func (s *slow) Write(p []byte) (int, error) {
	first := s.first
	s.first = 0
	return len(p), wait.For(context.Background(), first)
}

type failing struct{ error }

func (f failing) Write([]byte) (int, error) { return 0, f.error }

// FuzzPiece feeds the receiver of a snapshot: it takes nothing for whole but a database with its sum.
func FuzzPiece(f *testing.F) {
	for _, line := range pieces([]byte("database")) {
		f.Add([]byte(line))
	}
	f.Add([]byte(`{"error":{"message":"x"}}`))
	f.Add([]byte(`{"result":{"remaining_bytes":"-1","blob":""}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var got bytes.Buffer
		r := receiver{start: func(int64) (io.Writer, error) { return &got, nil }}
		for range 3 {
			if r.take(line) == nil && r.end() == nil {
				t.Errorf("%q is whole", got.Bytes())
			}
		}
	})
}

// three are members that have caught up; the first leads.
func three() Cluster {
	c := Cluster{Leader: true}
	for i := range 3 {
		id := fmt.Sprint(1 + i)
		c.Members = append(c.Members, Member{
			ID: id, Name: "m" + id, PeerURLs: []string{"https://10.0.0." + id + ":2380"}, Answers: true, Leads: i == 0, Follows: "1", Committed: 1000, Applied: 1000,
		})
	}
	return c
}

func TestOnlyAMemberThatFollowsTheLeaderHasCaughtUp(t *testing.T) {
	for name, c := range map[string]struct {
		change func(c *Cluster)
		want   string
	}{
		"as they are":         {func(*Cluster) {}, ""},
		"a few entries later": {func(c *Cluster) { c.Members[1].Applied = 1000 - maxBehind }, ""},
		"far behind":          {func(c *Cluster) { c.Members[1].Applied = 999 - maxBehind }, "at entry 899 of the log, the leader (10.0.0.1) at 1000"},
		"no answer":           {func(c *Cluster) { c.Members[1].Answers, c.Members[1].Error = false, "refused" }, "does not answer: refused"},
		"no vote":             {func(c *Cluster) { c.Members[1].Learner = true }, "learner"},
		"no leader":           {func(c *Cluster) { c.Members[1].Follows = "" }, "knows no leader"},
		"no member":           {func(c *Cluster) { c.Members = c.Members[:1] }, "no member of 10.0.0.2"},
		"a leader of before":  {func(c *Cluster) { c.Members[1].Follows = "3" }, "follows member 3, and that of 10.0.0.1 is the leader"},
		"a silent leader":     {func(c *Cluster) { c.Members[0].Answers = false }, "no member of etcd says that it is the leader"},
		"an alarm elsewhere":  {func(c *Cluster) { c.Members[2].Alarms = []string{"NOSPACE"} }, "raised an alarm: NOSPACE"},
		"no index":            {func(c *Cluster) { c.Members[0].Committed = 0 }, "do not both tell"},
		"another one is down": {func(c *Cluster) { c.Members[2].Answers = false }, ""},
	} {
		cluster := three()
		c.change(&cluster)
		err := cluster.CaughtUp("10.0.0.2")
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestTheMemberThatIsFurthestLeadsNext(t *testing.T) {
	for name, c := range map[string]struct {
		change func(c *Cluster)
		want   string
	}{
		"both":            {func(c *Cluster) { c.Members[1].Applied-- }, "3 2"},
		"one hangs":       {func(c *Cluster) { c.Members[1].Answers = false }, "3"},
		"one has no vote": {func(c *Cluster) { c.Members[2].Learner = true }, "2"},
		"one is behind":   {func(c *Cluster) { c.Members[2].Applied = 5 }, "2"},
		"one is cut off":  {func(c *Cluster) { c.Members[2].Follows = "2" }, "2"},
		"none":            {func(c *Cluster) { c.Members[1].Applied, c.Members[2].Answers = 5, false }, ""},
	} {
		cluster := three()
		c.change(&cluster)
		to, why := cluster.heirs(cluster.Members[0])
		var ids []string
		for _, m := range to {
			ids = append(ids, m.ID)
		}
		if got := strings.Join(ids, " "); got != c.want || got == "" && why == nil {
			t.Errorf("%s: %q (%v), want %q", name, got, why, c.want)
		}
	}
}

// cluster answers as the three members, all at one endpoint, do. moved is called when the leadership is to go to a member.
func leading(t *testing.T, leader *string, moved func(to string) error) *Client {
	t.Helper()
	var self string
	endpoint, certs := server(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch at, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); {
		case r.URL.Path == "/v3/cluster/member/list":
			fmt.Fprint(w, `{"members":[`)
			for i := range 3 {
				fmt.Fprintf(w, `%.*s{"ID":"%d","name":"m","peerURLs":["https://10.0.0.%d:2380"],"clientURLs":["%s/%d"]}`, min(i, 1), ",", 1+i, 1+i, self, 1+i)
			}
			fmt.Fprint(w, `]}`)
		case r.URL.Path == "/v3/maintenance/transfer-leadership":
			if err := moved(string(body)); err != nil {
				http.Error(w, fmt.Sprintf(`{"message":%q}`, err), http.StatusBadRequest)
			}
		case path == "maintenance/status":
			fmt.Fprintf(w, `{"header":{"member_id":"1"},"leader":%q,"raftIndex":"9","raftAppliedIndex":"9"}`, *leader)
		case path == "v3/maintenance/status":
			fmt.Fprintf(w, `{"header":{"member_id":%q},"leader":%q,"raftIndex":"9","raftAppliedIndex":"9"}`, at, *leader)
		default:
			http.NotFound(w, r)
		}
	})
	self = endpoint
	c := client(t, endpoint, certs)
	c.confirm = time.Minute // on a slow machine
	return c
}

func TestLeadershipIsGoneOnlyWhenAnotherMemberSaysSo(t *testing.T) {
	leader, asked := "1", []string{}
	c := leading(t, &leader, func(string) error { return nil }) // and nothing comes of it
	c.confirm = 300 * time.Millisecond
	if _, err := c.Yield(t.Context()); err == nil || !strings.Contains(err.Error(), "no other member says that it leads") {
		t.Errorf("a promise: %v", err)
	}
	c = leading(t, &leader, func(to string) error {
		if asked = append(asked, to); len(asked) == 1 {
			return errors.New("etcdserver: request timed out, leader transfer took too long")
		}
		leader = "3"
		return nil
	})
	if _, err := c.Yield(t.Context()); err != nil || len(asked) != 2 {
		t.Errorf("the second takes it: %v, asked %q", err, asked)
	}
	leader, asked = "1", nil
	c = leading(t, &leader, func(string) error { return errors.New("etcdserver: bad leader transferee") })
	if _, err := c.Yield(t.Context()); err == nil || strings.Count(err.Error(), "bad leader transferee") != 2 {
		t.Errorf("nobody takes it: %v", err)
	}
	leader = "0"
	if _, err := c.Yield(t.Context()); err == nil || !strings.Contains(err.Error(), "no leader") {
		t.Errorf("nobody leads: %v", err)
	}
}

func TestAnOlderEtcdRunsOnlyInAClusterOfItsMinor(t *testing.T) {
	for _, c := range []struct{ cluster, older, want string }{
		{"3.6.0", "3.6.6", ""},
		{"3.6.0", "3.6.6-0", ""}, // the tag of its image
		{"3.6.0", "v3.6.6", ""},
		{"3.5.0", "3.6.6", ""}, // not all members had 3.6
		{"3.5.0", "3.5.21-0", ""},
		{"3.6.0", "3.5.21-0", "etcd 3.5.21-0 cannot run with these data any more: all members have had 3.6"},
		{"4.0.0", "3.9.1", "cannot run"},
		{"not_decided", "3.6.6", "does not tell a version"},
		{"", "3.6.6", "does not tell a version"},
		{"3.6.0", "latest", `version "latest" of etcd`},
	} {
		err := CanRunOlder(c.cluster, c.older)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s in a cluster of %s: %v, want %q", c.older, c.cluster, err, c.want)
		}
	}
}
